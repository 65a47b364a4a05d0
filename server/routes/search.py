"""Search in the tenant's documents."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Response
from pydantic import Field

from graph.reranking import candidates
from server.access import ScopedRoute, needs
from server.reranking import Ranking
from server.routes.filters import FilterBody
from server.routes.wire import MAX_QUERY_CHARACTERS, Body, Caller, Rooms, Said, reply
from server.services import Services
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
    rerank: bool = False
    explain: bool = False


@router.post("/v1/search", response_model=None)
@needs(Scope.SEARCH)
async def search(body: SearchBody, caller: Caller, rooms: Rooms) -> Response:
    """The passages nearest to the query by meaning and by word, best first."""
    ranking = await _ranked(body, caller, rooms)
    best = ranking.passages[: body.limit]
    if not body.neighbours:
        items = [_item(each, ranking, body) for each in best]
    else:
        around = await rooms.search.surround(caller.tenant_id, best, body.neighbours)
        items = [
            _item(each.passage, ranking, body)
            | {"context": {"text": each.text, "passage_ids": each.passage_ids}}
            for each in around
        ]
    reranked = {"reranked": ranking.before is not None} if body.rerank else {}
    return reply({"items": items, "next_cursor": None, **reranked})


async def _ranked(body: SearchBody, caller: Principal, rooms: Services) -> Ranking:
    if body.rerank:
        caller.require(Scope.CHAT)  # what else asks a model needs it
    within = body.filter.parsed() if body.filter else None
    most = candidates(body.limit) if body.rerank else body.limit
    found = await rooms.search.search(caller.tenant_id, body.query, most, within)
    if usage := _usage(found, caller):
        await rooms.ledger.record(caller.tenant_id, usage=usage)
    if not body.rerank:
        return Ranking(found.passages)
    return await rooms.reranker.ranking(caller, body.query, found.passages)


def _usage(found: Found, caller: Principal) -> list[UsageEvent]:
    return embedding_usage(
        uuid4(),
        "search",
        model=found.embedding_model,
        tokens=found.embedding_tokens,
        subject_id=caller.subject_id,
        at=datetime.now(UTC),
    )


def _item(passage: Passage, ranking: Ranking, body: SearchBody) -> dict[str, Any]:
    fields = ("passage_id", "document_id", "title", "text", "score", "path", "page", "start", "end")
    item = {name: getattr(passage, name) for name in fields}
    if passage.corpus_id:
        item["corpus_id"] = passage.corpus_id
    if body.explain and passage.reasons:
        why = {"score": passage.score} | asdict(passage.reasons)
        item["explain"] = why | ranking.places(passage)
    return item
