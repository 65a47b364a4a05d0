"""What the queue in front of the model costs, and what it is good for.

python -m bench.fair_queue [--calls 20000]

Costs are CPU time of this machine; everything else is simulated time and the same everywhere. The
flood: 4 slots at 1,000 tokens a second; 3 tenants leave 1,000 calls of 4,000 tokens each, 20 quiet
ones make 10 calls of 200 tokens at once, each 25 seconds or so.
"""

import argparse
import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from random import Random
from typing import Any

from server.model_slots import ModelSlots
from tenancy.fairness import FairQueue, Line, Priority
from tenancy.plan import COMMON_LINE, Plan
from tests.support.simulated_time import simulate
from tests.support.slots import FOREVER, MODEL, Model, tenant

QUIET, FLOODERS, AT_ONCE = 20, 3, 10
WAITING_TENANTS = 5000
MEASURED_SECONDS = 600
WARM_SECONDS = 20


def microseconds(work: Callable[[], Any], times: int) -> float:
    """CPU time of one of so many."""
    began = time.thread_time_ns()
    work()
    return (time.thread_time_ns() - began) / 1000 / times


async def uncontended(calls: int) -> None:
    """Take a slot and give it back, while nobody waits."""
    slots, acme = ModelSlots(most=8), tenant("acme")
    for _ in range(calls):
        place = slots.enter(acme)
        async with slots.slot(place, MODEL, tokens=1000) as slot:
            slot.served(700)
        slots.leave(place)


def crowded(calls: int) -> tuple[Callable[[], None], int]:
    """Dispatch, end and push again, while thousands of tenants wait."""
    queue, random = FairQueue(), Random(1)  # noqa: S311
    lines = [Line() for _ in range(WAITING_TENANTS)]
    for line in lines:
        queue.push(line, priority=Priority.INTERACTIVE, tokens=random.randint(1, 2000))

    def work() -> None:
        for _ in range(calls):
            call = queue.pop()
            assert call is not None
            call.account.correct(call, call.tokens)
            queue.end(call)
            queue.push(call.account.line, priority=Priority.INTERACTIVE, tokens=call.tokens)

    return work, calls


async def crowd(waiting: bool) -> None:
    """Every tenant's call, each a task; with the queue, or without."""
    model = Model(ModelSlots(most=32))
    tenants = [tenant(f"tenant-{n}", FOREVER) for n in range(WAITING_TENANTS)]
    if waiting:
        await asyncio.gather(*(model.run(each, 100) for each in tenants for _ in range(2)))
    else:
        await asyncio.gather(*(asyncio.sleep(0.1) for _ in tenants for _ in range(2)))


async def shares(
    plans: dict[str, Plan], sizes: dict[str, int], *, seconds: float
) -> dict[str, int]:
    """Tokens served in so long, while all have calls waiting."""
    model, random = Model(ModelSlots(most=8)), Random(2)  # noqa: S311
    runs = [
        asyncio.create_task(model.run(tenant(name, plan), random.randint(1, 2 * sizes[name])))
        for name, plan in plans.items()
        for _ in range(800_000 // sizes[name])
    ]
    await asyncio.sleep(WARM_SECONDS)  # who comes first has all slots at once
    before = dict(model.served)
    await asyncio.sleep(seconds)
    await stop(runs)
    return {name: model.served[name] - before.get(name, 0) for name in plans}


async def flood(plan: Plan, *, flooders: int = FLOODERS, counted: bool = True) -> float:
    """The 99th percentile of what quiet tenants wait, with tokens counted or only calls."""
    model, random = Model(ModelSlots(most=4), counted=counted), Random(3)  # noqa: S311
    runs = [
        asyncio.create_task(model.run(tenant(f"flooder-{n}", plan), 4000))
        for n in range(flooders)
        for _ in range(1000)
    ]
    quiet = [asyncio.create_task(_quiet(model, n, plan, random)) for n in range(QUIET)]
    await asyncio.gather(*quiet)
    await stop(runs)
    waits = sorted(w for name, ws in model.waits.items() if name.startswith("quiet") for w in ws)
    return waits[int(len(waits) * 0.99)]


async def _quiet(model: Model, number: int, plan: Plan, random: Random) -> None:
    loop = asyncio.get_running_loop()
    while loop.time() < MEASURED_SECONDS:
        await asyncio.sleep(random.expovariate(1 / 25))
        quiet = tenant(f"quiet-{number}", plan)
        await asyncio.gather(*(model.run(quiet, 200) for _ in range(AT_ONCE)))


async def stop(runs: list[asyncio.Task[None]]) -> None:
    """Cancel what is left."""
    for run in runs:
        run.cancel()
    await asyncio.gather(*runs, return_exceptions=True)


def jain(values: list[int]) -> float:
    """1 when all have the same, 1/n when one has all."""
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))


def simulated(work: Coroutine[Any, Any, Any]) -> Callable[[], Any]:
    """`work`, to be measured."""
    return lambda: simulate(work)


def main() -> None:
    """Print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=20_000)
    calls = parser.parse_args().calls

    print(f"a slot, nobody waits      {microseconds(simulated(uncontended(calls)), calls):8.1f} µs")
    work, times = crowded(calls)
    print(f"the same queue, {WAITING_TENANTS} wait {microseconds(work, times):9.1f} µs")
    tasks = 2 * WAITING_TENANTS
    with_queue = microseconds(simulated(crowd(True)), tasks)
    without = microseconds(simulated(crowd(False)), tasks)
    print(f"a whole call in a crowd   {with_queue - without:8.1f} µs, bare tasks taken off")

    equal = dict.fromkeys([f"tenant-{n}" for n in range(20)], FOREVER)
    sizes = {name: 50 * 2 ** (number % 6) for number, name in enumerate(equal)}
    served = simulate(shares(equal, sizes, seconds=300))
    print(f"Jain, calls of 50 to 1,600 tokens  {jain([*served.values()]):.4f}")
    weighted = {f"weight-{n}": replace(FOREVER, weight=n) for n in (1, 2, 4)}
    served = simulate(
        shares(weighted, {"weight-1": 1600, "weight-2": 400, "weight-4": 100}, seconds=150)
    )
    ratios = (f"{tokens / served['weight-1']:.3f}" for tokens in served.values())
    print(f"weights 1:2:4 are served           {':'.join(ratios)}")

    fifo, capped = replace(FOREVER, weight=COMMON_LINE), replace(FOREVER, model_calls_in_flight=1)
    print("quiet tenants' p99 wait in seconds")
    for name, wait in (
        ("alone", flood(FOREVER, flooders=0)),
        ("first come, first served", flood(fifo)),
        ("in turn, a call each", flood(FOREVER, counted=False)),
        ("by tokens", flood(FOREVER)),
        ("by tokens, one call in flight each", flood(capped)),
    ):
        print(f"  {name:<36} {simulate(wait):10.2f}")


if __name__ == "__main__":
    main()
