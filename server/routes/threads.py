"""Threads: conversations and what was said in them."""

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Response
from langchain_core.messages import AnyMessage, HumanMessage

from graph.notes import notes_of
from graph.prompts import is_answer
from server.access import ScopedRoute, needs
from server.routes.wire import (
    LIMIT,
    Body,
    Caller,
    Cursor,
    JsonUUID,
    Limit,
    Rooms,
    Title,
    reply,
    reply_page,
    utc,
)
from storage.threads import Thread
from tenancy.ids import ThreadId
from tenancy.page import Cursor as PageCursor
from tenancy.page import page_of, parse_cursor
from tenancy.principal import Scope

router = APIRouter(route_class=ScopedRoute, tags=["threads"])


class ThreadBody(Body):
    """A new thread; an id of the client's own is taken as it is."""

    thread_id: JsonUUID | None = None
    title: Title = ""


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
    caller: Caller, rooms: Rooms, limit: Limit = LIMIT, cursor: Cursor = None
) -> Response:
    """The caller's threads, or the tenant's for who may see all; latest first."""
    threads = await rooms.threads.page(caller, parse_cursor(cursor), limit + 1)
    page = page_of(threads, limit, lambda thread: PageCursor(thread.updated_at, thread.thread_id))
    return reply_page(page, _item)


@router.get("/v1/threads/{thread_id}", response_model=None)
@needs(Scope.THREADS_READ)
async def get_thread(thread_id: JsonUUID, caller: Caller, rooms: Rooms) -> Response:
    """One thread with its messages."""
    thread = await rooms.threads.get(caller, ThreadId(thread_id))
    memory = await rooms.threads.memory(caller, thread.thread_id)
    said = memory.checkpoint["channel_values"].get("messages", []) if memory else []
    return reply({**_item(thread), "messages": list(_messages(said))})


@router.delete("/v1/threads/{thread_id}", response_model=None, status_code=204)
@needs(Scope.THREADS_WRITE)
async def delete_thread(thread_id: JsonUUID, caller: Caller, rooms: Rooms) -> Response:
    """Delete a thread with everything that was said in it."""
    event = rooms.event(caller, "thread.delete", str(thread_id))
    await rooms.threads.delete(caller, ThreadId(thread_id), event)
    return Response(status_code=204)


def _item(thread: Thread) -> dict[str, Any]:
    return {
        "thread_id": thread.thread_id,
        "title": thread.title,
        "created_at": utc(thread.created_at),
        "updated_at": utc(thread.updated_at),
    }


def _messages(said: Sequence[AnyMessage]) -> Iterator[dict[str, Any]]:
    """What a person reads: questions and answers, not the traffic with tools."""
    for message in said:
        if isinstance(message, HumanMessage) or is_answer(message):
            notes = notes_of(message)
            yield {
                "id": message.id,
                "role": "user" if isinstance(message, HumanMessage) else "assistant",
                "content": message.text,
                "citations": notes.get("citations", []),
                "created_at": notes.get("created_at"),
            }
