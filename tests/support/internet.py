"""A public network that we answer ourselves."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from server.web import Web

PUBLIC = "93.184.216.34"
HOST = "http://docs.example.com"
MAP = f"{HOST}/map.xml"
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


def urlset(*urls: str) -> bytes:
    """A sitemap of pages."""
    return f"<urlset>{''.join(f'<url><loc>{url}</loc></url>' for url in urls)}</urlset>".encode()


def index(*urls: str) -> bytes:
    """A sitemap of sitemaps."""
    inside = "".join(f"<sitemap><loc>{url}</loc></sitemap>" for url in urls)
    return f"<sitemapindex>{inside}</sitemapindex>".encode()


class Site:
    """Answers as it is told, everything else with a page, and remembers what was asked."""

    def __init__(self, robots: str = "", **answers: Any) -> None:
        self.asked: list[str] = []
        self.robots_status = 200
        self._robots = robots
        self.answers = answers

    async def __call__(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        if request.path == "/robots.txt":
            return web.Response(text=self._robots, status=self.robots_status)
        found = self.answers.get(request.path.removeprefix("/").partition(".")[0])
        if isinstance(found, bytes):
            return web.Response(body=found)
        if isinstance(found, str):
            return web.Response(status=302, headers={"Location": found})
        if isinstance(found, int):
            return web.Response(status=found)
        return web.Response(text=f"<p>Words of {request.path}</p>", content_type="text/html")
