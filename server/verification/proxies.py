"""Things to put in front of an application that keep what is not theirs, for the self-test."""

from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST = 6000  # characters of a header


class Forgetful:
    """A cache whose key is the path: it forgets who asked."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._kept: dict[str, list[Message]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer from what was answered to anybody."""
        if scope["type"] != "http" or scope["method"] != "GET":
            return await self.app(scope, receive, send)
        if known := self._kept.get(scope["path"]):
            for message in known:
                await send(message)
            return None
        messages: list[Message] = []

        async def kept(message: Message) -> None:
            messages.append(message)
            await send(message)

        await self.app(scope, receive, kept)
        if messages and messages[0]["status"] == 200:
            self._kept[scope["path"]] = messages
        return None


class Telling:
    """Tells in a header what it last answered to anybody."""

    def __init__(self, app: ASGIApp, written: Callable[[bytes], str]) -> None:
        self.app = app
        self._written = written
        self._last = b""

    @classmethod
    def by(cls, written: Callable[[bytes], str]) -> Callable[[ASGIApp], "Telling"]:
        """One that writes it in this way."""
        return lambda app: cls(app, written)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the answer on, with the header."""

        async def told(message: Any) -> None:
            if message["type"] == "http.response.start":
                header = (b"x-last", self._written(self._last).encode()[:MOST])
                message = {**message, "headers": [*message["headers"], header]}
            elif message["type"] == "http.response.body" and message.get("body"):
                self._last = message["body"][: MOST // 3]
            await send(message)

        await self.app(scope, receive, told)
