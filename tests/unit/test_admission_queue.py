"""Waiting for a limit to give room: in order, in time, and only where the plan says so."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from server.admission_queue import ASK_AGAIN_SECONDS, AdmissionQueue
from tenancy.ids import PlanId, TenantId
from tenancy.plan import Plan, Step
from tenancy.quota import Verdict
from tests.support.simulated_time import simulate

ACME, GLOBEX = TenantId("acme"), TenantId("globex")
PLAN = Plan(PlanId("patient"), queue_length=10, queue_seconds=30, degrade=(Step.QUEUE,))
ADMITTED = Verdict(())


class Limit:
    """So many may run at once; who asks more says how long a run lasts."""

    def __init__(self, most: int, *, name: str = "concurrent_runs", seconds: float = 5) -> None:
        self.room = most
        self.name = name
        self.retry_after = timedelta(seconds=seconds)
        self.asked: list[Any] = []
        self.admitted: list[Any] = []

    def asker(self, who: Any) -> Any:
        async def ask() -> Verdict:
            self.asked.append(who)
            await asyncio.sleep(0.001)
            if self.room == 0:
                return Verdict((), self.name, self.retry_after)
            self.room -= 1
            self.admitted.append(who)
            return ADMITTED

        return ask


def now() -> float:
    return asyncio.get_running_loop().time()


def test_who_is_admitted_at_once_does_not_wait() -> None:
    async def work() -> None:
        assert await AdmissionQueue().admitted(ACME, PLAN, Limit(1).asker(1)) == (ADMITTED, False)

    simulate(work())


@pytest.mark.parametrize(
    ("plan", "seconds"),
    [(replace(PLAN, degrade=()), 5), (replace(PLAN, queue_length=0), 5), (PLAN, 31)],
    ids=["no such step", "no queue", "not in time"],
)
def test_who_may_not_wait_is_refused_at_once(plan: Plan, seconds: float) -> None:
    async def work() -> None:
        limit = Limit(0, name="tokens per minute", seconds=seconds)
        verdict, waited = await AdmissionQueue().admitted(ACME, plan, limit.asker(1))
        assert (verdict.admitted, waited, len(limit.asked)) == (False, False, 1)
        assert now() < 0.01

    simulate(work())


def test_a_run_that_probably_ends_too_late_is_waited_for_because_it_may_not() -> None:
    async def work() -> None:
        queue, limit = AdmissionQueue(), Limit(0, seconds=100)
        run = asyncio.create_task(queue.admitted(ACME, PLAN, limit.asker(1)))
        await asyncio.sleep(2)
        limit.room += 1
        queue.freed(ACME)
        assert await run == (ADMITTED, True)
        assert now() < 2.1
        verdict, waited = await queue.admitted(ACME, PLAN, limit.asker(2))
        assert (verdict.admitted, waited) == (False, True)
        assert now() <= 2.1 + PLAN.queue_seconds

    simulate(work())


def test_runs_are_admitted_in_the_order_in_which_they_came_as_others_end() -> None:
    async def work() -> None:
        queue, limit = AdmissionQueue(), Limit(0)
        runs = []
        for number in range(5):
            runs.append(asyncio.create_task(queue.admitted(ACME, PLAN, limit.asker(number))))
            await asyncio.sleep(0.01)
        for _ in range(5):
            await asyncio.sleep(0.1)
            limit.room += 1
            queue.freed(ACME)
        assert await asyncio.gather(*runs) == [(ADMITTED, True)] * 5
        assert limit.admitted == [0, 1, 2, 3, 4]
        assert now() < 1
        assert queue.waiting(ACME) == 0

    simulate(work())


def test_what_is_freed_while_somebody_asks_is_not_lost() -> None:
    async def work() -> None:
        queue, limit = AdmissionQueue(), Limit(0)
        run = asyncio.create_task(queue.admitted(ACME, PLAN, limit.asker(1)))
        await asyncio.sleep(0.01)
        queue.freed(ACME)
        await asyncio.sleep(0.0005)  # it is asking again, and is refused when the answer comes
        queue.freed(ACME)
        await asyncio.sleep(0.0007)
        limit.room += 1
        await run
        assert now() < 0.1

    simulate(work())


def test_room_that_nobody_tells_of_is_found_within_a_second() -> None:
    async def work() -> None:
        queue, limit = AdmissionQueue(), Limit(0, seconds=20)
        run = asyncio.create_task(queue.admitted(ACME, PLAN, limit.asker(1)))
        await asyncio.sleep(3)
        limit.room += 1
        assert await run == (ADMITTED, True)
        assert now() <= 3 + ASK_AGAIN_SECONDS + 0.01

    simulate(work())


def test_only_the_first_asks() -> None:
    async def work() -> None:
        queue, limit = AdmissionQueue(), Limit(0)
        runs = [
            asyncio.create_task(queue.admitted(ACME, PLAN, limit.asker(number)))
            for number in range(10)
        ]
        await asyncio.sleep(0.5)
        asked = len(limit.asked)
        await asyncio.sleep(10)
        assert len(limit.asked) - asked <= 11
        assert set(limit.asked[asked:]) == {0}
        verdicts = await asyncio.gather(*runs)
        assert {(verdict.admitted, waited) for verdict, waited in verdicts} == {(False, True)}
        assert now() <= PLAN.queue_seconds + 0.1

    simulate(work())


def test_who_waits_for_one_limit_is_not_in_the_way_of_who_waits_for_another() -> None:
    async def work() -> None:
        queue = AdmissionQueue()
        budget, slots = Limit(0, name="tokens per minute", seconds=25), Limit(0)
        slow = asyncio.create_task(queue.admitted(ACME, PLAN, budget.asker("slow")))
        await asyncio.sleep(0.1)
        quick = asyncio.create_task(queue.admitted(ACME, PLAN, slots.asker("quick")))
        await asyncio.sleep(0.1)
        slots.room += 1
        queue.freed(ACME)
        assert await quick == (ADMITTED, True)
        assert not slow.done()
        await slow

    simulate(work())


def test_the_queue_is_bounded_and_each_tenants_own() -> None:
    async def work() -> None:
        queue, limit = AdmissionQueue(), Limit(0)
        runs = [
            asyncio.create_task(queue.admitted(ACME, PLAN, limit.asker(number)))
            for number in range(PLAN.queue_length)
        ]
        await asyncio.sleep(0.1)
        assert (await queue.admitted(ACME, PLAN, limit.asker("late")))[1] is False
        other = asyncio.create_task(queue.admitted(GLOBEX, PLAN, Limit(0).asker("other")))
        await asyncio.sleep(0.1)
        assert (queue.waiting(ACME), queue.waiting(GLOBEX)) == (PLAN.queue_length, 1)
        await asyncio.gather(*runs, other)

    simulate(work())


def test_who_goes_away_leaves_its_turn_to_the_next() -> None:
    async def work() -> None:
        queue, limit = AdmissionQueue(), Limit(0)
        runs = [
            asyncio.create_task(queue.admitted(ACME, PLAN, limit.asker(number)))
            for number in range(3)
        ]
        await asyncio.sleep(0.1)
        runs[0].cancel()
        runs[1].cancel()
        limit.room += 1
        queue.freed(ACME)
        assert await runs[2] == (ADMITTED, True)
        assert now() < 0.2
        assert queue._lines == {}

    simulate(work())


def test_an_admission_is_never_cut_short() -> None:
    async def work() -> None:
        queue, limit, answered = AdmissionQueue(), Limit(0, seconds=1), []

        async def slow() -> Verdict:
            await asyncio.sleep(2.9)
            verdict = await limit.asker("slow")()
            answered.append(verdict)
            return verdict

        await asyncio.gather(*(queue.admitted(ACME, PLAN, slow) for _ in range(4)))
        assert limit.asked == ["slow"] * len(answered)

    simulate(work())
