"""Search in the tenant's documents."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Response
from pydantic import Field

from server.access import ScopedRoute, needs
from server.routes.filters import FilterBody
from server.routes.wire import MAX_QUERY_CHARACTERS, Body, Caller, Rooms, Said, reply
from tenancy.document import Found, Passage
from tenancy.principal import Principal, Scope
from tenancy.usage import UsageEvent, embedding_usage

MAX_NEIGHBOURS = 3

router = APIRouter(route_class=ScopedRoute, tags=["search"])


class SearchBody(Body):
    """A question or some words, which documents to look into, and what to tell of each hit."""

    query: Annotated[Said, Field(min_length=1, max_length=MAX_QUERY_CHARACTERS)]
    limit: Annotated[int, Field(ge=1, le=50)] = 10
    filter: FilterBody | None = None
    neighbours: Annotated[int, Field(ge=0, le=MAX_NEIGHBOURS)] = 0
    explain: bool = False


@router.post("/v1/search", response_model=None)
@needs(Scope.SEARCH)
async def search(body: SearchBody, caller: Caller, rooms: Rooms) -> Response:
    """The passages nearest to the query by meaning and by word, best first."""
    within = body.filter.parsed() if body.filter else None
    found = await rooms.search.search(caller.tenant_id, body.query, body.limit, within)
    if usage := _usage(found, caller):
        await rooms.ledger.record(caller.tenant_id, usage=usage)
    if not body.neighbours:
        items = [_item(each, body) for each in found.passages]
    else:
        around = await rooms.search.surround(caller.tenant_id, found.passages, body.neighbours)
        items = [
            _item(each.passage, body)
            | {"context": {"text": each.text, "passage_ids": each.passage_ids}}
            for each in around
        ]
    return reply({"items": items, "next_cursor": None})


def _usage(found: Found, caller: Principal) -> list[UsageEvent]:
    return embedding_usage(
        uuid4(),
        "search",
        model=found.embedding_model,
        tokens=found.embedding_tokens,
        subject_id=caller.subject_id,
        at=datetime.now(UTC),
    )


def _item(passage: Passage, body: SearchBody) -> dict[str, Any]:
    fields = ("passage_id", "document_id", "title", "text", "score", "path", "page", "start", "end")
    item = {name: getattr(passage, name) for name in fields}
    if passage.corpus_id:
        item["corpus_id"] = passage.corpus_id
    if body.explain and passage.reasons:
        item["explain"] = {"score": passage.score} | asdict(passage.reasons)
    return item
