"""A refusal that comes before the body was read must still reach who is sending it."""

import asyncio
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 128 * 1024 * 1024  # a client that sends more than this may lose its answer
MOST_SECONDS = 10.0


class LingeringMiddleware:
    """Reads on, and forgets, what is left of a body before the answer ends.

    To close a connection that still has bytes to read resets it: most clients, which send first
    and read then, would see a network error instead of their 401 or 413.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; hold the end of an answer back until its body is in."""
        if scope["type"] != "http" or not _sends_a_body(scope):
            return await self.app(scope, receive, send)
        unread = True

        async def receive_noted() -> Message:
            nonlocal unread
            message = await receive()
            unread = message["type"] == "http.request" and message.get("more_body", False)
            return message

        async def send_at_the_end(message: Message) -> None:
            if unread and message["type"] == "http.response.body" and not message.get("more_body"):
                await _read_on(receive)
            await send(message)

        return await self.app(scope, receive_noted, send_at_the_end)


def _sends_a_body(scope: Scope) -> bool:
    """Who asks by `Expect` whether to send it sends nothing when refused."""
    names = {name for name, _ in scope["headers"]}
    return bool(names & {b"content-length", b"transfer-encoding"}) and b"expect" not in names


async def _read_on(receive: Receive) -> None:
    read = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(MOST_SECONDS):
            while read <= MOST_BYTES:
                message = await receive()
                read += len(message.get("body", b""))
                if not message.get("more_body"):
                    return
