"""Documents: what a tenant's answers are made of."""

from dataclasses import asdict
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, File, Form, Header, Query, Request, Response, UploadFile

from server.access import ScopedRoute, needs
from server.routes.taking_in import answer, item_of, waits_for
from server.routes.wire import (
    LIMIT,
    Caller,
    Cursor,
    JsonUUID,
    Limit,
    Rooms,
    Title,
    reply,
    reply_page,
)
from tenancy.document import DocumentStatus, Upload
from tenancy.errors import Invalid
from tenancy.ids import DocumentId, PassageId
from tenancy.page import BEGINNING, page_of, parse_cursor
from tenancy.page import Cursor as PageCursor
from tenancy.principal import Scope
from tenancy.search_filter import Metadata, parse_metadata

WAITED_FOR_BYTES = 200_000  # seconds of reading: longer than anybody waits for an answer
MAX_METADATA_CHARACTERS = 8_000
OfCorpus = Annotated[str | None, Query(alias="corpus", max_length=63)]
UNDER_WAY = (DocumentStatus.QUEUED, DocumentStatus.READING, DocumentStatus.EMBEDDING)

router = APIRouter(route_class=ScopedRoute, tags=["documents"])


async def _only_file(file: Annotated[UploadFile, File()], request: Request) -> UploadFile:
    """The file of an upload; of several, the framework would take the last and say nothing."""
    if len((await request.form()).getlist("file")) > 1:
        raise Invalid("file", "is there twice: send one file at a time, or a ZIP archive of them")
    return file


@router.post("/v1/documents", response_model=None, status_code=201)
@needs(Scope.DOCUMENTS_WRITE)
async def add_document(
    file: Annotated[UploadFile, Depends(_only_file)],
    caller: Caller,
    rooms: Rooms,
    title: Annotated[Title | None, Form()] = None,
    metadata: Annotated[str | None, Form(max_length=MAX_METADATA_CHARACTERS)] = None,
    *,
    wait: Annotated[bool | None, Query()] = None,
    prefer: Annotated[str, Header()] = "",
) -> Response:
    """Ingest a file: 201 for a new document, 200 for content that is there already.

    A large one is read in the background, and any that nobody waits for: 202. A ZIP archive is a
    document for each file in it: 207 with what became of each. `metadata` is a JSON object of names
    and scalars that searches can filter on; it replaces what was there.
    """
    described = None if metadata is None else _metadata(metadata)
    tenant = await rooms.tenant(caller)
    async with rooms.in_hand.turn(tenant.tenant_id):  # until then it is on disk
        upload = Upload(file.filename or "", await file.read(), title or None, file.content_type)
        waits = waits_for(upload, wait, prefer)
        return await answer(upload, tenant, caller, rooms, described=described, waits=waits)


def _metadata(text: str) -> Metadata:
    try:
        return parse_metadata(orjson.loads(text))
    except ValueError as error:
        raise Invalid("metadata", "must be a JSON object") from error


@router.post("/v1/documents/{document_id}/retry", response_model=None, status_code=202)
@needs(Scope.DOCUMENTS_WRITE)
async def retry_document(document_id: JsonUUID, caller: Caller, rooms: Rooms) -> Response:
    """Read a document again that failed: 202; any other stays as it is: 200."""
    wanted = DocumentId(document_id)
    event = rooms.event(caller, "document.retry", str(document_id))
    queued = await rooms.ingestor.jobs.retry(caller.tenant_id, wanted, event)
    rooms.ingestor.wake()
    document = await rooms.documents.get(caller.tenant_id, wanted)
    return reply(item_of(document), 202 if queued else 200)


@router.get("/v1/documents", response_model=None)
@needs(Scope.DOCUMENTS_READ)
async def list_documents(
    caller: Caller,
    rooms: Rooms,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
    corpus: OfCorpus = None,
) -> Response:
    """The tenant's documents, or those of a corpus it subscribes to, latest first."""
    of = await rooms.owner(caller, corpus)
    documents = await rooms.documents.page(of, parse_cursor(cursor), limit + 1)
    page = page_of(documents, limit, lambda each: PageCursor(each.created_at, each.document_id))
    return reply_page(page, item_of)


@router.get("/v1/documents/{document_id}", response_model=None)
@needs(Scope.DOCUMENTS_READ)
async def get_document(
    document_id: JsonUUID, caller: Caller, rooms: Rooms, corpus: OfCorpus = None
) -> Response:
    """One document."""
    of = await rooms.owner(caller, corpus)
    return reply(item_of(await rooms.documents.get(of, DocumentId(document_id))))


@router.get("/v1/documents/{document_id}/text", response_model=None)
@needs(Scope.DOCUMENTS_READ)
async def get_text(
    document_id: JsonUUID, caller: Caller, rooms: Rooms, corpus: OfCorpus = None
) -> Response:
    """The text of a document, as its passages were cut from it."""
    of = await rooms.owner(caller, corpus)
    text = await rooms.documents.text(of, DocumentId(document_id))
    return reply({"document_id": document_id, "text": text})


@router.get("/v1/documents/{document_id}/passages", response_model=None)
@needs(Scope.DOCUMENTS_READ)
async def list_passages(
    document_id: JsonUUID,
    caller: Caller,
    rooms: Rooms,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
    *,
    corpus: OfCorpus = None,
) -> Response:
    """The passages of a document in its order: where a citation opens."""
    after = parse_cursor(cursor)
    after_id = None if after is None else PassageId(after.id)
    of = await rooms.owner(caller, corpus)
    passages = await rooms.documents.passages(of, DocumentId(document_id), after_id, limit + 1)
    page = page_of(passages, limit, lambda each: PageCursor(BEGINNING, each.passage_id))
    return reply_page(page, asdict)


@router.delete("/v1/documents/{document_id}", response_model=None, status_code=204)
@needs(Scope.DOCUMENTS_WRITE)
async def delete_document(document_id: JsonUUID, caller: Caller, rooms: Rooms) -> Response:
    """Delete a document with its passages."""
    event = rooms.event(caller, "document.delete", str(document_id))
    await rooms.documents.delete(caller.tenant_id, DocumentId(document_id), event)
    return Response(status_code=204)
