"""The queue in front of the model, in simulated time: nothing lost, idle or over the limit."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.model_slots import KEPT_TENANTS, ModelSlots
from tenancy.errors import QuotaExceeded, Unavailable
from tenancy.fairness import Priority
from tenancy.ids import TenantId
from tenancy.plan import COMMON_LINE
from tenancy.throttle import Load, Share
from tests.support.simulated_time import Deadlock, simulate
from tests.support.slots import MODEL, PATIENT, Model, tenant

ACME, GLOBEX = tenant("acme"), tenant("globex")
OTHER_MODEL = "https://other.example/v1"


def model(most: int = 2) -> Model:
    return Model(ModelSlots(most=most))


def with_plan(name: str, **limits: Any) -> Any:
    return tenant(name, replace(PATIENT, **limits))


def start(runs: Iterable[Coroutine[Any, Any, None]]) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(run) for run in runs]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def assert_nothing_is_left(slots: ModelSlots) -> None:
    figures = slots.figures()
    for endpoint in figures.endpoints.values():
        assert (endpoint.in_flight, sum(endpoint.waiting.values())) == (0, 0)
    for figure in figures.tenants.values():
        assert (figure.in_flight, figure.waiting) == (0, 0)


def test_simulated_time_notices_a_lost_wake_up() -> None:
    async def forgotten() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock):
        simulate(forgotten())


def test_calls_beyond_the_limit_wait_for_a_slot() -> None:
    async def work() -> None:
        endpoint = model(most=3)
        await asyncio.gather(*(endpoint.run(ACME, 1000) for _ in range(12)))
        assert endpoint.most_in_flight == 3
        assert asyncio.get_running_loop().time() == pytest.approx(4)
        assert_nothing_is_left(endpoint.slots)

    simulate(work())


def test_weights_are_served_in_proportion() -> None:
    async def work() -> None:
        endpoint, random = model(most=8), Random(4)  # noqa: S311
        weights = {"one": 1, "two": 2, "four": 4}
        for name, weight in weights.items():
            of = with_plan(name, weight=weight)
            start(endpoint.run(of, random.randint(100, 2000)) for _ in range(1000))
        await asyncio.sleep(200)
        shares = [endpoint.served[name] / weight for name, weight in weights.items()]
        assert max(shares) <= 1.05 * min(shares)
        await _stop()

    simulate(work())


@pytest.mark.parametrize("excess", [10, 100])
def test_a_flood_delays_a_quiet_tenant_by_at_most_one_service_time(excess: int) -> None:
    async def work() -> None:
        endpoint = model(most=4)
        start(endpoint.run(ACME, 200) for _ in range(excess * 20))
        for _ in range(20):
            await endpoint.run(GLOBEX, 200)
            await asyncio.sleep(0.37)
        assert max(endpoint.waits["globex"]) <= 0.2 + 1e-9
        assert endpoint.most_in_flight == 4
        await _stop()

    simulate(work())


def test_who_pays_for_less_waits_with_its_own_flood_and_nobody_else() -> None:
    async def work() -> None:
        endpoint = model(most=2)
        common = [with_plan(f"common-{n}", weight=COMMON_LINE) for n in range(3)]
        flood = start(endpoint.run(common[0], 100) for _ in range(50))
        await settle()
        late = asyncio.create_task(endpoint.run(common[1], 100))
        own = asyncio.create_task(endpoint.run(GLOBEX, 100))
        await own
        assert not late.done()
        await late
        assert all(task.done() for task in flood[:50])
        assert endpoint.order.index("globex") < 5
        assert endpoint.order.index("common-1") == 51

    simulate(work())


@pytest.mark.parametrize(("length", "admitted"), [(0, 1), (1, 2), (5, 6)])
def test_a_full_queue_refuses_and_says_when_to_come_back(length: int, admitted: int) -> None:
    async def work() -> None:
        endpoint, of = model(most=1), with_plan("acme", queue_length=length)
        runs = []
        for _ in range(admitted):
            runs.append(asyncio.create_task(endpoint.run(of, 1000)))
            await settle()
        with pytest.raises(QuotaExceeded) as refused:
            endpoint.slots.enter(of)
        assert refused.value.meter == "queue"
        assert refused.value.retry_after >= timedelta(seconds=1)
        await asyncio.gather(*runs, endpoint.run(GLOBEX, 1000))
        endpoint.slots.leave(endpoint.slots.enter(of))
        assert_nothing_is_left(endpoint.slots)

    simulate(work())


def test_a_place_is_taken_before_a_slot_is_asked_for_and_given_back_once() -> None:
    async def work() -> None:
        slots, of = ModelSlots(most=1), with_plan("acme", queue_length=2)
        places = [slots.enter(of), slots.enter(of)]
        with pytest.raises(QuotaExceeded):
            slots.enter(of)
        slots.leave(places[0])
        slots.leave(places[0])
        slots.enter(of)
        with pytest.raises(QuotaExceeded):
            slots.enter(of)

    simulate(work())


def test_who_waits_too_long_is_told_that_it_is_ours() -> None:
    async def work() -> None:
        endpoint, of = model(most=1), with_plan("acme", queue_seconds=5)
        holder = asyncio.create_task(endpoint.run(GLOBEX, 60_000))
        await settle()
        with pytest.raises(Unavailable) as refused:
            await endpoint.run(of, 10)
        assert asyncio.get_running_loop().time() == pytest.approx(5)
        assert refused.value.retry_after >= timedelta(seconds=1)
        await holder
        await endpoint.run(of, 10)
        assert_nothing_is_left(endpoint.slots)

    simulate(work())


def test_without_patience_there_is_a_slot_at_once_or_none() -> None:
    async def work() -> None:
        endpoint, of = model(most=1), with_plan("acme", queue_seconds=0)
        first = asyncio.create_task(endpoint.run(of, 1000))
        await settle()
        with pytest.raises(Unavailable):
            await endpoint.run(of, 1000)
        assert asyncio.get_running_loop().time() == 0
        await first

    simulate(work())


def test_a_run_under_way_goes_before_new_ones_of_its_tenant() -> None:
    async def work() -> None:
        endpoint = model(most=1)
        place = endpoint.slots.enter(ACME)
        await endpoint.call(ACME, place, 100)
        holder = asyncio.create_task(endpoint.run(GLOBEX, 100))
        await settle()
        new = asyncio.create_task(endpoint.run(ACME, 100))
        await settle()
        await endpoint.call(ACME, place, 100)
        assert (holder.done(), new.done()) == (True, False)
        await new

    simulate(work())


def test_classes_are_served_one_after_the_other() -> None:
    async def work() -> None:
        endpoint = model(most=1)
        waiting = [endpoint.run(GLOBEX, 10)]
        for priority in reversed(Priority):
            waiting += [endpoint.run(tenant(priority), 10, priority=priority) for _ in range(2)]
        await asyncio.gather(*waiting)
        assert endpoint.order[1:] == [name for name in Priority for _ in range(2)]

    simulate(work())


@pytest.mark.parametrize("fault", [ValueError, asyncio.CancelledError])
def test_a_slot_is_free_again_however_the_call_ends(fault: type[BaseException]) -> None:
    async def work() -> None:
        slots = ModelSlots(most=1)
        place = slots.enter(ACME)
        with pytest.raises(fault):
            async with slots.slot(place, MODEL, tokens=10):
                raise fault
        async with slots.slot(place, MODEL, tokens=10):
            assert slots.figures().endpoints[MODEL].in_flight == 1
        slots.leave(place)
        assert_nothing_is_left(slots)

    simulate(work())


def test_who_is_cancelled_at_its_turn_passes_it_on() -> None:
    async def work() -> None:
        endpoint = model(most=1)
        holder = asyncio.create_task(endpoint.run(ACME, 100))
        await settle()
        unlucky = asyncio.create_task(endpoint.run(GLOBEX, 100))
        await settle()
        after = asyncio.create_task(endpoint.run(tenant("initech"), 100))
        await settle()

        def cancel_at_the_turn(_: object) -> None:
            unlucky.cancel()

        holder.add_done_callback(cancel_at_the_turn)
        await after
        assert unlucky.cancelled()
        assert_nothing_is_left(endpoint.slots)

    simulate(work())


def test_nothing_is_sent_before_the_endpoint_asked_for_it_and_then_it_is() -> None:
    async def work() -> None:
        endpoint = model(most=8)
        clock = asyncio.get_running_loop().time
        endpoint.slots.pressed(MODEL, retry_after=timedelta(seconds=20))
        other = Model(endpoint.slots, OTHER_MODEL)
        await other.run(ACME, 1000)
        assert clock() == pytest.approx(1)
        await endpoint.run(ACME, 1000)
        assert clock() == pytest.approx(21)
        assert endpoint.slots.figures().endpoints[MODEL].limit == 4
        assert endpoint.slots.figures().endpoints[OTHER_MODEL].limit == 8

    simulate(work())


def test_who_cannot_wait_so_long_as_the_endpoint_asks_is_told_at_once() -> None:
    async def work() -> None:
        endpoint, of = model(), with_plan("acme", queue_seconds=10)
        endpoint.slots.pressed(MODEL, retry_after=timedelta(seconds=60))
        with pytest.raises(Unavailable) as refused:
            await endpoint.run(of, 10)
        assert refused.value.retry_after == timedelta(seconds=60)
        assert_nothing_is_left(endpoint.slots)

    simulate(work())


def test_a_cap_holds_over_endpoints_and_what_waits_there_goes_when_there_is_room() -> None:
    async def work() -> None:
        endpoint = model(most=8)
        other = Model(endpoint.slots, OTHER_MODEL)
        of = with_plan("acme", model_calls_in_flight=2)
        runs = [side.run(of, 1000) for _ in range(5) for side in (endpoint, other)]
        peak = 0

        async def watch() -> None:
            nonlocal peak
            while True:
                peak = max(peak, endpoint.in_flight + other.in_flight)
                await asyncio.sleep(0.1)

        watching = asyncio.create_task(watch())
        await asyncio.gather(*runs)
        watching.cancel()
        assert peak == 2
        assert asyncio.get_running_loop().time() == pytest.approx(5)

    simulate(work())


def test_what_other_replicas_served_is_charged_here_once() -> None:
    async def work() -> None:
        endpoint = model(most=1)
        slots = endpoint.slots
        start(endpoint.run(of, 1000) for of in (ACME, GLOBEX) for _ in range(150))
        await asyncio.sleep(9.5)
        served_here = endpoint.served["acme"]
        for others in (0, 0, 90_000, 90_000, 90_000):
            slots.elsewhere(TenantId("acme"), served_here + others)
        await asyncio.sleep(100)
        ahead = endpoint.served["globex"] - endpoint.served["acme"]
        assert 87_000 <= ahead <= 93_000
        slots.elsewhere(TenantId("acme"), 0)  # the counter was lost: it begins anew
        assert slots.figures().tenants[TenantId("acme")].served == endpoint.served["acme"]
        await _stop()

    simulate(work())


def test_a_plan_that_changes_holds_for_the_next_run() -> None:
    async def work() -> None:
        endpoint = model(most=4)
        first = [endpoint.run(with_plan("acme", model_calls_in_flight=1), 1000) for _ in range(2)]
        then = [endpoint.run(with_plan("acme", model_calls_in_flight=4), 1000) for _ in range(2)]
        tasks = start(first)
        await settle()
        assert endpoint.in_flight == 1
        tasks += start(then)
        await settle()
        assert endpoint.in_flight == 4
        await asyncio.gather(*tasks)

    simulate(work())


def test_idle_tenants_are_forgotten() -> None:
    async def work() -> None:
        endpoint = model(most=4)
        for number in range(5 * KEPT_TENANTS):
            await endpoint.run(tenant(f"tenant-{number}"), 1)
        assert len(endpoint.slots.figures().tenants) <= 2 * KEPT_TENANTS

    simulate(work())


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["run", "run", "run", "cancel", "press", "observe", "elsewhere"]),
        st.integers(0, 3),
        st.integers(1, 400),
        st.floats(0, 0.5),
    ),
    min_size=1,
    max_size=60,
)


@settings(deadline=None)
@given(EVENTS, st.integers(1, 5))
def test_whatever_happens_no_slot_is_idle_nothing_overflows_and_nothing_is_left(
    events: list[tuple[str, int, int, float]], most: int
) -> None:
    async def work() -> None:
        endpoint = model(most)
        slots, random = endpoint.slots, Random(7)  # noqa: S311
        tenants = [
            with_plan(f"tenant-{n}", weight=(1, 2, 4, -1)[n], queue_seconds=(2, 60, 60, 3600)[n])
            for n in range(4)
        ]
        runs: list[asyncio.Task[None]] = []
        for what, number, tokens, pause in events:
            match what:
                case "run":
                    priority = random.choice(list(Priority))
                    run = endpoint.run(tenants[number], tokens, priority=priority, estimate=100)
                    runs.append(asyncio.create_task(run))
                case "cancel" if runs:
                    random.choice(runs).cancel()
                case "press":
                    slots.pressed(MODEL, retry_after=timedelta(seconds=pause))
                case "observe":
                    slots.observed(MODEL, seconds=tokens / 1000, tokens=tokens)
                case "elsewhere":
                    slots.elsewhere(tenants[number].tenant_id, 1000 * tokens)
            await asyncio.sleep(pause)
            await settle()
            if (figures := slots.figures().endpoints.get(MODEL)) and not figures.paused_seconds:
                idle = figures.in_flight < figures.limit
                assert not (idle and sum(figures.waiting.values()))
        await asyncio.gather(*runs, return_exceptions=True)
        assert endpoint.most_in_flight <= most
        assert_nothing_is_left(slots)

    simulate(work())


class Replicas:
    """Other replicas, as the test has them; `reachable` ones at least."""

    def __init__(self, answer: Callable[[Load], Share]) -> None:
        self.answer = answer
        self.reachable = True
        self.asked: list[Load] = []

    async def share(self, endpoint: str, load: Load, most: int) -> Share:
        self.asked.append(load)
        if not self.reachable:
            raise Unavailable
        return self.answer(load)


def half(load: Load) -> Share:
    return Share(part=2, limit=4.0, replicas=2, paused_seconds=0.0)


def test_a_process_takes_the_part_that_others_leave_and_keeps_it_while_they_are_away() -> None:
    async def work() -> None:
        endpoint, replicas = model(most=4), Replicas(half)
        sharing = asyncio.create_task(endpoint.slots.share(replicas))
        await settle()
        runs = start(endpoint.run(ACME, 1000) for _ in range(20))
        await asyncio.sleep(2.5)
        replicas.reachable = False
        await asyncio.gather(*runs)
        assert endpoint.most_in_flight == 2
        assert max(load.in_flight for load in replicas.asked) == 2
        sharing.cancel()

    simulate(work())


def test_a_cap_is_divided_among_replicas() -> None:
    async def work() -> None:
        plenty = Share(part=64, limit=64.0, replicas=3, paused_seconds=0.0)
        endpoint, replicas = model(most=64), Replicas(lambda _: plenty)
        of = with_plan("acme", model_calls_in_flight=7)
        runs = start(endpoint.run(of, 1000) for _ in range(20))
        await settle()
        assert endpoint.in_flight == 7
        await endpoint.slots.share_once(replicas)
        await asyncio.sleep(1.5)
        assert endpoint.in_flight == 2
        await asyncio.gather(*runs)

    simulate(work())


def test_what_the_endpoint_told_another_replica_holds_here() -> None:
    async def work() -> None:
        told = Share(part=4, limit=4.0, replicas=2, paused_seconds=9.0)
        endpoint, replicas = model(most=4), Replicas(lambda _: told)
        await endpoint.run(ACME, 1)
        await endpoint.slots.share_once(replicas)
        assert replicas.asked[-1].paused_seconds == 0
        await endpoint.slots.share_once(replicas)
        assert replicas.asked[-1].paused_seconds == 0  # hearsay is not passed on
        await endpoint.run(ACME, 1)
        assert endpoint.waits["acme"][-1] == pytest.approx(9)

    simulate(work())


def test_an_endpoint_that_nobody_uses_asks_nobody_and_is_shared_anew_at_once() -> None:
    async def work() -> None:
        endpoint, replicas = model(most=4), Replicas(half)
        sharing = asyncio.create_task(endpoint.slots.share(replicas))
        await endpoint.run(ACME, 10)
        await asyncio.sleep(60)
        asked = len(replicas.asked)
        assert asked < 20
        await asyncio.gather(*(endpoint.run(ACME, 100) for _ in range(2)))
        assert max(endpoint.waits["acme"]) == 0
        assert len(replicas.asked) > asked
        sharing.cancel()

    simulate(work())


def test_while_nobody_can_be_reached_from_the_start_a_process_goes_alone() -> None:
    async def work() -> None:
        endpoint, replicas = model(most=4), Replicas(half)
        replicas.reachable = False
        sharing = asyncio.create_task(endpoint.slots.share(replicas))
        await settle()
        await asyncio.gather(*(endpoint.run(ACME, 100) for _ in range(8)))
        assert endpoint.most_in_flight == 4
        sharing.cancel()

    simulate(work())


async def _stop() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
