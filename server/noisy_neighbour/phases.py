"""What is compared: the quiet tenant alone, then flooded, with more and more of the protection."""

from collections.abc import Mapping
from dataclasses import dataclass

from server.noisy_neighbour.latency import Tally
from tenancy.plan import COMMON_LINE, FREE, LIMITS, RANGES, UNLIMITED

Settings = Mapping[str, str]  # of a plan, as `tenantry plan set` takes them

OPEN: Settings = {
    **{name: str(UNLIMITED) for name in LIMITS if name not in RANGES},
    "queue_length": str(RANGES["queue_length"][1]),
    "queue_seconds": str(RANGES["queue_seconds"][1]),
    "degrade": "",
}
UNPROTECTED: Settings = {**OPEN, "weight": str(COMMON_LINE)}
# More requests than any flood makes: the queue alone decides. Unlike `UNPROTECTED` by a limit that
# `GET /v1/quota` shows, so that one sees when it is in force.
ROOMY: Settings = {**OPEN, "weight": "1", "requests_per_minute": "600000", "burst": "10000"}


GATES = ("requests_per_minute", "burst", "concurrent_runs")
# Not the budgets of `free`: the phases before have spent them.
GATED: Settings = {**ROOMY, **{name: str(getattr(FREE, name)) for name in GATES}}


@dataclass(frozen=True, slots=True)
class Phase:
    """One trial: the plans both tenants are on, and whether the noisy one floods."""

    name: str
    label: str
    quiet: Settings
    noisy: Settings
    floods: bool = True


ALONE = Phase("alone", "alone", ROOMY, ROOMY, floods=False)
OFF = Phase("off", "unprotected", UNPROTECTED, UNPROTECTED)
QUEUE = Phase("fair_queue", "fair queue", ROOMY, ROOMY)
LIMITED = Phase("limits", "queue and limits", ROOMY, GATED)
PHASES = (ALONE, OFF, QUEUE, LIMITED)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a phase measured; `busy` is how busy the machine was, where that is known."""

    phase: Phase
    quiet: Tally
    noisy: Tally
    busy: float | None
