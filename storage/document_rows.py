"""Documents and passages as rows: what goes into a statement, and what comes out of one."""

from collections.abc import Sequence
from typing import Any

import orjson

from storage.postgres import Row
from storage.vectors import vector_text
from tenancy.document import (
    Document,
    DocumentStatus,
    Neighbour,
    NewPassage,
    Passage,
    PlacedPassage,
    Reasons,
    Upload,
)
from tenancy.ids import DocumentId, PassageId, SubjectId, TenantId
from tenancy.search_filter import Condition, SearchFilter
from tenancy.text import clean


def document_row(document: Document, subject_id: SubjectId, embedding_model: str) -> dict[str, Any]:
    """A document as `add_document` takes it."""
    return {
        "document_id": document.document_id,
        "subject_id": subject_id,
        "title": document.title,
        "media_type": document.media_type,
        "size": document.size,
        "sha256": document.sha256,
        "passages": document.passages,
        "embedding_model": embedding_model,
        "status": document.status,
        "created_at": document.created_at,
        "url": document.url,
    }


def upload_row(document_id: DocumentId, upload: Upload) -> dict[str, Any]:
    """A file as `add_upload` takes it: its sender names it, and its type, as they like."""
    return {
        "document_id": document_id,
        "name": clean(upload.name),
        "title": upload.title,
        "media_type": upload.media_type and clean(upload.media_type),
        "content": upload.data,
    }


def passage_rows(
    document_id: DocumentId, passages: Sequence[NewPassage], embedding_model: str
) -> dict[str, Any]:
    """Passages of a document as `add_passages` takes them."""
    return {
        "document_id": document_id,
        "embedding_model": embedding_model,
        "vectors": [vector_text(p.vector) for p in passages],
        **place_of(passages),
    }


def place_of(passages: Sequence[NewPassage]) -> dict[str, Any]:
    """Columns of passages: what they say and where they stand."""
    return {
        "ids": [p.passage_id for p in passages],
        "ordinals": [p.ordinal for p in passages],
        "bodies": [p.text for p in passages],
        "paths": [orjson.dumps(list(p.path)).decode() for p in passages],  # no array of arrays
        "pages": [p.page for p in passages],
        "starts": [p.start for p in passages],
        "ends": [p.end for p in passages],
    }


def document_of(row: Row) -> Document:
    """A document, as any statement that lists some tells it."""
    return Document(
        document_id=DocumentId(row["document_id"]),
        title=row["title"],
        media_type=row["media_type"],
        size=row["size"],
        sha256=row["sha256"],
        passages=row["passages"],
        status=DocumentStatus(row["status"]),
        created_at=row["created_at"],
        error=row["error"],
        done=row["passages_done"],
        total=row["passages_total"],
        metadata=row["metadata"],
        url=row["url"],
    )


def placed_of(row: Row) -> PlacedPassage:
    """A passage, as `list_passages` tells it."""
    return PlacedPassage(
        passage_id=PassageId(row["passage_id"]),
        ordinal=row["ordinal"],
        path=tuple(row["path"]),
        page=row["page"],
        start=row["start_offset"],
        end=row["end_offset"],
        text=row["body"],
    )


def passage_of(row: Row) -> Passage:
    """A passage, as a search tells it."""
    return Passage(
        tenant_id=TenantId(row["tenant_id"]),
        passage_id=PassageId(row["passage_id"]),
        document_id=DocumentId(row["document_id"]),
        title=row["title"],
        text=row["body"],
        score=row["score"],
        path=tuple(row["path"]),
        page=row["page"],
        start=row["start_offset"],
        end=row["end_offset"],
        ordinal=row["ordinal"],
        reasons=Reasons(row["distance"], row["distance_rank"], row["word_score"], row["word_rank"]),
    )


def neighbour_of(row: Row) -> Neighbour:
    """A passage, as `list_neighbours` tells it."""
    return Neighbour(
        TenantId(row["tenant_id"]),
        DocumentId(row["document_id"]),
        PassageId(row["passage_id"]),
        row["ordinal"],
        row["body"],
    )


def filter_text(within: SearchFilter) -> str:
    """A filter as `search_passages` takes it."""
    parts = {
        "document_ids": within.document_ids,
        "media_types": within.media_types,
        "created_from": within.created_from,
        "created_before": within.created_before,
        "metadata": [_condition(each) for each in within.metadata],
    }
    return orjson.dumps({name: part for name, part in parts.items() if part is not None}).decode()


def _condition(of: Condition) -> dict[str, Any]:
    if of.present is None:
        return {"key": of.name, "any_of": of.any_of}
    return {"key": of.name, "present": of.present}
