"""Fifty tenants at once do whatever the interface offers; each has a word that nobody else has.

The word is in the tenant's documents, file names, titles, messages, keys, preferences and tool
configuration, and in its list of orders. Whatever a tenant reads, whatever goes to the model on
its behalf and whatever its tools are called with is searched for the others' words. Where a client
chooses an id, all choose the same.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any
from unittest.mock import patch
from uuid import UUID
from zipfile import ZipFile

import httpx

from storage.control import control
from tenancy.ids import PlanId, TenantId
from tenancy.plan import new_plan
from tenancy.principal import Role
from tests.isolation.canaries import Aviary, Sighting
from tests.isolation.parrot import parrot, tenant_of
from tests.support.house import UNLIMITED, House
from tools.gate import Gate

AT_ONCE = 24
THREADS = [str(UUID(int=number, version=4)) for number in range(2)]  # the same for all
SUBJECT = "delivery of the ordered chairs"  # every document is about it
ORDERS = "order_id,customer,item,status,expected_delivery\nA-1,{word},chair,sent,{word}\n"
OF_LISTS = ("threads", "documents", "keys", "audit", "assistants", "memories")
SLUGS = ("clerk", "judge")  # the same for all

Operation = Callable[["Guest"], Awaitable[httpx.Response]]


@dataclass(slots=True)
class Tally:
    """What was done, and what was seen."""

    operations: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    scanned: Counter[str] = field(default_factory=Counter)  # bytes
    own: Counter[str] = field(default_factory=Counter)
    foreign: list[Sighting] = field(default_factory=list)


@dataclass(slots=True)
class Guest:
    """A tenant with what it knows: its word and its ids, and the ids of somebody else."""

    tenant: str
    word: str
    client: httpx.AsyncClient
    dice: random.Random
    ids: dict[str, list[str]] = field(default_factory=dict)
    made: int = 0

    @property
    def thread(self) -> str:
        return self.dice.choice(THREADS)

    def text(self, order: str = "") -> str:
        """A message with the tenant's word, and another one each time."""
        self.made += 1
        return f"{order} {SUBJECT} {self.word} number {self.made}".strip()

    def id_of(self, kind: str) -> str:
        """One of the ids it has seen, or the id of no thing."""
        return self.dice.choice(self.ids.get(kind) or THREADS)

    def learn(self, response: httpx.Response) -> None:
        """Keep the ids of an answer."""
        if response.headers.get("content-type") != "application/json":
            return
        found = response.json()
        for item in [found, *found.get("items", [])]:
            for kind in ("run_id", "document_id", "key_id", "assistant_id", "memory_id"):
                if id_ := item.get(kind):
                    known = self.ids.setdefault(kind, [])
                    known.append(id_)
                    del known[:-20]

    async def chat(self, message: str, **more: Any) -> httpx.Response:
        """A turn in one of the threads, or in a new one."""
        body = {"message": message, **more}
        if self.dice.random() < 0.8:
            body["thread_id"] = self.thread
        return await self.client.post("/v1/chat", json=body)


async def _streamed(guest: Guest) -> httpx.Response:
    return await guest.chat(guest.text(guest.dice.choice(["", "find", "both"])), stream=True)


async def _left(guest: Guest) -> httpx.Response:
    """A stream whose reader goes away after its first bytes."""
    body = {"message": guest.text(), "stream": True}
    async with guest.client.stream("POST", "/v1/chat", json=body) as response:
        async for first in response.aiter_raw():
            return httpx.Response(response.status_code, headers=response.headers, content=first)
    return response


async def _repeated(guest: Guest) -> httpx.Response:
    """A request sent again under its own Idempotency-Key."""
    request = {
        "json": {"message": guest.text(), "stream": guest.dice.random() < 0.5},
        "headers": {"Idempotency-Key": f"key-{guest.made}"},  # the others have it too
    }
    await guest.client.post("/v1/chat", **request)
    return await guest.client.post("/v1/chat", **request)


async def _upload(guest: Guest) -> httpx.Response:
    text = f"# {guest.word}\n\nThe {SUBJECT} takes {guest.text()} days."
    upload = {"file": (f"{guest.word}.md", text.encode())}
    return await guest.client.post("/v1/documents", files=upload, data={"title": guest.text()})


async def _upload_archive(guest: Guest) -> httpx.Response:
    packed = BytesIO()
    with ZipFile(packed, "w") as archive:
        for name in (f"{guest.word}.md", "in.zip"):
            archive.writestr(name, f"# {guest.word}\n\nThe {SUBJECT} takes {guest.text()} days.")
    return await guest.client.post("/v1/documents", files={"file": ("all.zip", packed.getvalue())})


async def _list(guest: Guest) -> httpx.Response:
    kind = guest.dice.choice(OF_LISTS)
    return await guest.client.get(f"/v1/{kind}", params={"limit": guest.dice.randint(1, 20)})


async def _account(guest: Guest) -> httpx.Response:
    return await guest.client.get(f"/v1/{guest.dice.choice(['quota', 'usage', 'tools'])}")


async def _speak(guest: Guest) -> httpx.Response:
    """Another draft of an assistant that everybody has, in use at once, or one's own wishes."""
    said = {"persona": f"You know {guest.word}.", "instructions": guest.text()}
    if guest.dice.random() < 0.3:
        wish = {"says": {"instructions": said["instructions"]}}
        return await guest.client.put("/v1/preferences", json=wish)
    new = {"slug": guest.dice.choice(SLUGS), "content": said}
    made = await guest.client.post("/v1/assistants", json=new)
    guest.learn(made)
    path = f"/v1/assistants/{guest.id_of('assistant_id')}"
    await guest.client.patch(path, json={"content": said})
    return await guest.client.post(f"{path}/publish")


def _asked_of(guest: Guest) -> Awaitable[httpx.Response]:
    """A turn with an assistant, by a slug that everybody has or by an id."""
    name = guest.dice.choice([*SLUGS, guest.id_of("assistant_id")])
    return guest.chat(guest.text(), assistant=name)


def _look_at_assistant(guest: Guest) -> Awaitable[httpx.Response]:
    path = f"/v1/assistants/{guest.id_of('assistant_id')}"
    return guest.client.get(f"{path}{guest.dice.choice(['', '/versions', '/effective'])}")


async def _make_key(guest: Guest) -> httpx.Response:
    return await guest.client.post("/v1/keys", json={"subject": f"robot-{guest.made}"})


async def _make_thread(guest: Guest, thread: str) -> httpx.Response:
    body = {"thread_id": thread, "title": guest.text()}
    return await guest.client.post("/v1/threads", json=body)


async def _change(guest: Guest) -> httpx.Response:
    body = {"title": guest.text(), "shared": guest.dice.random() < 0.5}
    return await guest.client.patch(f"/v1/threads/{guest.thread}", json=body)


async def _rephrase(guest: Guest) -> httpx.Response:
    body = {"text": guest.text()}
    return await guest.client.patch(f"/v1/memories/{guest.id_of('memory_id')}", json=body)


async def _export(guest: Guest) -> httpx.Response:
    params = {"format": guest.dice.choice(["json", "markdown"])}
    return await guest.client.get(f"/v1/threads/{guest.thread}/export", params=params)


async def _broken(guest: Guest) -> httpx.Response:
    return await guest.client.post("/v1/chat", json={"message": guest.text(), "thread_id": 5})


OPERATIONS: dict[str, tuple[int, Operation]] = {  # with how often, of about 100
    "chat": (10, lambda g: g.chat(g.text())),
    "chat, streamed": (10, _streamed),
    "chat, with a search": (6, lambda g: g.chat(g.text("find"))),
    "chat, with an order": (6, lambda g: g.chat("order A-1")),
    "chat, the model fails": (3, lambda g: g.chat(g.text(g.dice.choice(["fail", "nonsense"])))),
    "chat, the stream is cut": (2, lambda g: g.chat(g.text("cut"), stream=True)),
    "chat, the reader leaves": (3, _left),
    "chat, repeated": (3, _repeated),
    "chat, invalid": (2, _broken),
    "assistant, change": (3, _speak),
    "assistant, chat": (4, _asked_of),
    "assistant": (3, _look_at_assistant),
    "upload": (7, _upload),
    "upload, archive": (2, _upload_archive),
    "search": (8, lambda g: g.client.post("/v1/search", json={"query": SUBJECT})),
    "list": (10, _list),
    "account": (5, _account),
    "thread, new": (6, lambda g: _make_thread(g, g.thread)),
    "thread": (8, lambda g: g.client.get(f"/v1/threads/{g.thread}")),
    "thread, change": (2, _change),
    "thread, copy": (2, lambda g: g.client.post(f"/v1/threads/{g.thread}/copy")),
    "thread, export": (2, _export),
    "thread, search": (2, lambda g: g.client.get("/v1/threads", params={"query": SUBJECT})),
    "thread, delete": (2, lambda g: g.client.delete(f"/v1/threads/{g.thread}")),
    "memory, new": (3, lambda g: g.client.post("/v1/memories", json={"text": g.text()})),
    "memory, search": (2, lambda g: g.client.get("/v1/memories", params={"query": SUBJECT})),
    "memory, change": (1, _rephrase),
    "memory, delete": (1, lambda g: g.client.delete(f"/v1/memories/{g.id_of('memory_id')}")),
    "run": (4, lambda g: g.client.get(f"/v1/runs/{g.id_of('run_id')}")),
    "document": (4, lambda g: g.client.get(f"/v1/documents/{g.id_of('document_id')}")),
    "document, delete": (
        3,
        lambda g: g.client.delete(f"/v1/documents/{g.id_of('document_id')}"),
    ),
    "key, new": (1, _make_key),
    "key, revoke": (1, lambda g: g.client.delete(f"/v1/keys/{g.id_of('key_id')}")),
}


@dataclass(slots=True)
class Crowd:
    """All tenants of one house."""

    product: House
    guests: list[Guest]
    aviary: Aviary
    dice: random.Random
    tally: Tally = field(default_factory=Tally)

    async def run(self, count: int, at_once: int = AT_ONCE) -> Tally:
        """So many operations, many at once."""
        turns = iter(range(count))
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(self._work(turns))
        return self.tally

    async def _work(self, turns: Iterator[int]) -> None:
        names = list(OPERATIONS)
        weights = [weight for weight, _ in OPERATIONS.values()]
        for _ in turns:
            [name] = self.dice.choices(names, weights)
            guest = self.dice.choice(self.guests)
            stranger = self.dice.choice(self.guests)
            borrowed = self.dice.random() < 0.1  # with ids of somebody else's
            mine, guest.ids = guest.ids, stranger.ids if borrowed else guest.ids
            operation = OPERATIONS[name][1](guest)
            guest.ids = mine
            response = await operation
            guest.learn(response)
            self._read(name, guest.tenant, response)

    def _read(self, name: str, tenant: str, response: httpx.Response) -> None:
        self.tally.operations[name] += 1
        self.tally.statuses[response.status_code] += 1
        headers = b"\n".join(b": ".join(pair) for pair in response.headers.raw)
        self.look("headers", tenant, headers)
        self.look("body", tenant, response.content)
        self._prompts()

    def _prompts(self) -> None:
        """What the model was sent since the last look."""
        model = self.product.model
        for request in model.chat_requests:
            self.look("prompt", tenant_of(request) or "nobody", repr(request).encode())
        for request in model.embedding_requests:
            text = repr(request).encode()
            owners = {each.of for each in self.aviary.seen("", "", text)}
            self.look("embedding", min(owners, default="nobody"), text)
        for recorded in (model.chat_requests, model.embedding_requests, model.authorizations):
            recorded.clear()

    def look(self, where: str, tenant: str, text: bytes) -> None:
        """Search what `tenant` has before its eyes."""
        self.tally.scanned[where] += len(text)
        for sighting in self.aviary.seen(where, tenant, text):
            if sighting.of == tenant:
                self.tally.own[where] += 1
            else:
                self.tally.foreign.append(sighting)


@asynccontextmanager
async def crowd(product: House, tenants: int, seed: int) -> AsyncIterator[Crowd]:
    """That many tenants of a house, equipped, with a model that says back what it was told."""
    dice = random.Random(seed)  # noqa: S311
    names = [f"guest-{seed}-{number}" for number in range(tenants)]
    aviary = Aviary(names, dice)
    for name, word in aviary.words.items():
        equip(product, TenantId(name), word, "crowd", UNLIMITED)
    product.model.decide = parrot
    guests = [
        Guest(name, word, product.client(name, word, Role.ADMIN), dice)
        for name, word in aviary.words.items()
    ]
    for guest in guests:
        for thread in THREADS:
            await _make_thread(guest, thread)
    found = Crowd(product, guests, aviary, dice)
    with _listening(found):
        yield found
    for guest in guests:
        await guest.client.aclose()


def equip(
    product: House, tenant: TenantId, word: str, plan: str, limits: Mapping[str, int]
) -> None:
    """A tenant on a plan of these limits, with preferences, and a tool that knows its word."""
    orders = product.settings.data_dir / f"{tenant}.csv"
    orders.write_text(ORDERS.format(word=word), encoding="utf-8")
    settings = {"orders_file": str(orders), "support_email": f"{word}@example.com"}
    said = {name: str(value) for name, value in limits.items()}
    with control(product.stores.owner()) as admin:
        admin.put_plan(new_plan(PlanId(plan), {**said, "tools": "all", "memories": "100"}))
        admin.create_tenant(tenant, f"{word} Ltd", PlanId(plan))
        admin.set_preferences(tenant, {"persona": f"You know {word}."})
        admin.enable_tool(tenant, "order_status", enabled=True)
        admin.configure_tool(tenant, "order_status", settings)


def _listening(found: Crowd) -> AbstractContextManager[Any]:
    """Read along what every tool is called with and what it says."""
    honest = Gate._invoke

    async def invoke(self: Gate, tool: Any, call: Any, tenant_id: TenantId, own: str) -> Any:
        found.look("tool argument", tenant_id, repr(call).encode())
        said = await honest(self, tool, call, tenant_id, own)
        found.look("tool answer", tenant_id, repr(said).encode())
        return said

    return patch.object(Gate, "_invoke", invoke)
