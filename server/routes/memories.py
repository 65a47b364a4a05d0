"""What is remembered of the caller and of its tenant."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field

from knowledge.memories import memory_usage
from server.access import ScopedRoute, needs
from server.memory_export import exported
from server.routes.wire import (
    LIMIT,
    MAX_QUERY_CHARACTERS,
    Body,
    Caller,
    Cursor,
    JsonUUID,
    Limit,
    Rooms,
    Said,
    Text,
    reply,
    reply_page,
    utc,
)
from server.services import Services
from tenancy.ids import MemoryId
from tenancy.memory import MAX_CHARACTERS, Memory
from tenancy.page import Cursor as PageCursor
from tenancy.page import page_of, parse_cursor
from tenancy.principal import Principal, Scope

router = APIRouter(route_class=ScopedRoute, tags=["memory"])

Words = Annotated[Text | None, Query(max_length=MAX_QUERY_CHARACTERS)]
MemoryText = Annotated[Said, Field(max_length=MAX_CHARACTERS)]


class MemoryBody(Body):
    """Something to remember: of the caller, or by an admin of the tenant, for all its people."""

    text: MemoryText
    of: Literal["person", "tenant"] = "person"


class MemoryChange(Body):
    """What a memory says instead."""

    text: MemoryText


class MemorySwitch(Body):
    """Whether the caller lets itself be remembered."""

    enabled: bool


@router.post("/v1/memories", response_model=None, status_code=201)
@needs(Scope.THREADS_WRITE)
async def remember(body: MemoryBody, caller: Caller, rooms: Rooms) -> Response:
    """Remember something: 201, or 200 where a memory says it already."""
    if body.of == "tenant":
        caller.require(Scope.SETTINGS_WRITE)
    memory = await rooms.memories.remember(
        caller,
        body.text,
        most=(await rooms.tenant(caller)).plan.memories,
        audit=rooms.event(caller, "memory.remember", ""),
        of_tenant=body.of == "tenant",
    )
    return reply(_item(memory), 201 if memory.created_at == memory.updated_at else 200)


@router.get("/v1/memories", response_model=None)
@needs(Scope.THREADS_READ)
async def list_memories(
    caller: Caller,
    rooms: Rooms,
    *,
    query: Words = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Response:
    """The caller's memories and its tenant's, latest first; with a `query` the nearest to it."""
    if query and query.strip():
        return await _nearest(query, limit, caller, rooms)
    after = parse_cursor(cursor)
    found = await rooms.remembered.page(caller.tenant_id, caller.subject_id, after, limit + 1)
    page = page_of(found, limit, lambda memory: PageCursor(memory.created_at, memory.memory_id))
    return reply_page(page, _item)


@router.get("/v1/memories/export", response_model=None)
@needs(Scope.THREADS_READ)
async def export_memories(
    caller: Caller, rooms: Rooms, of: Literal["person", "tenant"] = "person"
) -> Response:
    """All that is kept of the caller as a file; of the tenant itself with `settings:write`."""
    if of == "tenant":
        caller.require(Scope.SETTINGS_WRITE)
    subject = caller.subject_id if of == "person" else None
    event = rooms.event(caller, "memory.export", "", of=of)
    kept = await rooms.kept.all_of(caller.tenant_id, subject, event)
    name = {"Content-Disposition": f'attachment; filename="memories-{of}.json"'}
    return reply({"subject": subject, "items": [exported(each) for each in kept]}, headers=name)


@router.patch("/v1/memories/{memory_id}", response_model=None)
@needs(Scope.THREADS_WRITE)
async def change_memory(
    memory_id: JsonUUID, body: MemoryChange, caller: Caller, rooms: Rooms
) -> Response:
    """Give a memory another text; one of the tenant only with `settings:write`."""
    known = await _writable(MemoryId(memory_id), caller, rooms)
    event = rooms.event(caller, "memory.change", str(memory_id))
    return reply(_item(await rooms.memories.change(caller, known.memory_id, body.text, event)))


@router.delete("/v1/memories/{memory_id}", response_model=None, status_code=204)
@needs(Scope.THREADS_WRITE)
async def delete_memory(memory_id: JsonUUID, caller: Caller, rooms: Rooms) -> Response:
    """Forget a memory, or what a tool kept; of the tenant only with `settings:write`."""
    named = MemoryId(memory_id)
    if await rooms.kept.owner_of(caller.tenant_id, caller.subject_id, named) is None:
        caller.require(Scope.SETTINGS_WRITE)
    event = rooms.event(caller, "memory.forget", str(memory_id))
    await rooms.remembered.delete(caller.tenant_id, caller.subject_id, named, event)
    return Response(status_code=204)


@router.delete("/v1/memories", response_model=None, status_code=204)
@needs(Scope.THREADS_WRITE)
async def delete_memories(caller: Caller, rooms: Rooms) -> Response:
    """Forget everything that is remembered of the caller; the tenant's own stays."""
    event = rooms.event(caller, "memory.forget_all", "")
    await rooms.remembered.delete_own(caller.tenant_id, caller.subject_id, event)
    return Response(status_code=204)


@router.get("/v1/memory", response_model=None)
@needs(Scope.THREADS_READ)
async def get_memory_switch(caller: Caller, rooms: Rooms) -> Response:
    """Whether the caller lets itself be remembered, and how much its plan allows."""
    return await _switch(caller, rooms)


@router.put("/v1/memory", response_model=None)
@needs(Scope.THREADS_WRITE)
async def switch_memory(body: MemorySwitch, caller: Caller, rooms: Rooms) -> Response:
    """Switch the caller's memory on or off; off, nothing is added or used, and nothing deleted."""
    event = rooms.event(caller, "memory.switch", "", enabled=int(body.enabled))
    await rooms.remembered.switch(caller.tenant_id, caller.subject_id, body.enabled, event)
    return await _switch(caller, rooms)


async def _switch(caller: Principal, rooms: Services) -> Response:
    enabled = await rooms.remembered.enabled(caller.tenant_id, caller.subject_id)
    limit = (await rooms.tenant(caller)).plan.memories
    return reply({"enabled": enabled, "limit": limit})


async def _nearest(query: str, limit: int, caller: Principal, rooms: Services) -> Response:
    found = await rooms.memories.search(caller, query, limit)
    usage = memory_usage(found.embedding_model, found.embedding_tokens, caller.subject_id)
    await rooms.ledger.record(caller.tenant_id, usage=usage)
    return reply({"items": [_item(each) for each in found.memories], "next_cursor": None})


async def _writable(memory_id: MemoryId, caller: Principal, rooms: Services) -> Memory:
    """A memory that the caller may change; raises `NotFound`, `Forbidden`."""
    memory = await rooms.remembered.get(caller.tenant_id, caller.subject_id, memory_id)
    if memory.subject_id is None:
        caller.require(Scope.SETTINGS_WRITE)
    return memory


def _item(memory: Memory) -> dict[str, Any]:
    return {
        "memory_id": memory.memory_id,
        "of": "tenant" if memory.subject_id is None else "person",
        "text": memory.text,
        "created_at": utc(memory.created_at),
        "updated_at": utc(memory.updated_at),
    }
