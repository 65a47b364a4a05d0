"""Work that goes on beside the requests, as long as there is some."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from tenancy.errors import Unavailable

log = structlog.get_logger()

IDLE_SECONDS = 1.0  # work that another process took in waits no longer than this


class Rounds:
    """Does `work`, which says whether there was some, so many times at once."""

    def __init__(self, work: Callable[[], Awaitable[bool]], slots: int) -> None:
        self._work = work
        self._slots = slots
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Look for work at once."""
        self._wake.set()

    async def keep(self) -> None:
        """Work until cancelled."""
        await asyncio.gather(*(self._serve() for _ in range(self._slots)))

    async def _serve(self) -> None:
        while True:
            try:
                busy = await self._work()
            except Unavailable as error:
                log.warning("background_work_postponed", reason=error.detail)
                busy = False
            if not busy:
                await self._rest()

    async def _rest(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(IDLE_SECONDS):
                await self._wake.wait()
        self._wake.clear()
