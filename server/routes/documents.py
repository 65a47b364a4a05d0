"""Documents: what a tenant's answers are made of."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, File, Form, Header, Query, Response, UploadFile
from pydantic import Field

from knowledge.archive import is_archive
from server.access import ScopedRoute, needs
from server.intake import Taken, take_in, take_in_archive
from server.problems import problem_of
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
from tenancy.document import Document, DocumentStatus, Upload
from tenancy.errors import Invalid
from tenancy.ids import DocumentId, PassageId
from tenancy.page import BEGINNING, page_of, parse_cursor
from tenancy.page import Cursor as PageCursor
from tenancy.principal import Principal, Scope
from tenancy.search_filter import Metadata, parse_metadata
from tenancy.tenant import Tenant
from tools.egress import MAX_URL_CHARACTERS

WAITED_FOR_BYTES = 200_000  # seconds of reading: longer than anybody waits for an answer
MAX_METADATA_CHARACTERS = 8_000
OfCorpus = Annotated[str | None, Query(alias="corpus", max_length=63)]
UNDER_WAY = (DocumentStatus.QUEUED, DocumentStatus.READING, DocumentStatus.EMBEDDING)

router = APIRouter(route_class=ScopedRoute, tags=["documents"])


class Address(Body):
    """What to fetch, and the title and metadata it is to have."""

    url: Annotated[Text, Field(max_length=MAX_URL_CHARACTERS)]
    title: Title | None = None
    metadata: dict[str, Any] | None = None


@router.post("/v1/documents", response_model=None, status_code=201)
@needs(Scope.DOCUMENTS_WRITE)
async def add_document(
    file: Annotated[UploadFile, File()],
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
    upload = Upload(file.filename or "", await file.read(), title or None, file.content_type)
    waits = _waits(upload, wait, prefer)
    return await _answer(upload, tenant, caller, rooms, described=described, waits=waits)


@router.post("/v1/documents/fetch", response_model=None, status_code=201)
@needs(Scope.DOCUMENTS_WRITE)
async def fetch_document(
    body: Address,
    caller: Caller,
    rooms: Rooms,
    *,
    wait: Annotated[bool | None, Query()] = None,
    prefer: Annotated[str, Header()] = "",
) -> Response:
    """Fetch a public page or file, and take it in as if it had been sent."""
    described = None if body.metadata is None else parse_metadata(body.metadata)
    tenant = await rooms.tenant(caller)
    fetched = await rooms.web.fetch(tenant.tenant_id, body.url)
    upload = replace(fetched, title=body.title or None)
    waits = _waits(upload, wait, prefer)
    return await _answer(upload, tenant, caller, rooms, described=described, waits=waits)


async def _answer(
    upload: Upload,
    tenant: Tenant,
    caller: Principal,
    rooms: Services,
    *,
    described: Metadata | None,
    waits: bool,
) -> Response:
    if is_archive(upload):
        return await _add_archive(upload, tenant, caller, rooms, described)
    document, added = await take_in(rooms, tenant, caller.subject_id, upload, waits=waits)
    if described is not None:
        await rooms.documents.describe(tenant.tenant_id, document.document_id, described)
        document = replace(document, metadata=described)
    event = rooms.event(caller, "document.add", str(document.document_id))
    await rooms.ledger.record(tenant.tenant_id, audit=[event])
    return reply(_item(document), (201 if waits else 202) if added else 200)


def _metadata(text: str) -> Metadata:
    try:
        return parse_metadata(orjson.loads(text))
    except ValueError as error:
        raise Invalid("metadata", "must be a JSON object") from error


async def _add_archive(
    upload: Upload,
    tenant: Tenant,
    caller: Principal,
    rooms: Services,
    described: Metadata | None,
) -> Response:
    if upload.title is not None:
        raise Invalid("title", "is for one file, and an archive is several")
    files = take_in_archive(rooms, tenant, caller.subject_id, upload, waits=False)
    taken = [each async for each in files]
    if described is not None:
        added = [each.outcome for each in taken if isinstance(each.outcome, Document)]
        for document in added:
            await rooms.documents.describe(tenant.tenant_id, document.document_id, described)
    await _record(taken, caller, rooms)
    return reply({"items": [_taken(each) for each in taken]}, 207)


async def _record(taken: Sequence[Taken], caller: Principal, rooms: Services) -> None:
    events = [
        rooms.event(caller, "document.add", str(each.outcome.document_id))
        for each in taken
        if isinstance(each.outcome, Document)
    ]
    await rooms.ledger.record(caller.tenant_id, audit=events)


def _taken(taken: Taken) -> dict[str, Any]:
    """What became of one of several, with the status that it alone would have been answered."""
    if isinstance(taken.outcome, Document):
        status = 202 if taken.added else 200
        return {"path": taken.source, "status": status, "document": _item(taken.outcome)}
    problem = problem_of(taken.outcome)
    return {"path": taken.source, "status": problem.status, "problem": problem.document()}


def _waits(upload: Upload, wait: bool | None, prefer: str) -> bool:
    """Whether the caller gets the document ready: as it says, else when the file is small."""
    if wait is not None:
        return wait
    return "respond-async" not in prefer and len(upload.data) <= WAITED_FOR_BYTES


@router.post("/v1/documents/{document_id}/retry", response_model=None, status_code=202)
@needs(Scope.DOCUMENTS_WRITE)
async def retry_document(document_id: JsonUUID, caller: Caller, rooms: Rooms) -> Response:
    """Read a document again that failed: 202; any other stays as it is: 200."""
    wanted = DocumentId(document_id)
    event = rooms.event(caller, "document.retry", str(document_id))
    queued = await rooms.ingestor.jobs.retry(caller.tenant_id, wanted, event)
    rooms.ingestor.wake()
    document = await rooms.documents.get(caller.tenant_id, wanted)
    return reply(_item(document), 202 if queued else 200)


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
    return reply_page(page, _item)


@router.get("/v1/documents/{document_id}", response_model=None)
@needs(Scope.DOCUMENTS_READ)
async def get_document(
    document_id: JsonUUID, caller: Caller, rooms: Rooms, corpus: OfCorpus = None
) -> Response:
    """One document."""
    of = await rooms.owner(caller, corpus)
    return reply(_item(await rooms.documents.get(of, DocumentId(document_id))))


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


def _item(document: Document) -> dict[str, Any]:
    item: dict[str, Any] = {
        "document_id": document.document_id,
        "title": document.title,
        "media_type": document.media_type,
        "bytes": document.size,
        "passages": document.passages,
        "status": document.status,
        "created_at": utc(document.created_at),
    }
    if document.metadata:
        item["metadata"] = document.metadata
    if document.status in UNDER_WAY:
        item["progress"] = {"done": document.done, "total": document.total}
    return item if document.error is None else {**item, "error": document.error}
