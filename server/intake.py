"""What comes in, from wherever, becomes a tenant's documents within its plan."""

import asyncio
from collections.abc import AsyncIterator

from knowledge.archive import Archive
from server.services import Services
from tenancy.document import Document, Taken, Upload
from tenancy.errors import Refusal
from tenancy.ids import SubjectId
from tenancy.tenant import Tenant


async def take_in(
    services: Services, tenant: Tenant, subject_id: SubjectId, upload: Upload, *, waits: bool
) -> tuple[Document, bool]:
    """The document of a file and whether it is new, within the tenant's plan.

    Ready when somebody `waits`, else queued. Raises what `Library.add` and `Ingestor.add` raise.
    """
    plan, of = tenant.plan, tenant.tenant_id
    room = {"max_documents": plan.documents, "max_bytes": plan.document_bytes}
    if not waits:
        return await services.ingestor.add(of, subject_id, upload, **room)
    return await services.library.add(
        of, subject_id, upload, **room, max_pages=plan.pages_per_document
    )


async def take_in_archive(
    services: Services, tenant: Tenant, subject_id: SubjectId, upload: Upload, *, waits: bool
) -> AsyncIterator[Taken]:
    """What becomes of each file of an archive, one after the other.

    Raises what `Archive` raises, before the first.
    """
    archive = await asyncio.to_thread(Archive, upload.data)
    for member in archive.members:
        try:
            file = await asyncio.to_thread(archive.take, member)
            document, added = await take_in(services, tenant, subject_id, file, waits=waits)
        except Refusal as refusal:
            yield Taken(member.path, refusal)
        else:
            yield Taken(member.path, document, added)
