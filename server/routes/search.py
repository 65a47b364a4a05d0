"""Search in the tenant's documents."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Response
from pydantic import Field

from server.access import ScopedRoute, needs
from server.routes.wire import MAX_QUERY_CHARACTERS, Body, Caller, Rooms, Said, reply
from tenancy.principal import Scope
from tenancy.usage import Meter, UsageEvent, usage_event_id

router = APIRouter(route_class=ScopedRoute, tags=["search"])


class SearchBody(Body):
    """A question or some words."""

    query: Annotated[Said, Field(min_length=1, max_length=MAX_QUERY_CHARACTERS)]
    limit: Annotated[int, Field(ge=1, le=50)] = 10


@router.post("/v1/search", response_model=None)
@needs(Scope.SEARCH)
async def search(body: SearchBody, caller: Caller, rooms: Rooms) -> Response:
    """The passages nearest to the query by meaning and by word, best first."""
    found = await rooms.search.search(caller.tenant_id, body.query, body.limit)
    if found.embedding_tokens:
        event_id = usage_event_id(uuid4(), Meter.EMBEDDING_TOKENS, "search")
        event = UsageEvent(
            event_id,
            Meter.EMBEDDING_TOKENS,
            found.embedding_tokens,
            found.embedding_model,
            None,
            caller.subject_id,
            datetime.now(UTC),
        )
        await rooms.ledger.record(caller.tenant_id, usage=[event])
    fields = ("passage_id", "document_id", "title", "text", "score")
    items = [{name: getattr(each, name) for name in fields} for each in found.passages]
    return reply({"items": items, "next_cursor": None})
