"""What no request of a small tenant's makes: a document in the reading, and lists of words."""

import hashlib
from datetime import UTC, datetime
from uuid import uuid4

from psycopg.errors import InsufficientPrivilege

from server.verification.rivals import Rival
from server.verification.world import World
from storage.document_rows import document_row, place_of
from storage.postgres import TenantConnection
from storage.queries import query
from tenancy.document import Document, DocumentStatus, NewPassage
from tenancy.ids import DocumentId, PassageId, SubjectId


async def plant_unread(here: World, rival: Rival) -> None:
    """Store a document that nobody is told to read, and list the words of those that were read."""
    document_id, content = DocumentId(uuid4()), rival.canary("upload").encode()
    document = Document(
        document_id=document_id,
        title=rival.canary("title of an upload"),
        media_type="text/plain",
        size=len(content),
        sha256=hashlib.sha256(content).digest(),
        passages=0,
        status=DocumentStatus.QUEUED,
        created_at=datetime.now(UTC),
        url=f"https://example.com/{rival.canary('address of an upload')}",
    )
    row = document_row(document, SubjectId("verify"), here.services.models.embedder.model)
    name = f"{rival.canary('name of an upload')}.txt"
    upload = {"name": name, "title": None, "media_type": None, "content": content}
    staged = NewPassage(PassageId(uuid4()), 0, rival.canary("staged passage"), ())
    of = {"document_id": document_id}
    try:
        async with here.services.cells.first.as_tenant(rival.tenant_id) as conn:
            await conn.execute(query("add_document"), row)
            await conn.execute(query("add_upload"), of | upload)
            await conn.execute(query("stage_passages"), of | place_of([staged]))
            await conn.execute(query("list_words"), {"anew": True})
            await _plant_vectors(here, conn, rival)
    except InsufficientPrivilege:
        here.observer.found("table documents", "a tenant may not store what is its own")


async def _plant_vectors(here: World, conn: TenantConnection, rival: Rival) -> None:
    """Store a vector of a model to come, by the name of which it is recognised."""
    model = {"former": here.services.models.embedder.model, "model": rival.canary("next model")}
    for row in await conn.fetch(
        query("list_unrenewed_passages"), {**model, "after": None, "limit": 1}
    ):
        vector = {"ids": [row["id"]], "vectors": ["[1]"]}
        await conn.execute(query("keep_next_passages"), {**model, **vector})
