"""What is answered to a file: the document it becomes, or what became of each of several."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fastapi import Response

from knowledge.archive import is_archive
from server.intake import take_in, take_in_archive
from server.problems import problem_of
from server.routes.wire import reply, utc
from server.services import Services
from tenancy.document import Document, DocumentStatus, Taken, Upload
from tenancy.errors import Invalid
from tenancy.ids import DocumentId
from tenancy.principal import Principal
from tenancy.search_filter import Metadata
from tenancy.tenant import Tenant

WAITED_FOR_BYTES = 200_000  # seconds of reading: longer than anybody waits for an answer
UNDER_WAY = (DocumentStatus.QUEUED, DocumentStatus.READING, DocumentStatus.EMBEDDING)


async def answer(
    upload: Upload,
    tenant: Tenant,
    caller: Principal,
    rooms: Services,
    *,
    described: Metadata | None,
    waits: bool,
) -> Response:
    """Take a file in: 201 or 202 for a new document, 200 for one that is there, 207 for several."""
    if is_archive(upload):
        return await _add_archive(upload, tenant, caller, rooms, described)
    document, added = await take_in(rooms, tenant, caller.subject_id, upload, waits=waits)
    if described is not None:
        await rooms.documents.describe(tenant.tenant_id, [document.document_id], described)
        document = replace(document, metadata=described)
    event = rooms.event(caller, "document.add", str(document.document_id))
    await rooms.ledger.record(tenant.tenant_id, audit=[event])
    return reply(item_of(document), (201 if waits else 202) if added else 200)


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
    events = [rooms.event(caller, "document.add", str(each)) for each in _ids(taken)]
    await rooms.ledger.record(tenant.tenant_id, audit=events)
    return await answer_each(taken, tenant, rooms, described)


async def answer_each(
    taken: Sequence[Taken], tenant: Tenant, rooms: Services, described: Metadata | None
) -> Response:
    """What became of each of several: 207."""
    if described is not None:
        await rooms.documents.describe(tenant.tenant_id, _ids(taken), described)
    return reply({"items": [_taken(each) for each in taken]}, 207)


def _ids(taken: Sequence[Taken]) -> list[DocumentId]:
    return [each.outcome.document_id for each in taken if isinstance(each.outcome, Document)]


def _taken(taken: Taken) -> dict[str, Any]:
    """What became of one of several, with the status that it alone would have been answered."""
    if isinstance(taken.outcome, Document):
        status = 202 if taken.added else 200
        return {"path": taken.source, "status": status, "document": item_of(taken.outcome)}
    problem = problem_of(taken.outcome)
    return {"path": taken.source, "status": problem.status, "problem": problem.document()}


def waits_for(upload: Upload, wait: bool | None, prefer: str) -> bool:
    """Whether the caller gets the document ready: as it says, else when the file is small."""
    if wait is not None:
        return wait
    return "respond-async" not in prefer and len(upload.data) <= WAITED_FOR_BYTES


def item_of(document: Document) -> dict[str, Any]:
    """A document, as it is told everywhere."""
    item: dict[str, Any] = {
        "document_id": document.document_id,
        "title": document.title,
        "media_type": document.media_type,
        "bytes": document.size,
        "passages": document.passages,
        "status": document.status,
        "created_at": utc(document.created_at),
    }
    if document.url is not None:
        item["url"] = document.url
    if document.metadata:
        item["metadata"] = document.metadata
    if document.status in UNDER_WAY:
        item["progress"] = {"done": document.done, "total": document.total}
    return item if document.error is None else {**item, "error": document.error}
