"""Asks for somebody else's thing and for one that never was, and writes down all that happens.

What is compared: the status, the headers, the bytes of the body, the SQL statements and the Redis
commands, in order. `date` names the time. Where a request succeeds, as one that names an id of its
own choice does, its answer names new ids and times: those fields are compared by name alone.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
from psycopg import AsyncCursor

from storage.postgres import Connection
from storage.queries import Query
from tenancy.ids import TenantId
from tenancy.page import Cursor
from tenancy.principal import Role
from tests.isolation.probes import HI, MISSING, OF_USER, TONE, Probe
from tests.storage.makers import Trips
from tests.support.house import House

Json = dict[str, Any]

OF_TIME = {"date"}
NEW_EACH_TIME = {"run_id", "thread_id", "created_at", "updated_at"}
BESIDE = ("Rounds.", "Ingestor.", "SitePages.")  # whose tasks no request waits for


class OfRequests(Trips):
    """What requests sent, without what is asked beside them, once a second."""

    def append(self, name: str) -> None:
        """Write a statement down."""
        task = asyncio.current_task()
        if task is None or not task.get_coro().__qualname__.startswith(BESIDE):
            super().append(name)


@dataclass(frozen=True, slots=True)
class Seen:
    """All that one request showed to its sender, and all that it did behind the door."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    statements: list[str]
    commands: list[list[str]]


@dataclass(slots=True)
class Watch:
    """Writes down what a serving house sends to its stores."""

    statements: Trips = field(default_factory=OfRequests)
    commands: list[list[str]] = field(default_factory=list)

    async def ask(self, client: httpx.AsyncClient, probe: Probe, id_: str) -> Seen:
        """One request and everything it caused, with the id itself taken out."""
        self.statements.clear()
        self.commands.clear()
        response = await client.request(**probe.request(id_))
        headers = [pair for pair in response.headers.raw if pair[0].decode() not in OF_TIME]
        body = response.content.replace(id_.encode(), b"<id>")
        return Seen(
            response.status_code,
            headers,
            _steady(body) if response.is_success else body,
            list(self.statements),
            [[part.replace(id_, "<id>") for part in command] for command in self.commands],
        )


def _steady(body: bytes) -> bytes:
    """A successful answer without the values that are new each time."""
    return json.dumps(_without(json.loads(body))).encode()


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: "<new>" if k in NEW_EACH_TIME else _without(v) for k, v in value.items()}
    return [_without(each) for each in value] if isinstance(value, list) else value


@asynccontextmanager
async def watching(product: House) -> AsyncIterator[Watch]:
    """Every statement, commit and rollback of the pool, and every Redis command with its keys."""
    cell, watch = product.services.cells.first, Watch()
    plain_class, plain_command = cell.pool.connection_class, cell.redis.execute_command
    cell.pool.connection_class = _recording(watch.statements)

    async def execute_command(*parts: Any, **options: Any) -> Any:
        keys = int(parts[2]) if str(parts[0]).startswith("EVAL") else len(parts) - 1
        said = [str(part) for part in parts[: 3 + keys]]
        if not any(part.startswith("{cell:") for part in said):  # of no request: numbers shared
            watch.commands.append(said)
        return await plain_command(*parts, **options)

    cell.redis.execute_command = execute_command
    await cell.pool.drain()
    try:
        yield watch
    finally:
        cell.redis.execute_command = plain_command
        cell.pool.connection_class = plain_class
        await cell.pool.drain()


def _recording(sent: Trips) -> type[Connection]:
    cursors: type[AsyncCursor[Any]] = sent.cursors()

    class Recording(Connection):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            self.cursor_factory = cursors

        async def commit(self) -> None:
            sent.append("commit")
            await super().commit()

        async def rollback(self) -> None:
            sent.append("rollback")
            await super().rollback()

    return Recording


async def settle(client: httpx.AsyncClient, watch: Watch) -> None:
    """Ask until control data is cached: it is read anew after each of its changes."""
    await client.post("/v1/chat", json={"message": "Prices and counters are read once."})
    read = ["tenant_record"]
    while {"tenant_record", "issuer_record"} & set(read):
        read = (await watch.ask(client, MISSING[-1], str(uuid4()))).statements


def never(probe: Probe) -> str:
    """An id that nothing ever had, in the form that the probe sends."""
    return cursor_at(uuid4()) if probe.thing == "cursor" else str(uuid4())


def cursor_at(id_: UUID) -> str:
    """A place in a list, after everything there is."""
    return Cursor(datetime(2100, 1, 1, tzinfo=UTC), id_).encode()


async def plant(product: House, tenant: TenantId, count: int) -> dict[str, list[str]]:
    """`count` of each thing of a tenant's, by kind."""
    things: dict[str, list[str]] = {}
    async with product.client(tenant, "boss", Role.ADMIN) as boss:
        for number in range(count):
            for kind, id_ in (await _one_of_each(boss, number)).items():
                things.setdefault(kind, []).append(id_)
    return things | {"tenant": [tenant] * count}


async def _one_of_each(boss: httpx.AsyncClient, number: int) -> dict[str, str]:
    key = str(uuid4())
    said = await boss.post("/v1/chat", json=HI, headers={"Idempotency-Key": key})
    upload = {"file": (f"{number}.txt", b"What stands behind door %d." % number)}
    document = await boss.post("/v1/documents", files=upload)
    subject = str(uuid4())
    await boss.put(OF_USER.format(subject=subject), json={"limits": {"user_tokens_per_day": 9}})
    api_key = await boss.post("/v1/keys", json={"subject": "robot"})
    made = await boss.post("/v1/assistants", json={"slug": f"a{number}", **TONE})
    memory = await boss.post("/v1/memories", json={"text": f"Door {number} is open."})
    thread = said.json()["thread_id"]
    return {
        "thread": thread,
        "run": said.json()["run_id"],
        "idempotency_key": key,
        "cursor": cursor_at(UUID(thread)),
        "document": document.json()["document_id"],
        "memory": memory.json()["memory_id"],
        "key": api_key.json()["key_id"],
        "subject": subject,
        "assistant": made.json()["assistant_id"],
    }


STATES = {
    "idle": b"select 1",
    "busy": b"update tenantry.threads set lease_run_id = gen_random_uuid(),"
    b" lease_until = now() + interval '1 hour' where thread_id = %(thread)s",
    "quarantined": b"update tenantry.threads set quarantined_by = gen_random_uuid()"
    b" where thread_id = %(thread)s",
}


async def put_into(product: House, tenant: TenantId, thread: str, state: str) -> None:
    """Bring a thread into one of the states in which its owner reads another answer."""
    async with product.services.cells.first.as_tenant(tenant) as conn:
        await conn.execute(Query(state, STATES[state]), {"thread": thread})
