"""A public network that we answer ourselves."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from server.web import Web

PUBLIC = "93.184.216.34"
Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def internet(serve: Serve, names: dict[str, list[str]] | None = None) -> AsyncIterator[Any]:
    """A network in which every public address is answered by `serve`; `.dialled` has them."""
    server = web.Server(serve)
    runner = web.ServerRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    [listening] = site._server.sockets if site._server else []
    port = listening.getsockname()[1]
    dialled: list[tuple[str, int]] = []

    async def resolve(host: str, _port: int) -> list[str]:
        answers = (names or {}).get(host)
        return [PUBLIC] if answers is None else [answers.pop(0)] if len(answers) > 1 else answers

    def dial(address: str, wanted: int) -> tuple[str, int]:
        dialled.append((address, wanted))
        return "127.0.0.1", port

    found = Web(resolve, dial, seconds=5)
    found.dialled = dialled  # type: ignore[attr-defined]
    try:
        yield found
    finally:
        await runner.cleanup()
