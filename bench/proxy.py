"""A TCP proxy in front of Postgres that counts round trips: turns of request and response."""

import asyncio
from dataclasses import dataclass


@dataclass(slots=True)
class Count:
    """What has passed so far."""

    trips: int = 0
    connections: int = 0


class _Side(asyncio.Protocol):
    """One side of a relayed connection; both sides share who spoke last."""

    def __init__(self, count: Count, target: tuple[str, int], peer: "_Side | None" = None) -> None:
        self.count, self.target, self.peer = count, target, peer
        self.transport: asyncio.Transport | None = None
        self.waiting: list[bytes] = []
        self.client = peer is None
        self.asking = [False] if peer is None else peer.asking

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self.client:
            self.count.connections += 1
            self.peer = _Side(self.count, self.target, self)
            loop = asyncio.get_running_loop()
            self.connecting = loop.create_task(
                loop.create_connection(lambda: self.peer, *self.target)  # type: ignore[arg-type]
            )
        for data in self.waiting:
            transport.write(data)

    def data_received(self, data: bytes) -> None:
        if self.client and not self.asking[0]:
            self.count.trips += 1
        self.asking[0] = self.client
        assert self.peer is not None
        if self.peer.transport is None:
            self.peer.waiting.append(data)
        else:
            self.peer.transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.close()


async def counting_proxy(target: tuple[str, int]) -> tuple[asyncio.Server, int, Count]:
    """A proxy of `target` on a free port of 127.0.0.1, and its count."""
    count = Count()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Side(count, target), "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1], count
