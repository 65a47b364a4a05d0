"""Fetches public pages on a tenant's behalf, and nothing that is not public.

The name is looked up once, every address it has must be public, and the connection goes to the
address that was looked at. A redirect is a new address. No proxy, no cookie, no credential.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from urllib.parse import unquote, urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from knowledge.ingest import MAX_UPLOAD_BYTES
from knowledge.media import base_name
from tenancy.document import Upload
from tenancy.errors import Forbidden, Invalid, PayloadTooLarge, QuotaExceeded
from tenancy.ids import TenantId
from tools.egress import Target, require_public, target_of

SECONDS = 30.0  # of one page with its redirects
MAX_REDIRECTS = 5
MAX_HEADER_BYTES = 16_384
AT_ONCE = 4  # pages of a tenant: a silent host holds no more than that
LOOKUPS = 16  # names at once: of four tenants whose hosts are all silent
HEADERS = {"User-Agent": "Tenantry", "Accept-Encoding": "identity"}  # what is packed may unfold
HTML = (".html", ".htm", ".xhtml")

OFF = "This deployment fetches nothing from the web."
PASSING = (408, 425, 429, *range(500, 600))  # statuses that say nothing about the page
PACKED = ("gzip", "x-gzip")

Allowed = Callable[[Target], None]  # raises `Invalid`
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
Dial = Callable[[str, int], tuple[str, int]]


@dataclass(frozen=True, slots=True)
class _Page:
    """What is asked of one: how it is called in a refusal, where it may be, and its size."""

    url: str
    field: str
    allowed: Allowed
    max_bytes: int
    packed: bool


def _anywhere(_target: Target) -> None:
    """A person named the page."""


class _Resolver:
    """Looks names up on threads of its own.

    Whose name servers are silent holds a thread for half a minute: those of the event loop look up
    where the models are, and read files.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="names")

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        return [str(address[0]) for *_, address in found]


class NoPage(Invalid):
    """An address that leads to no page; `passing` when that may change by itself."""

    def __init__(self, field: str, message: str, *, passing: bool) -> None:
        super().__init__(field, message)
        self.passing = passing


class Web:
    """The public network, or none when it is `off`.

    `dial` says where an address is answered: tests answer themselves.
    """

    def __init__(
        self,
        resolve: Resolve | None = None,
        dial: Dial = lambda address, port: (address, port),
        *,
        seconds: float = SECONDS,
        off: bool = False,
    ) -> None:
        self._resolve = resolve or _Resolver()
        self._dial = dial
        self._seconds = seconds
        self._off = off
        self._under_way: Counter[TenantId] = Counter()

    async def fetch(
        self,
        tenant_id: TenantId,
        url: str,
        *,
        field: str = "url",
        allowed: Allowed = _anywhere,
        max_bytes: int = MAX_UPLOAD_BYTES,
        packed: bool = False,
    ) -> Upload:
        """The file at an address, to which `allowed` is asked about each address on the way.

        What is `packed` comes as it is, where the caller knows to unpack it. Raises `Invalid` for
        what may not be fetched, `NoPage` for what cannot, `PayloadTooLarge`, `Forbidden`, and
        `QuotaExceeded` when the tenant is fetching too much at once.
        """
        if self._off:
            raise Forbidden(OFF)
        target = target_of(url, field)
        with self._counted(tenant_id):
            try:
                async with asyncio.timeout(self._seconds):
                    page = _Page(url, field, allowed, max_bytes, packed)
                    return await self._follow(target, page)
            except TimeoutError:
                raise NoPage(field, "took too long to answer", passing=True) from None
            except (aiohttp.ClientError, OSError, UnicodeError, ValueError):
                raise NoPage(field, "cannot be reached", passing=True) from None

    @contextmanager
    def _counted(self, tenant_id: TenantId) -> Iterator[None]:
        if self._under_way[tenant_id] >= AT_ONCE:
            said = f"{AT_ONCE} addresses are being fetched already."
            raise QuotaExceeded("fetches", timedelta(seconds=2), said)
        self._under_way[tenant_id] += 1
        try:
            yield
        finally:
            self._under_way[tenant_id] -= 1
            self._under_way += Counter()  # drops those at zero

    async def _follow(self, target: Target, page: _Page) -> Upload:
        for _ in range(MAX_REDIRECTS + 1):
            page.allowed(target)
            async with self._asked(target, page.field) as answer:
                onward = _redirect(answer)
                if onward is None:
                    return await _upload(target, answer, page)
            target = _next(target, onward, page.field)
        raise Invalid(page.field, f"is redirected more than {MAX_REDIRECTS} times")

    async def _addresses(self, target: Target) -> Sequence[str]:
        """Those of a name; none for one that there is not, which is told like one inside."""
        try:
            return await self._resolve(target.host, target.port)
        except (socket.gaierror, UnicodeError):
            return []

    @asynccontextmanager
    async def _asked(self, target: Target, field: str) -> AsyncIterator[aiohttp.ClientResponse]:
        address = require_public(await self._addresses(target), field)
        connector = aiohttp.TCPConnector(
            resolver=_Pinned(*self._dial(address, target.port)),
            use_dns_cache=False,
            force_close=True,
        )
        async with (
            aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=HEADERS,
                auto_decompress=False,
                max_line_size=MAX_HEADER_BYTES,
                max_field_size=MAX_HEADER_BYTES,
                trust_env=False,
            ) as session,
            session.get(target.url, allow_redirects=False) as answer,
        ):
            yield answer


class _Pinned(AbstractResolver):
    """Knows one address, which was looked at: a name cannot come to mean another one."""

    def __init__(self, address: str, port: int) -> None:
        self._address = address
        self._port = port

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The address, whatever the name."""
        inet = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        return [
            ResolveResult(
                hostname=host,
                host=self._address,
                port=self._port,
                family=inet,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
        ]

    async def close(self) -> None:
        """Nothing is open."""


def _redirect(answer: aiohttp.ClientResponse) -> str | None:
    return answer.headers.get("Location") if answer.status in (301, 302, 303, 307, 308) else None


def _next(target: Target, onward: str, field: str) -> Target:
    found = target_of(urljoin(target.url, onward), field)
    if (target.scheme, found.scheme) == ("https", "http"):
        raise Invalid(field, "is redirected from https to http")
    return found


async def _upload(target: Target, answer: aiohttp.ClientResponse, page: _Page) -> Upload:
    if answer.status != 200:
        said = f"is answered with the status {answer.status}"
        raise NoPage(page.field, said, passing=answer.status in PASSING)
    encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding != "identity" and not (page.packed and encoding in PACKED):
        raise Invalid(page.field, "is answered packed, though it was not asked to be")
    media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower() or None
    data = await _body(answer, page.max_bytes)
    return Upload(_name(target, media_type), data, None, media_type, page.url)


async def _body(answer: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    too_large = PayloadTooLarge(f"What is fetched may have up to {max_bytes // 1024**2} MiB.")
    if (answer.content_length or 0) > max_bytes:
        raise too_large
    data = bytearray()
    async for some in answer.content.iter_any():
        data += some
        if len(data) > max_bytes:
            raise too_large
    return bytes(data)


def _name(target: Target, media_type: str | None) -> str:
    """As a file of that page would be called; a page is HTML, however its address ends."""
    name = base_name(unquote(urlsplit(target.url).path)) or target.host.replace(".", " ")
    is_page = media_type in ("text/html", "application/xhtml+xml")
    return f"{name}.html" if is_page and not name.lower().endswith(HTML) else name
