"""Failed authentications of one address are answered later and later; nothing else ever waits."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from time import monotonic

FREE_FAILURES = 5.0  # a minute: somebody who tries the credentials at hand
FIRST_SECONDS = 0.05
MOST_SECONDS = 2.0
FULL = FREE_FAILURES + 7  # failures after which a delay grows no more: 0.05 s, doubled six times
ADDRESSES = 10_000  # remembered: a megabyte or two
WAITING = 1_000  # at once: each holds a connection


class Slowdown:
    """A leaky bucket an address: each failure adds one, a minute takes `FREE_FAILURES` away."""

    def __init__(
        self,
        clock: Callable[[], float] = monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._pause = pause
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # and as of when
        self._waiting = 0

    async def hold(self, address: str) -> None:
        """Count a failure and wait for what it costs; at once where too many wait already."""
        seconds = self.failed(address)
        if seconds == 0 or self._waiting >= WAITING:
            return
        self._waiting += 1
        try:
            await self._pause(seconds)
        finally:
            self._waiting -= 1

    def failed(self, address: str) -> float:
        """Count a failure of `address`; the seconds by which its answer is to be delayed."""
        now = self._clock()
        level, since = self._levels.pop(address, (0.0, now))
        level = min(max(level - (now - since) * FREE_FAILURES / 60, 0) + 1, FULL)
        self._levels[address] = (level, now)
        if len(self._levels) > ADDRESSES:
            self._levels.popitem(last=False)
        return _seconds(level)


def _seconds(level: float) -> float:
    if level <= FREE_FAILURES:
        return 0.0
    return min(FIRST_SECONDS * 2 ** (level - FREE_FAILURES - 1), MOST_SECONDS)
