"""Requests to one model endpoint: a session, a deadline, a second try."""

import asyncio
import math
import random
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from time import monotonic
from typing import Any, NamedTuple

import aiohttp
import orjson

from server.openai_wire.failures import (
    MAX_BODY_BYTES,
    nonsense,
    refused,
    translate,
    translating,
)
from server.openai_wire.retry_after import retry_after
from server.openai_wire.watch import UNWATCHED, Watch
from tenancy.errors import ModelFailed

MAX_CONNECTIONS = 1000  # as in the OpenAI SDK; what bounds the load is the tenants' slots
LONGEST_WAIT_SECONDS = 2.0  # a slot waits with the call: whoever asks for more time gets no retry
FIRST_WAIT_SECONDS = 0.2

LOST = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError)


class Sent(NamedTuple):
    """A response whose body is still to come, and when its request was sent."""

    response: aiohttp.ClientResponse
    started: float


class Whole(NamedTuple):
    """A whole answer, its size in bytes, and when its request was sent."""

    answer: Any
    size: int
    started: float


class Transport:
    """One endpoint and the session that serves it, which belongs to the loop that first uses it.

    Certificates are verified against the system's. Proxies from the environment are not used: an
    endpoint is where the operator says it is. Redirects are failures: they would carry the key on.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        *,
        timeout_seconds: float,
        retries: int,
        watch: Watch = UNWATCHED,
    ) -> None:
        self.timeout_seconds = timeout_seconds
        self.watch = watch
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

    async def post(self, path: str, payload: Mapping[str, Any]) -> Whole:
        """The JSON answer, complete within the time-out. Raises `ModelFailed`."""
        body = bytearray()
        try:
            with self.watching():
                async with asyncio.timeout(self.timeout_seconds):
                    response, started = await self._send(path, payload)
                    try:
                        await _read(response, body)
                    finally:
                        response.release()  # closes the connection when there is more to read
        except ModelFailed as failure:
            failure.received = len(body)
            raise
        return Whole(loads(body), len(body), started)

    @asynccontextmanager
    async def stream(self, path: str, payload: Mapping[str, Any]) -> AsyncIterator[Sent]:
        """The answer with its body still to come, its head within the time-out.

        The connection is kept for the next request when the body was read to its end.
        """
        with self.watching():
            async with asyncio.timeout(self.timeout_seconds):
                sent = await self._send(path, payload)
        try:
            yield sent
        finally:
            sent.response.release()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Let faults leave as failures of ours; the watch is told of silence and lost connections.

        The block does nothing but talk to the endpoint.
        """
        with translating():
            try:
                yield
            except LOST:
                self.watch.pressed()
                raise

    async def _send(self, path: str, payload: Mapping[str, Any]) -> Sent:
        body = orjson.dumps(payload, option=orjson.OPT_NON_STR_KEYS)
        for left in range(self._retries, -1, -1):
            started = monotonic()
            try:
                response = await self._post(path, body)
            except aiohttp.ClientConnectionError as error:  # nothing of an answer was seen
                self.watch.pressed()
                if not left:
                    raise translate(error) from None  # told already
                wait = FIRST_WAIT_SECONDS
            else:
                if 200 <= response.status < 300:
                    return Sent(response, started)
                wait = self._refused(response, left)
            await asyncio.sleep(wait * random.uniform(1, 1.25))  # noqa: S311  # no secret: spreads retries
        raise AssertionError("the last try returns or raises")

    def _refused(self, response: aiohttp.ClientResponse, left: int) -> float:
        """The seconds until the next try; raises what the answer says where there is none."""
        response.release()
        failure = refused(response.status, retry_after(response.headers))
        if failure.at_fault:
            self.watch.pressed(failure.retry_after)
        wait = _wait_before_retry(failure, response.headers.get("x-should-retry"))
        if not left or wait > self._longest_wait:
            raise failure
        return wait

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


def loads(body: bytes | bytearray) -> Any:
    """The JSON in `body`; raises `ModelFailed`."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise nonsense() from None  # the error quotes the body


async def _read(response: aiohttp.ClientResponse, body: bytearray) -> None:
    async for block in response.content.iter_any():
        body += block
        if len(body) > MAX_BODY_BYTES:
            body.clear()  # no answer is as long: nothing of it counts
            raise nonsense()


def _wait_before_retry(failure: ModelFailed, advice: str | None) -> float:
    """`advice` is OpenAI's own header x-should-retry, which its SDK obeys as well."""
    if advice == "false" or (advice != "true" and not failure.at_fault):
        return math.inf
    if failure.retry_after is None:
        return FIRST_WAIT_SECONDS
    return failure.retry_after.total_seconds()
