"""A receiver of webhooks on real HTTP, which can be down, refuse, or say that it is elsewhere."""

import asyncio
import hmac
import re
from collections import deque
from dataclasses import dataclass
from typing import Any, Self

import orjson
from aiohttp import web


@dataclass(frozen=True, slots=True)
class Post:
    """What came in."""

    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return orjson.loads(self.body)

    def sent_at(self, secret: str) -> int:
        """When it was signed; fails unless the signature holds, as docs/alerts.md has it."""
        found = re.fullmatch(r"t=(\d+),v1=([0-9a-f]{64})", self.headers["X-Tenantry-Signature"])
        assert found
        signed = hmac.digest(secret.encode(), found[1].encode() + b"." + self.body, "sha256")
        assert hmac.compare_digest(signed.hex(), found[2])
        return int(found[1])


class Receiver:
    """Takes every post with a 204, after the answers of `script`; a silent one says nothing."""

    def __init__(self, *, silent: bool = False) -> None:
        self._silent = silent
        self.posts: list[Post] = []
        self.elsewhere = 0
        self._script: deque[int] = deque()
        self._port = 0

    def script(self, *statuses: int) -> None:
        """Answer the next posts so; 302 leads to this receiver's own `/elsewhere`."""
        self._script.extend(statuses)

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/hook", self._hook)
        app.router.add_route("*", "/elsewhere", self._elsewhere)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        """Where to post to, also while it is down once it was up."""
        return f"http://127.0.0.1:{self._port}/hook"

    async def _hook(self, request: web.Request) -> web.Response:
        self.posts.append(Post(dict(request.headers), await request.read()))
        if self._silent:
            await asyncio.Event().wait()
        status = self._script.popleft() if self._script else 204
        headers = {"Location": "/elsewhere"} if status == 302 else None
        return web.Response(status=status, headers=headers)

    async def _elsewhere(self, _request: web.Request) -> web.Response:
        self.elsewhere += 1
        return web.Response(status=204)
