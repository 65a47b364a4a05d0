"""What was measured, in words and figures."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from server.noisy_neighbour.latency import Tally
from server.noisy_neighbour.machine import CROWDED
from server.noisy_neighbour.phases import ALONE, LIMITED, OFF, QUEUE, Outcome

PERCENTS = {"p50": 50, "p95": 95, "p99": 99, "max": 100}
TYPICAL = 95  # the percentile to compare by: of a few dozen requests the 99th is the slowest one
COLUMNS = (
    "phase",
    "tenant",
    "asked",
    "ok/s",
    "429",
    "503",
    "failed",
    *(f"{n} ms" for n in PERCENTS),
)
WORDS = 2  # columns of them, before the figures


def as_json(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """One object; what could not be measured is null."""
    return {
        "phases": [
            {
                "name": each.phase.name,
                "label": each.phase.label,
                "quiet": _figures(each.quiet),
                "noisy": _figures(each.noisy),
                "busy": None if each.busy is None else round(each.busy, 3),
            }
            for each in outcomes
        ],
        "p95_ms": {name: _finite(value) for name, value in _typical(outcomes).items()},
        "shorter_by": {
            name: _finite(_ratio(outcomes, name)) for name in (QUEUE.name, LIMITED.name)
        },
    }


def table(outcomes: Sequence[Outcome]) -> Table:
    """Each phase as both tenants saw it."""
    grid = Table(box=SIMPLE_HEAD, pad_edge=False)
    for place, name in enumerate(COLUMNS):
        grid.add_column(name, justify="left" if place < WORDS else "right", no_wrap=True)
    for each in outcomes:
        grid.add_row(each.phase.label, "quiet", *_row(each.quiet))
        if each.phase.floods:
            grid.add_row("", "noisy", *_row(each.noisy))
    return grid


def warnings(outcomes: Sequence[Outcome]) -> list[str]:
    """What a reader must know before believing the figures."""
    said = []
    crowded = [each.phase.label for each in outcomes if (each.busy or 0) > CROWDED]
    if crowded:
        said.append(
            f"The processors of this machine were over {CROWDED:.0%} busy ({'; '.join(crowded)}): "
            "they decided who waited, more than the model did."
        )
    refused = sum(each.quiet.over_limit for each in outcomes)
    if refused:
        said.append(f"The quiet tenant was refused {refused} times for limits it never reached.")
    return said


def verdict(outcomes: Sequence[Outcome]) -> str:
    """What protection changed."""
    typical = _typical(outcomes)
    if any(math.isnan(value) for value in typical.values()):
        return "The quiet tenant got no answer in one of the phases: there is nothing to compare."
    queue, limits = (_ratio(outcomes, name) for name in (QUEUE.name, LIMITED.name))
    return (
        f"Flooded, the quiet tenant's p{TYPICAL} is {number(typical[OFF.name])} ms unprotected and "
        f"{number(typical[QUEUE.name])} ms with the fair queue: {times(queue)} "
        f"({times(limits)} with limits too). Alone it is {number(typical[ALONE.name])} ms."
    )


def title(outcomes: Sequence[Outcome]) -> str:
    """The finding, in two lines."""
    typical = _typical(outcomes)
    off, queue, limits = (
        f"{_short(typical[phase.name] / typical[ALONE.name])} ×" for phase in (OFF, QUEUE, LIMITED)
    )
    return (
        f"A noisy neighbour makes a quiet tenant wait {off} as long (p{TYPICAL});\n"
        f"with the fair queue {queue}, with the limits of a plan too {limits}"
    )


def times(ratio: float) -> str:
    """How much shorter something became."""
    return f"{_short(ratio)} × shorter" if ratio >= 1 else f"{_short(1 / ratio)} × longer"


def number(milliseconds: float) -> str:
    """Milliseconds as one reads them."""
    return "–" if math.isnan(milliseconds) else _short(milliseconds)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _typical(outcomes: Sequence[Outcome]) -> Mapping[str, float]:
    return {each.phase.name: each.quiet.milliseconds(TYPICAL) for each in outcomes}


def _ratio(outcomes: Sequence[Outcome], name: str) -> float:
    typical = _typical(outcomes)
    return typical[OFF.name] / typical[name]


def _row(tally: Tally) -> list[str]:
    counts = (tally.over_limit, tally.unavailable, tally.failed)
    return [
        str(tally.requests),
        f"{tally.per_second:.1f}",
        *map(str, counts),
        *(number(tally.milliseconds(percent)) for percent in PERCENTS.values()),
    ]


def _figures(tally: Tally) -> dict[str, float | None]:
    counts = ("requests", "answered", "over_limit", "unavailable", "failed")
    return {
        **{name: getattr(tally, name) for name in counts},
        "answered_per_second": round(tally.per_second, 2),
        **{f"{name}_ms": _finite(tally.milliseconds(p)) for name, p in PERCENTS.items()},
    }


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 2)
