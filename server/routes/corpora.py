"""Shared corpora: what a tenant may search beside its own documents."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Path, Response

from server.access import ScopedRoute, needs
from server.routes.wire import Caller, Rooms, Text, reply
from tenancy.principal import Scope

router = APIRouter(route_class=ScopedRoute, tags=["corpora"])

CorpusName = Annotated[Text, Path(max_length=63)]


@router.get("/v1/corpora", response_model=None)
@needs(Scope.SEARCH)
async def list_corpora(caller: Caller, rooms: Rooms) -> Response:
    """The corpora there are, and which of them the tenant subscribes to."""
    found = await rooms.control.corpora(caller.tenant_id)
    items = [asdict(each) for each in found if each.corpus_id != caller.tenant_id]
    return reply({"items": items, "next_cursor": None})


@router.put("/v1/corpora/{corpus_id}/subscription", response_model=None, status_code=204)
@needs(Scope.SETTINGS_WRITE)
async def subscribe(corpus_id: CorpusName, caller: Caller, rooms: Rooms) -> Response:
    """Search a corpus too, from within a second on."""
    event = rooms.event(caller, "corpus.subscribe", corpus_id)
    await rooms.corpora.subscribe(caller.tenant_id, corpus_id, event)
    return Response(status_code=204)


@router.delete("/v1/corpora/{corpus_id}/subscription", response_model=None, status_code=204)
@needs(Scope.SETTINGS_WRITE)
async def unsubscribe(corpus_id: CorpusName, caller: Caller, rooms: Rooms) -> Response:
    """Search a corpus no more, from within a second on."""
    event = rooms.event(caller, "corpus.unsubscribe", corpus_id)
    await rooms.corpora.unsubscribe(caller.tenant_id, corpus_id, event)
    return Response(status_code=204)
