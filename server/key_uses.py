"""When keys were last used: marked in memory, noted behind requests, once a minute."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic

import structlog

from tenancy.errors import Unavailable
from tenancy.ids import KeyId

NOTE_SECONDS = 60.0

Ages = Mapping[KeyId, float]  # seconds since the last use
log = structlog.get_logger()


class KeyUses:
    """A request leaves a mark and waits for nothing; a crash loses a minute of marks at most."""

    def __init__(
        self, note: Callable[[Ages], Awaitable[None]], clock: Callable[[], float] = monotonic
    ) -> None:
        self._note = note
        self._clock = clock
        self._marks: dict[KeyId, float] = {}

    def mark(self, key_id: KeyId) -> None:
        """Remember that a key let somebody in just now."""
        self._marks[key_id] = self._clock()

    async def keep(self, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Note the marks every minute until cancelled."""
        while True:
            await pause(NOTE_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Note the marks in one statement, if there are any; what was not noted stays marked."""
        marks, self._marks = self._marks, {}
        if not marks:
            return
        now = self._clock()
        try:
            await self._note({key_id: now - used for key_id, used in marks.items()})
        except Unavailable as error:
            self._marks = marks | self._marks
            log.warning("key_uses_postponed", keys=len(marks), reason=error.detail)
        except asyncio.CancelledError:  # the last flush is still to come
            self._marks = marks | self._marks
            raise
