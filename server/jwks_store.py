"""Key sets that issuers publish: fetched off the request's path, kept while an endpoint is away."""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
import structlog

from server.jwks import KeySet, vet_jwks
from server.jws import strict_json
from tenancy.credentials import Issuer
from tenancy.errors import Invalid, Unavailable

log = structlog.get_logger()

Fetch = Callable[[str], Awaitable[bytes]]

FRESH_SECONDS = 300.0  # a key that its issuer removed is refused after this long
AHEAD_SECONDS = 240.0  # from here on the next set is fetched while this one still serves
STALE_SECONDS = 24 * 3600.0  # how long a set serves while its endpoint fails
RETRY_SECONDS = 10.0  # between two attempts, whoever asks: a failing endpoint, an unknown kid
FETCH_SECONDS = 3.0  # the whole exchange
MAX_BYTES = 256 * 1024
MAX_URL_CHARACTERS = 1024


class Unfetched(Exception):
    """Why a set could not be had, for operators."""


@dataclass(slots=True)
class _Published:
    """What is known of one issuer's set. Times are the store's clock's, in seconds."""

    issuer: Issuer
    keys: KeySet | None = None
    fetched: float = float("-inf")  # when the fetch of `keys` began
    attempted: float = float("-inf")
    failing: bool = False
    fetching: asyncio.Task[None] | None = None


class JwksStore:
    """One set per issuer, each fetched by itself: a hanging endpoint delays nobody else's tokens.

    `fetch` returns the bytes at a URL, or raises `Unfetched`.
    """

    def __init__(self, fetch: Fetch | None = None, clock: Callable[[], float] = time.monotonic):
        self._fetch = fetch or fetch_https
        self._clock = clock
        self._sets: dict[str, _Published] = {}

    async def keys(self, issuer: Issuer, kid: str | None) -> KeySet:
        """The keys of `issuer` now, fetched anew where `kid` is none of them.

        Raises `Unavailable` when there are none to judge by.
        """
        known = self._known(issuer)
        if known.keys is None or self._age(known) >= FRESH_SECONDS:
            await self._renew(known, wait=not known.failing)
        elif self._age(known) >= AHEAD_SECONDS:
            await self._renew(known, wait=False)
        if known.keys is not None and kid is not None and kid not in known.keys:
            await self._renew(known, wait=True)
        if known.keys is None or self._age(known) >= STALE_SECONDS:
            raise Unavailable("The issuer's keys are not reachable.")
        return known.keys

    async def aclose(self) -> None:
        """Stop fetching."""
        for task in [known.fetching for known in self._sets.values() if known.fetching]:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def _known(self, issuer: Issuer) -> _Published:
        known = self._sets.get(issuer.url)
        if known is None or not _same_set(known.issuer, issuer):
            known = self._sets[issuer.url] = _Published(issuer)
        return known

    def _age(self, known: _Published) -> float:
        return self._clock() - known.fetched

    async def _renew(self, known: _Published, *, wait: bool) -> None:
        """Join the fetch under way, or begin one if the last is long enough ago."""
        if known.fetching is None and self._clock() - known.attempted >= RETRY_SECONDS:
            known.attempted = self._clock()
            known.fetching = asyncio.create_task(self._fetch_into(known))
        if wait and known.fetching is not None:
            await asyncio.shield(known.fetching)  # a caller that leaves does not end it

    async def _fetch_into(self, known: _Published) -> None:
        began = self._clock()
        try:
            keys = await fetched_keys(known.issuer, self._fetch)
        except Unfetched as why:
            known.failing = True
            log.warning("jwks_unfetched", issuer=known.issuer.url, reason=str(why))
        else:
            known.keys, known.fetched, known.failing = keys, began, False
        finally:
            known.fetching = None


def _same_set(one: Issuer, other: Issuer) -> bool:
    """Whether two records of an issuer mean the same keys: tenants come and go more often."""
    if one is other:
        return True
    return (one.jwks_url, one.rules.algorithms) == (other.jwks_url, other.rules.algorithms)


async def fetched_keys(issuer: Issuer, fetch: Fetch) -> KeySet:
    """Fetch and vet an issuer's published set; raises `Unfetched`."""
    try:
        async with asyncio.timeout(FETCH_SECONDS):
            document = strict_json(await fetch(issuer.jwks_url or ""))
        return vet_jwks(document, algorithms=issuer.rules.algorithms, lenient=True)
    except TimeoutError:
        raise Unfetched(f"no answer within {FETCH_SECONDS:g} s") from None
    except Invalid as invalid:
        raise Unfetched(f"{invalid.field} {invalid.message}") from None
    except (ValueError, RecursionError):
        raise Unfetched("the answer is no JSON object") from None


async def fetch_https(url: str, trust: ssl.SSLContext | None = None) -> bytes:
    """The body at an https URL: 200 only, no redirects, no proxy, no cookies, at most 256 KiB.

    Raises `Unfetched`.
    """
    # Unpacking is off: a small body may not become a large one.
    headers = {"accept": "application/json", "accept-encoding": "identity"}
    try:
        async with (
            aiohttp.ClientSession(
                auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar(), headers=headers
            ) as session,
            session.get(parse_jwks_url(url), allow_redirects=False, ssl=trust or True) as answer,
        ):
            if answer.status != 200:
                raise Unfetched(f"answered {answer.status}")
            return await _body(answer)
    except (aiohttp.ClientError, OSError, Invalid) as error:
        raise Unfetched(type(error).__name__) from None


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in answer.content.iter_chunked(16 * 1024):
        body += piece
        if len(body) > MAX_BYTES:
            raise Unfetched(f"the answer is longer than {MAX_BYTES} bytes")
    return bytes(body)


def parse_jwks_url(text: str, field: str = "jwks_url") -> str:
    """Return `text` as the URL of a key set; raises `Invalid` unless it is a plain https URL."""
    try:
        parts = urlsplit(text)
        plain = parts.scheme == "https" and parts.hostname and parts.port != 0
        plain = plain and parts.username is None and not parts.fragment
    except ValueError:
        plain = False
    if not plain or len(text) > MAX_URL_CHARACTERS or not text.isprintable() or " " in text:
        raise Invalid(field, "must be like https://id.example.com/.well-known/jwks.json")
    return text
