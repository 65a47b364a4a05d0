"""A tenant's transcript, alone and beside busy neighbours: the same bytes.

A script is a sequence of requests drawn from a seed. It runs in three worlds: alone, in a database
and a process state of its own; beside tenants that do the same at the same time, down to the words
and the ids a client may choose; beside tenants that do everything else. A transcript holds, in
order, each answer (status, headers, the bytes of the body or of the stream's frames), each prompt,
each text that was embedded and each tool call with its result.

Clock and ids are frozen, the model answers by the request alone, and says what it says in one
piece: how many pieces arrive together is a matter of time. So is which of several tools is faster:
those that a turn calls side by side run one after the other. Taken out are the header `date` and
the times that the database itself takes, recognised by field name and by not being the frozen
year's; of a cursor that holds one, the id is compared.
"""

import asyncio
import base64
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import httpx
import orjson
import redis

from storage.control import control
from tenancy.ids import PlanId, TenantId
from tenancy.plan import new_plan
from tenancy.principal import Role
from tests.isolation.canaries import canary
from tests.isolation.frozen import BEGINNING, frozen, tenant_at_work
from tests.isolation.parrot import parrot, tenant_of
from tests.isolation.random_operations import OPERATIONS, Guest, crowd, equip
from tests.support.house import UNLIMITED, House, house
from tests.support.model_replies import Json, Reply
from tests.support.model_server import ModelServer
from tests.support.stores import Cluster
from tools.gate import Gate

STEPS = 20
TWINS = 3
NEIGHBOURS = 12
BUSY = 6  # of their requests at once
REFUSED = 4  # of the neighbours, on a plan that soon refuses
A_MATTER_OF_TIME = {"chat, the reader leaves", "chat, the stream is cut"}
TIGHT = {"requests_per_minute": 12, "burst": 3, "tokens_per_day": 60_000, "documents": 2}
PLANS = {"wide": UNLIMITED, "tight": {**UNLIMITED, **TIGHT}}
YEAR = str(BEGINNING.year).encode()
TIMES = re.compile(rb'"(created_at|updated_at|finished_at|revoked_at)":"(?!%b)[^"]+"' % YEAR)
CURSORS = re.compile(rb'"next_cursor":"([^"]+)"')

Entries = list[bytes]


@dataclass(frozen=True, slots=True)
class Script:
    """A sequence of operations on a plan, the same each time for its seed and number."""

    seed: int
    number: int

    @property
    def tenant(self) -> str:
        return f"visitor-{self.seed}-{self.number}"

    @property
    def plan(self) -> str:
        return "tight" if self.number % 3 == 0 else "wide"

    def dice(self, of: str) -> random.Random:
        return random.Random(f"{self.seed}/{self.number}/{of}")  # noqa: S311

    @property
    def word(self) -> str:
        return canary(self.dice("word"))

    def steps(self) -> list[str]:
        """Two documents to begin with, then anything."""
        names = [name for name in OPERATIONS if name not in A_MATTER_OF_TIME]
        weights = [OPERATIONS[name][0] for name in names]
        return ["upload", "upload", *self.dice("steps").choices(names, weights, k=STEPS)]


@dataclass(slots=True)
class Recorder:
    """What the tenants of one house were answered, and what was said on their behalf."""

    entries: dict[str, Entries] = field(default_factory=dict)
    _one_at_a_time: dict[str, asyncio.Lock] = field(default_factory=dict)

    def add(self, tenant: str | None, kind: str, content: bytes) -> None:
        self.entries.setdefault(tenant or "", []).append(kind.encode() + b"\n" + content)

    def answer(self, tenant: str, step: str, response: httpx.Response) -> None:
        """An answer as it came, without what the database's clock says."""
        lines = [b": ".join(pair) for pair in response.headers.raw if pair[0] != b"date"]
        head = b"\n".join([b"%d" % response.status_code, *lines])
        self.add(tenant, f"answer to {step}", head + b"\n\n" + timeless(response.content))

    def decide(self, request: Json) -> Reply:
        """The model: it says what it says in one piece."""
        self.add(tenant_of(request), "prompt", orjson.dumps(request))
        reply = parrot(request)
        return reply if reply.content is None else replace(reply, content=_one(reply.content))

    def listening(self, product: House) -> AbstractContextManager[Any]:
        """Write down tool calls with their results, and what is embedded."""
        stack, invoke = ExitStack(), Gate._invoke
        embedder = type(product.services.models.embedder)
        embed = embedder.embed  # type: ignore[attr-defined]

        async def invoke_noted(gate: Gate, tool: Any, call: Any, tenant: TenantId, own: str) -> Any:
            async with self._one_at_a_time.setdefault(tenant, asyncio.Lock()):
                said = await invoke(gate, tool, call, tenant, own)
                self.add(tenant, "tool call", orjson.dumps([call, said.content], default=str))
                return said

        async def embed_noted(self_: Any, texts: Any) -> Any:
            self.add(tenant_at_work(), "embedding", orjson.dumps(list(texts)))
            return await embed(self_, texts)

        stack.enter_context(patch.object(Gate, "_invoke", invoke_noted))
        stack.enter_context(patch.object(embedder, "embed", embed_noted))
        return stack


def timeless(body: bytes) -> bytes:
    """A body without the times of the database, which no two worlds share."""
    return CURSORS.sub(_cursor, TIMES.sub(rb'"\1":"<time>"', body))


def _cursor(found: re.Match[bytes]) -> bytes:
    time, _, id_ = base64.urlsafe_b64decode(found[1] + b"==").partition(b"/")
    return found[0] if time.startswith(YEAR) else b'"next_cursor":"<time>/%b"' % id_


def _one(text: str) -> str:
    return "_".join(text.split())


async def perform(product: House, script: Script, recorder: Recorder, tenant: str) -> None:
    """Do what the script says, one request after the other."""
    client = product.client(tenant, "boss", Role.ADMIN)
    guest = Guest(tenant, script.word, client, script.dice("choices"))
    async with client:
        for step in script.steps():
            response = await OPERATIONS[step][1](guest)
            guest.learn(response)
            recorder.answer(tenant, step, response)


World = Callable[[House, Recorder, list[Script]], Awaitable[None]]


async def alone(product: House, recorder: Recorder, scripts: list[Script]) -> None:
    """Nobody else is there; one script only, for the next would not be alone."""
    [script] = scripts
    await _admit(product, script, script.tenant)
    await perform(product, script, recorder, script.tenant)


async def beside_the_same(product: House, recorder: Recorder, scripts: list[Script]) -> None:
    """Others do the very same at the same time."""
    for script in scripts:
        tenants = [script.tenant, *(f"{script.tenant}-{n}" for n in range(TWINS))]
        for tenant in tenants:
            await _admit(product, script, tenant)
        async with asyncio.TaskGroup() as group:
            for tenant in tenants:
                group.create_task(perform(product, script, recorder, tenant))


async def beside_anything(product: House, recorder: Recorder, scripts: list[Script]) -> None:
    """Others upload, fail, leave, and are refused."""
    for script in scripts:
        await _admit(product, script, script.tenant)
    async with crowd(product, NEIGHBOURS, scripts[0].seed) as neighbours:
        product.model.decide = recorder.decide
        with control(product.stores.owner()) as admin:
            admin.put_plan(new_plan(PlanId("refusing"), {"requests_per_minute": "1"}))
            for guest in neighbours.guests[:REFUSED]:
                admin.set_plan(TenantId(guest.tenant), PlanId("refusing"))
        crowding = asyncio.create_task(neighbours.run(1_000_000, BUSY))
        for script in scripts:
            await perform(product, script, recorder, script.tenant)
        if not crowding.cancel():
            crowding.result()  # they failed: nobody was beside
        await asyncio.gather(crowding, return_exceptions=True)
        recorder.add("", "neighbours", repr(neighbours.tally.statuses).encode())


async def _admit(product: House, script: Script, tenant: str) -> None:
    plan = script.plan
    await asyncio.to_thread(equip, product, TenantId(tenant), script.word, plan, PLANS[plan])


@asynccontextmanager
async def _opened(servers: Cluster) -> AsyncIterator[tuple[House, Recorder]]:
    """A database, an empty Redis, a house and a recorder in which nothing happened yet."""
    recorder = Recorder()
    with servers.database() as stores, TemporaryDirectory() as folder:
        client = redis.Redis.from_url(stores.redis_url)
        client.flushall()
        client.close()
        async with ModelServer() as model, house(stores, Path(folder), model) as product:
            model.decide = recorder.decide
            with frozen(product), recorder.listening(product):
                yield product, recorder


async def transcripts(servers: Cluster, world: World, scripts: list[Script]) -> dict[str, Entries]:
    """What each script's tenant saw in a world."""
    async with _opened(servers) as (product, recorder):
        await world(product, recorder, scripts)
    return recorder.entries


async def transcripts_alone(servers: Cluster, scripts: list[Script]) -> dict[str, Entries]:
    """The same, each in a world of its own."""
    found: dict[str, Entries] = {}
    for script in scripts:
        found |= await transcripts(servers, alone, [script])
    return found


def difference(first: Entries, second: Entries) -> str | None:
    """Where two transcripts part, to the byte; None where they do not."""
    for number, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            at = next(
                (n for n, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]),
                min(len(one), len(other)),
            )
            near, kind = slice(max(0, at - 60), at + 60), one.split(b"\n")[0].decode()
            return f"entry {number}, {kind}, byte {at}:\n  {one[near]!r}\n  {other[near]!r}"
    if len(first) != len(second):
        return f"{len(first)} entries and {len(second)}"
    return None
