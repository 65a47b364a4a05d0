"""What comes in, from wherever, becomes a tenant's documents within its plan."""

from server.services import Services
from tenancy.document import Document, Upload
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
