"""Requests to one model endpoint: a session, a deadline, a second try."""

import asyncio
import math
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson

from server.openai_wire.failures import MAX_BODY_BYTES, nonsense, refused, translating
from tenancy.errors import ModelFailed

MAX_CONNECTIONS = 1000  # as in the OpenAI SDK; what bounds the load is the tenants' slots
LONGEST_WAIT_SECONDS = 2.0  # a slot waits with the call: whoever asks for more time gets no retry
FIRST_WAIT_SECONDS = 0.2


class Transport:
    """One endpoint and the session that serves it, which belongs to the loop that first uses it.

    Certificates are verified against the system's. Proxies from the environment are not used: an
    endpoint is where the operator says it is. Redirects are failures: they would carry the key on.
    """

    def __init__(
        self, base_url: str, api_key: str | None, *, timeout_seconds: float, retries: int
    ) -> None:
        self.timeout_seconds = timeout_seconds
        self._base_url = base_url.rstrip("/")
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._retries = retries
        self._longest_wait = min(LONGEST_WAIT_SECONDS, timeout_seconds / 4)
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def aclose(self) -> None:
        """Close the connections; whatever comes later fails."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    async def post(self, path: str, payload: Mapping[str, Any]) -> Any:
        """The JSON answer, complete within the time-out. Raises `ModelFailed`."""
        with translating():
            async with asyncio.timeout(self.timeout_seconds):
                response = await self._send(path, payload)
                try:
                    body = await _read(response)
                finally:
                    response.release()  # closes the connection when there is more to read
        return loads(body)

    @asynccontextmanager
    async def stream(
        self, path: str, payload: Mapping[str, Any]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer with its body still to come, its head within the time-out.

        The connection is kept for the next request when the body was read to its end.
        """
        with translating():
            async with asyncio.timeout(self.timeout_seconds):
                response = await self._send(path, payload)
        try:
            yield response
        finally:
            response.release()

    async def _send(self, path: str, payload: Mapping[str, Any]) -> aiohttp.ClientResponse:
        body = orjson.dumps(payload, option=orjson.OPT_NON_STR_KEYS)
        for left in range(self._retries, -1, -1):
            try:
                response = await self._post(path, body)
            except aiohttp.ClientConnectionError:  # nothing of an answer was seen
                if not left:
                    raise
                wait = FIRST_WAIT_SECONDS
            else:
                if 200 <= response.status < 300:
                    return response
                response.release()
                wait = _wait_before_retry(response.status, response.headers)
                if not left or wait > self._longest_wait:
                    raise refused(response.status)
            await asyncio.sleep(wait * random.uniform(0.75, 1.25))  # noqa: S311  # no secret: spreads retries
        raise AssertionError("the last try returns or raises")

    async def _post(self, path: str, body: bytes) -> aiohttp.ClientResponse:
        return await self._open().post(
            self._base_url + path, data=body, headers=self._headers, allow_redirects=False
        )

    def _open(self) -> aiohttp.ClientSession:
        if self._closed:
            raise ModelFailed("The model endpoint is closed.")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=None
                ),  # ours is the only one
            )
        return self._session


def loads(body: bytes) -> Any:
    """The JSON in `body`; raises `ModelFailed`."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise nonsense() from None  # the error quotes the body


async def _read(response: aiohttp.ClientResponse) -> bytes:
    blocks, size = [], 0
    async for block in response.content.iter_any():
        size += len(block)
        if size > MAX_BODY_BYTES:
            raise nonsense()
        blocks.append(block)
    return b"".join(blocks)


def _wait_before_retry(status: int, headers: Mapping[str, str]) -> float:
    advice = headers.get("x-should-retry")  # OpenAI's own header, which its SDK obeys as well
    if advice == "false" or (advice != "true" and status != 429 and status < 500):
        return math.inf
    try:
        wait = float(headers.get("retry-after", FIRST_WAIT_SECONDS))
    except ValueError:
        return FIRST_WAIT_SECONDS  # an HTTP date
    return wait if wait >= 0 else FIRST_WAIT_SECONDS
