"""The bench, from the first phase to the last."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

from server.noisy_neighbour.doors import DOCUMENT, Door, doors, enter
from server.noisy_neighbour.latency import Tally
from server.noisy_neighbour.load import come_at_a_rate, flood
from server.noisy_neighbour.machine import busy_share, ticks
from server.noisy_neighbour.neighbours import Neighbours, made
from server.noisy_neighbour.phases import ALONE, PHASES, Outcome, Phase
from server.stores import Stores

LEAD_SECONDS = 1.0  # the flood is there before the quiet tenant asks
WARM_UPS = 5  # the first questions of a server open its connections and load its models
MOST_PER_SECOND = 1000  # requests of a flood: it ends, whatever the clock says

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Load:
    """How long a phase lasts, how many callers flood, and how often the quiet tenant asks."""

    seconds: float
    callers: int
    quiet_per_second: float


@dataclass(frozen=True, slots=True)
class Findings:
    """What was measured, and which model answered."""

    model: str
    outcomes: Sequence[Outcome]


def run_bench(stores: Stores, url: str, load: Load, tell: Tell) -> Findings:
    """Measure every phase at the server at `url`; the tenants made for it are gone afterwards.

    `tell` hears of each step. Raises `Failure`.
    """
    with made(stores) as pair:
        return asyncio.run(_measure(stores, url, load, tell, pair))


async def _measure(stores: Stores, url: str, load: Load, tell: Tell, pair: Neighbours) -> Findings:
    document = DOCUMENT.read_bytes()  # one small file, before the first phase
    async with doors(url, stores, pair) as (noisy, quiet):
        await enter(ALONE, stores, noisy=noisy, quiet=quiet)
        for door in (noisy, quiet):
            await door.bring(DOCUMENT.name, document)
            models = [await door.model() for _ in range(WARM_UPS)]
        tell(f"{load.callers} callers of one tenant flood {url}, where {models[0]} answers.")
        outcomes = []
        for phase in PHASES:
            tell(f"{phase.label} …")
            await enter(phase, stores, noisy=noisy, quiet=quiet)
            outcomes.append(await _trial(phase, load, noisy=noisy, quiet=quiet))
        return Findings(models[0], outcomes)


async def _trial(phase: Phase, load: Load, *, noisy: Door, quiet: Door) -> Outcome:
    over, before = asyncio.Event(), ticks()
    async with asyncio.TaskGroup() as group:
        callers = load.callers if phase.floods else 0
        flooding = group.create_task(_flood(noisy, load, over, callers))
        await asyncio.sleep(LEAD_SECONDS if callers else 0)
        began = monotonic()
        answers = await come_at_a_rate(quiet.ask, rate=load.quiet_per_second, seconds=load.seconds)
        asked = Tally(answers, monotonic() - began)
        busy = busy_share(before, ticks())
        over.set()
    return Outcome(phase, asked, flooding.result(), busy)


async def _flood(door: Door, load: Load, over: asyncio.Event, callers: int) -> Tally:
    began, most = monotonic(), round(load.seconds * MOST_PER_SECOND)
    answers = await flood(door.ask, over, callers=callers, most=most)
    return Tally(answers, monotonic() - began)
