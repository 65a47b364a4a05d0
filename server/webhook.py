"""Posts signed JSON to a URL of the operator's: a few tries, and never a word of it to a run."""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp
import orjson
import structlog

log = structlog.get_logger()

PAUSES = (1.0, 4.0, 16.0, 60.0)  # between five tries: a receiver that restarts is back by then
ANSWER_SECONDS = 5.0
AT_ONCE = 4  # a receiver that hangs holds up no more, and waiting is no silence of its own


def signature(secret: str, at: int, body: bytes) -> str:
    """What `X-Tenantry-Signature` says: when it was sent, and HMAC-SHA256 of that and the body."""
    signed = hmac.digest(secret.encode(), f"{at}.".encode() + body, "sha256")
    return f"t={at},v1={signed.hex()}"


class Webhook:
    """One receiver. Its session belongs to the loop that first posts.

    No redirects are followed and no proxy from the environment is used: the receiver is where the
    operator says it is.
    """

    def __init__(
        self,
        url: str,
        secret: str,
        *,
        answer_seconds: float = ANSWER_SECONDS,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = url
        self._secret = secret
        self._answer_seconds = answer_seconds
        self._pause = pause
        self._clock = clock
        self._room = asyncio.Semaphore(AT_ONCE)
        self._session: aiohttp.ClientSession | None = None

    async def post(self, payload: Mapping[str, Any]) -> bool:
        """Whether the receiver took it, by a 2xx, at last."""
        body = orjson.dumps(payload, option=orjson.OPT_UTC_Z)
        why = ""
        for pause in (0.0, *PAUSES):
            if pause:
                await self._pause(pause)
            async with self._room:
                why = await self._try(body)
            if not why:
                return True
        log.warning("webhook_undelivered", id=str(payload.get("id")), reason=why)
        return False

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _try(self, body: bytes) -> str:
        """Why it was not taken; nothing when it was."""
        headers = {
            "Content-Type": "application/json",
            "X-Tenantry-Signature": signature(self._secret, int(self._clock()), body),
        }
        try:
            async with self._open().post(
                self._url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                return "" if 200 <= answer.status < 300 else f"answered {answer.status}"
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return type(error).__name__

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=AT_ONCE),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=self._answer_seconds),
            )
        return self._session
