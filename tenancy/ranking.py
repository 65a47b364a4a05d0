"""Things in order of a number that changes."""

from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T")
SLACK = 64  # outdated entries below which it is not worth to tidy up


class Ranking(Generic[T]):
    """Things by number, least first. Each change takes O(log n), amortised."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, bool, int, T]] = []
        self._entries: dict[T, tuple[float, bool, int, T]] = {}
        self._order = count()

    def __contains__(self, thing: T) -> bool:
        return thing in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, thing: T, number: float, *, ahead: bool = False) -> None:
        """Rank `thing`, anew if it was; `ahead` of those that are equal, or after them."""
        entry = (number, not ahead, next(self._order), thing)
        self._entries[thing] = entry
        heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._entries) + SLACK:
            self._heap = [*self._entries.values()]
            heapify(self._heap)

    def drop(self, thing: T) -> None:
        """Rank it no longer, if it was."""
        self._entries.pop(thing, None)

    def least(self) -> T | None:
        """The first in order, which stays; None when there is none."""
        while self._heap:
            entry = self._heap[0]
            if self._entries.get(entry[3]) is entry:
                return entry[3]
            heappop(self._heap)
        return None
