"""A client of the campaigns: asks, streams, hangs up, reads where a tenant stands."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import aiohttp

from bench.deployment import Deployment

Json = dict[str, Any]
LOST = 0  # in the place of a status: there was no answer
KEPT_SECONDS = 2  # less than a server keeps an idle connection
TIMEOUT_SECONDS = 90


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one request. `whole`: it was read to its end, and that was no error."""

    status: int
    sent: float
    ended: float
    retry_after: int | None = None
    thread_id: str | None = None
    run_id: str | None = None
    title: str = ""
    degraded: str = ""
    whole: bool = False
    hung_up: bool = False

    @property
    def refused(self) -> bool:
        """Whether a limit said no: the tenant's or ours."""
        return self.status in {429, 503}


@dataclass(frozen=True, slots=True)
class Ask:
    """One chat; `hang_up_after` tokens, or seconds where it does not stream, the client leaves."""

    tenant: str
    message: str
    subject: str = "alice"
    thread_id: str | None = None
    stream: bool = False
    key: str | None = None
    hang_up_after: float | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Against a budget."""

    used: int
    held: int


@dataclass(frozen=True, slots=True)
class Books:
    """What the model would bill a tenant."""

    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def total(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: "Books") -> "Books":
        return Books(
            self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens
        )

    def beyond(self, other: "Books") -> int:
        """By how many tokens this exceeds `other`; input cannot make up for output."""
        return max(0, self.input_tokens - other.input_tokens) + max(
            0, self.output_tokens - other.output_tokens
        )


@dataclass(slots=True)
class Client:
    """Talks to whichever server is chosen, as anybody."""

    running: Deployment
    session: aiohttp.ClientSession
    statuses: Counter[int] = field(default_factory=Counter)
    _tokens: dict[tuple[str, str], str] = field(default_factory=dict)

    async def chat(self, ask: Ask, url: str | None = None) -> Answer:
        """Ask, at `url` or at any server; one that is not there is passed by, as a proxy does."""
        urls = [url] if url else self.urls()
        answer = Answer(LOST, time.monotonic(), time.monotonic())
        for each in urls:
            with suppress(aiohttp.ClientConnectorError):
                answer = await self._chat(ask, each)
                break
        self.statuses[answer.status] += 1
        return answer

    async def _chat(self, ask: Ask, url: str) -> Answer:
        body: Json = {"message": ask.message, "stream": ask.stream}
        if ask.thread_id is not None:
            body["thread_id"] = ask.thread_id
        headers = self.headers(ask.tenant, ask.subject)
        if ask.key is not None:
            headers["Idempotency-Key"] = ask.key
        sent = time.monotonic()
        patience = None if ask.stream else ask.hang_up_after
        try:
            async with (
                asyncio.timeout(patience),
                self.session.post(f"{url}/v1/chat", json=body, headers=headers) as response,
            ):
                return await _read(response, ask, sent)
        except TimeoutError:
            return Answer(LOST, sent, time.monotonic(), hung_up=patience is not None)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ClientError, OSError):
            return Answer(LOST, sent, time.monotonic())

    async def get(self, tenant: str, path: str, subject: str = "alice") -> Json | None:
        """A page of the tenant's; None when no server gave it."""
        for _ in range(5):
            try:
                url, headers = self.urls()[0], self.headers(tenant, subject)
                async with self.session.get(f"{url}{path}", headers=headers) as response:
                    if response.status == 200:
                        page: Json = await response.json()
                        return page
            except (aiohttp.ClientError, OSError, TimeoutError):
                pass
            await asyncio.sleep(0.2)
        return None

    async def usage(self, tenant: str, since: datetime) -> Books:
        """What the product's own usage page says."""
        page = await self.get(tenant, f"/v1/usage?from={since:%Y-%m-%dT%H:%M:%SZ}")
        assert page is not None, tenant
        sums: Counter[str] = Counter()
        for row in page["meters"]:
            sums[row["meter"]] += row["quantity"]
        return Books(sums["input_tokens"], sums["output_tokens"])

    async def standings(self, tenant: str, subject: str = "alice") -> list[Json]:
        """What /v1/quota lists; nothing when no server gave it."""
        page = await self.get(tenant, "/v1/quota", subject)
        return page["items"] if page else []

    async def tokens_today(self, tenant: str) -> Standing:
        """What the tenant, all its users together, has used and holds of its day's tokens."""
        for item in await self.standings(tenant):
            own = item.get("level", "tenant") == "tenant"
            if own and (item["meter"], item["period"]) == ("tokens", "day"):
                return Standing(item["used"], item["held"])
        raise RuntimeError(f"/v1/quota of {tenant} says nothing of its day")

    async def books(self, since: int = 0) -> list[Json]:
        """The model's entries from the one numbered `since` on."""
        async with self.session.get(f"{self.running.model_url}/books?since={since}") as response:
            entries: list[Json] = await response.json()
            return entries

    def urls(self) -> list[str]:
        """Of all servers, in any order."""
        servers = self.running.servers
        return [each.url for each in random.sample(servers, len(servers))]

    def headers(self, tenant: str, subject: str) -> dict[str, str]:
        """The credential."""
        caller = (tenant, subject)
        if caller not in self._tokens:
            self._tokens[caller] = self.running.token(tenant, subject)
        return {"Authorization": f"Bearer {self._tokens[caller]}"}


@asynccontextmanager
async def client(running: Deployment) -> AsyncIterator[Client]:
    """A client with connections of its own."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT_SECONDS)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        yield Client(running, session)


async def _read(response: aiohttp.ClientResponse, ask: Ask, sent: float) -> Answer:
    streamed = response.headers.get("Content-Type", "").startswith("text/event-stream")
    if streamed:
        return await _read_stream(response, ask, sent)
    text = await response.text()
    page: Json = json.loads(text) if text.startswith("{") else {}
    after = response.headers.get("Retry-After")
    return Answer(
        response.status,
        sent,
        time.monotonic(),
        None if after is None else int(after),
        page.get("thread_id"),
        page.get("run_id"),
        page.get("detail") or page.get("title", ""),
        response.headers.get("X-Tenantry-Degraded", ""),
        whole=response.status == 200,
    )


async def _read_stream(response: aiohttp.ClientResponse, ask: Ask, sent: float) -> Answer:
    event, run, tokens, hung_up = "", Json(), 0, False
    async for line in response.content:
        if line.startswith(b"event:"):
            event = line[6:].strip().decode()
        elif line.startswith(b"data:") and event == "run":
            run = json.loads(line[5:])
        tokens += event == "token" and line.startswith(b"data:")
        if ask.hang_up_after is not None and run and tokens >= ask.hang_up_after:
            response.close()
            hung_up = True
            break
    return Answer(
        response.status,
        sent,
        time.monotonic(),
        thread_id=run.get("thread_id"),
        run_id=run.get("run_id"),
        degraded=response.headers.get("X-Tenantry-Degraded", ""),
        whole=event == "done",
        hung_up=hung_up,
    )


def by_tenant(entries: Sequence[Json]) -> dict[str, Books]:
    """The model's books, summed."""
    sums: dict[str, Books] = {}
    for entry in entries:
        made = Books(entry["input_tokens"], entry["output_tokens"])
        sums[entry["tenant"]] = sums.get(entry["tenant"], Books()) + made
    return sums


def percentile(figures: Sequence[float], share: float) -> float:
    """The figure below which `share` of all lie; not a number when there are none."""
    if not figures:
        return float("nan")
    return sorted(figures)[min(len(figures) - 1, int(share * len(figures)))]
