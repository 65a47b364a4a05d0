"""How busy this machine is: a bench on a machine without room measures the machine."""

from pathlib import Path
from typing import NamedTuple

STAT = Path("/proc/stat")
IDLE = slice(3, 5)  # of the first line's figures: idle, and idle for want of a disk
ALL = 8  # guests come after these, and are counted in them
CROWDED = 0.9  # from here on the processors, and not the queue, decide who waits


class Ticks(NamedTuple):
    """What all processors did since the machine started, in units of its kernel."""

    busy: int
    all: int


def ticks(stat: Path = STAT) -> Ticks | None:
    """The count so far; None where the kernel does not tell."""
    try:
        line = stat.read_text(encoding="ascii").partition("\n")[0]
    except OSError:
        return None
    figures = [int(word) for word in line.split()[1:]][:ALL]
    return Ticks(sum(figures) - sum(figures[IDLE]), sum(figures))


def busy_share(before: Ticks | None, after: Ticks | None) -> float | None:
    """How busy the processors were in between, from 0 to 1; None where it is not known."""
    if before is None or after is None or after.all == before.all:
        return None
    return (after.busy - before.busy) / (after.all - before.all)
