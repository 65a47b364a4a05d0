"""Server-sent events out of a body that arrives in blocks."""

import asyncio
from contextlib import suppress

import aiohttp

from server.openai_wire.failures import MAX_BODY_BYTES, nonsense

MAX_EVENT_BYTES = 8 * 1024 * 1024  # an event without an end must not fill the memory
DRAIN_SECONDS = 0.05  # a server that dawdles over an empty chunk loses the connection instead


class EventCutter:
    """Cuts blocks of bytes, wherever they were cut before, into the data of events."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, block: bytes) -> list[bytes]:
        """The data of the events that `block` completes."""
        *lines, self._rest = (self._rest + block).split(b"\n")
        if len(self._rest) > MAX_EVENT_BYTES:
            raise nonsense()
        events = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[5:].strip())
            elif self._data and line in {b"", b"\r"}:
                events.append(b"\n".join(self._data))
                self._data.clear()
        return events


class EventReader:
    """Reads a body as events. A gap without one raises `TimeoutError`.

    Comments that keep a connection alive do not count as an answer.
    """

    def __init__(self, content: aiohttp.StreamReader, *, gap_seconds: float) -> None:
        self._content = content
        self._gap_seconds = gap_seconds
        self._cutter = EventCutter()
        self._size = 0
        self._ended = False

    async def read(self) -> list[bytes]:
        """The data of the events that arrived together; none when the body has ended."""
        events: list[bytes] = []
        deadline = asyncio.get_running_loop().time() + self._gap_seconds
        while not events and not self._ended:
            block = await self._block(deadline)
            self._ended = not block
            events = self._cutter.feed(block or b"\n\n")  # the last may lack its empty line
        return events

    async def _block(self, deadline: float) -> bytes:
        block = self._content.read_nowait(-1)  # what is already here needs no timer
        if not block:
            async with asyncio.timeout_at(deadline):
                block = await self._content.readany()
        self._size += len(block)
        if self._size > MAX_BODY_BYTES:
            raise nonsense()
        return block


async def drain(content: aiohttp.StreamReader) -> None:
    """Read a body that has said all it had to say to its end, so that its connection is kept."""
    with suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while await content.readany():
                pass
