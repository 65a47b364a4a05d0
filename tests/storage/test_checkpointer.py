"""The saver on a real database: whose rows it sees, what it commits when, what it survives."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from langgraph.checkpoint.base import Checkpoint, empty_checkpoint
from langgraph.checkpoint.base.id import uuid6
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.types import Command, interrupt

from server.stores import Stores
from storage.cells import Cells
from storage.checkpointer import TenantPostgresSaver
from storage.threads import PostgresThreads
from storage.turn import TurnRecord
from tenancy.errors import LeaseLost, Unavailable
from tenancy.ids import TenantId
from tests.storage.graphs import (
    CLOSING,
    EFFECT,
    FREE,
    PAID,
    Graph,
    Turn,
    chain,
    fan,
    open_turn,
)
from tests.storage.makers import (
    ACME,
    GLOBEX,
    Trips,
    audit_event,
    away,
    kill_backends,
    new_run,
    new_thread,
    open_cells,
    principal,
    rows,
    usage_event,
    value,
)
from tests.support.stores import Cluster

FIVE = [("one", FREE), ("two", FREE), ("three", FREE), ("effect", EFFECT), ("last", CLOSING)]
TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
CAPABILITIES = 8  # of the suite: put, writes, get, list, delete thread and runs, copy, prune


async def rows_of(cells: Cells, thread_id: object, tenant_id: TenantId = ACME) -> int:
    """How many rows of any checkpoint table a thread has."""
    return sum(
        [
            await value(
                cells,
                f"select count(*) from {table} where thread_id = %(thread)s",  # noqa: S608
                tenant_id,
                thread=str(thread_id),
            )
            for table in TABLES
        ]
    )


async def memory(saver: TenantPostgresSaver, turn: Turn, tenant_id: TenantId = ACME) -> Any:
    """What a new process remembers of the thread of a turn."""
    found = await saver.for_tenant(tenant_id).aget_tuple(turn.config)
    return None if found is None else found.checkpoint["channel_values"].get("done")


async def finish(
    threads: PostgresThreads, saver: TenantPostgresSaver, turn: Turn, given: Any = None
) -> Any:
    """Another process takes the thread over and goes on where it stopped."""
    cell = saver._cells.for_tenant(ACME)
    async with cell.as_tenant(ACME) as conn:
        await conn.execute(EXPIRE, {"thread": turn.lease.thread_id})
    again = await open_turn(threads, saver, turn.graph, thread_id=turn.lease.thread_id)
    state = await again.run(given)
    await again.end()
    return state


def checkpoint(**values: Any) -> Checkpoint:
    versions = dict.fromkeys(values, "1")
    made = {"id": str(uuid6()), "channel_values": values, "channel_versions": versions}
    return {**empty_checkpoint(), **made}


async def put(
    saver: TenantPostgresSaver, thread_id: object, metadata: dict[str, Any] | None = None, **values: Any
) -> dict[str, Any]:
    made = checkpoint(**values)
    config: Any = {"configurable": {"thread_id": str(thread_id), "checkpoint_ns": ""}}
    about: Any = {"source": "loop", "step": 1, **(metadata or {})}
    return await saver.aput(config, made, about, made["channel_versions"])
