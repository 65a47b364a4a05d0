"""Threads: conversations and what was said in them."""

from typing import Annotated, Any, Literal
from uuid import uuid4

from fastapi import APIRouter, Response
from fastapi import Query as Parameter
from pydantic import Field

from server.access import ScopedRoute, needs
from server.conversations import as_markdown, exported, remembered, said_in, shown, up_to
from server.routes.wire import (
    LIMIT,
    Body,
    Caller,
    Cursor,
    JsonUUID,
    Limit,
    Rooms,
    Text,
    Title,
    reply,
    reply_page,
    utc,
)
from server.services import Services
from storage.threads import Thread
from tenancy.audit import AuditEvent
from tenancy.errors import Invalid
from tenancy.ids import ThreadId
from tenancy.page import Cursor as PageCursor
from tenancy.page import page_of, parse_cursor
from tenancy.principal import Principal, Scope

router = APIRouter(route_class=ScopedRoute, tags=["threads"])

MAX_SEARCH_CHARACTERS = 400
MAX_MESSAGE_ID_CHARACTERS = 256

Words = Annotated[Text | None, Parameter(max_length=MAX_SEARCH_CHARACTERS)]
MessageId = Annotated[Text, Field(min_length=1, max_length=MAX_MESSAGE_ID_CHARACTERS)]


class ThreadBody(Body):
    """A new thread; an id of the client's own is taken as it is."""

    thread_id: JsonUUID | None = None
    title: Title = ""


class ThreadChange(Body):
    """What changes about a thread; what is not named stays."""

    title: Title | None = None
    shared: bool | None = None


class ForkBody(Body):
    """The last message that goes along; without one all do."""

    after: MessageId | None = None


@router.post("/v1/threads", response_model=None, status_code=201)
@needs(Scope.THREADS_WRITE)
async def create_thread(body: ThreadBody, caller: Caller, rooms: Rooms) -> Response:
    """Make an empty thread."""
    thread_id = ThreadId(body.thread_id or uuid4())
    thread = await rooms.threads.create(caller, thread_id, body.title)
    return reply(_item(thread), 201)


@router.get("/v1/threads", response_model=None)
@needs(Scope.THREADS_READ)
async def list_threads(
    caller: Caller,
    rooms: Rooms,
    *,
    query: Words = None,
    shared: bool | None = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Response:
    """The caller's threads, or the tenant's for who may see all; latest first.

    With `query` those in whose title or messages it is, of all that the caller may read; with
    `shared=true` those that anybody shared.
    """
    words = query.strip() if query else None
    threads = await rooms.threads.page(
        caller, parse_cursor(cursor), limit + 1, words=words, shared=shared
    )
    page = page_of(threads, limit, lambda thread: PageCursor(thread.updated_at, thread.thread_id))
    return reply_page(page, _item)


@router.get("/v1/threads/{thread_id}", response_model=None)
@needs(Scope.THREADS_READ)
async def get_thread(thread_id: JsonUUID, caller: Caller, rooms: Rooms) -> Response:
    """One thread with its messages."""
    thread = await rooms.threads.get(caller, ThreadId(thread_id))
    memory = await rooms.threads.memory(caller, thread.thread_id)
    return reply({**_item(thread), "messages": list(shown(said_in(memory)))})


@router.patch("/v1/threads/{thread_id}", response_model=None)
@needs(Scope.THREADS_WRITE)
async def change_thread(
    thread_id: JsonUUID, body: ThreadChange, caller: Caller, rooms: Rooms
) -> Response:
    """Rename a thread, or share it with everyone of the tenant, who then may read it."""
    thread = await rooms.threads.change(
        caller,
        ThreadId(thread_id),
        title=body.title,
        shared=body.shared,
        audit=_changes(body, ThreadId(thread_id), caller, rooms),
    )
    return reply(_item(thread))


@router.delete("/v1/threads/{thread_id}", response_model=None, status_code=204)
@needs(Scope.THREADS_WRITE)
async def delete_thread(thread_id: JsonUUID, caller: Caller, rooms: Rooms) -> Response:
    """Delete a thread with everything that was said in it."""
    event = rooms.event(caller, "thread.delete", str(thread_id))
    await rooms.threads.delete(caller, ThreadId(thread_id), event)
    return Response(status_code=204)


@router.post("/v1/threads/{thread_id}/copy", response_model=None, status_code=201)
@needs(Scope.THREADS_WRITE)
async def copy_thread(thread_id: JsonUUID, caller: Caller, rooms: Rooms) -> Response:
    """The same conversation in a new thread of the caller's."""
    return await _anew("thread.copy", ThreadId(thread_id), None, caller, rooms)


@router.post("/v1/threads/{thread_id}/fork", response_model=None, status_code=201)
@needs(Scope.THREADS_WRITE)
async def fork_thread(
    thread_id: JsonUUID, body: ForkBody, caller: Caller, rooms: Rooms
) -> Response:
    """The conversation up to a message in a new thread of the caller's."""
    return await _anew("thread.fork", ThreadId(thread_id), body.after, caller, rooms)


@router.get("/v1/threads/{thread_id}/export", response_model=None)
@needs(Scope.THREADS_READ)
async def export_thread(
    thread_id: JsonUUID,
    caller: Caller,
    rooms: Rooms,
    format: Literal["json", "markdown"] = "json",
) -> Response:
    """The whole conversation as a file: messages, citations and usage."""
    thread = await rooms.threads.get(caller, ThreadId(thread_id))
    said = said_in(await rooms.threads.memory(caller, thread.thread_id))
    runs = await rooms.threads.runs(caller, thread.thread_id)
    event = rooms.event(caller, "thread.export", str(thread_id), format=format)
    await rooms.ledger.record(caller.tenant_id, audit=[event])
    if format == "json":
        return reply(exported(_item(thread), said, runs), headers=_file(thread, "json"))
    text = as_markdown(thread, said, runs)
    return Response(text, headers=_file(thread, "md"), media_type="text/markdown")


async def _anew(
    action: str, source: ThreadId, after: str | None, caller: Principal, rooms: Services
) -> Response:
    thread = await rooms.threads.get(caller, source)
    memory = await rooms.threads.memory(caller, source)
    kept = remembered(caller.tenant_id, memory, up_to(said_in(memory), after))
    made = ThreadId(uuid4())
    event = rooms.event(caller, action, str(source), thread=str(made))
    copy = await rooms.threads.create_with(caller, made, thread, kept, event)
    return reply(_item(copy), 201)


def _changes(
    body: ThreadChange, thread_id: ThreadId, caller: Principal, rooms: Services
) -> list[AuditEvent]:
    """One audit event for each thing that changes; raises `Invalid` where none does."""
    actions = ["thread.rename"] if body.title is not None else []
    if body.shared is not None:
        actions.append("thread.share" if body.shared else "thread.unshare")
    if not actions:
        raise Invalid("title", "say what changes: title, shared or both")
    return [rooms.event(caller, action, str(thread_id)) for action in actions]


def _file(thread: Thread, ending: str) -> dict[str, str]:
    name = f"thread-{thread.thread_id}.{ending}"
    return {"Content-Disposition": f'attachment; filename="{name}"'}


def _item(thread: Thread) -> dict[str, Any]:
    return {
        "thread_id": thread.thread_id,
        "title": thread.title,
        "owner": thread.owner,
        "shared": thread.shared,
        "created_at": utc(thread.created_at),
        "updated_at": utc(thread.updated_at),
    }
