"""Documents from the web: a page or file, or the pages of a sitemap."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from pydantic import Field

from server.access import ScopedRoute, needs
from server.routes.taking_in import answer, answer_each, waits_for
from server.routes.wire import Body, Caller, Rooms, Text, Title
from server.services import Services
from tenancy.errors import Invalid
from tenancy.principal import Principal, Scope
from tenancy.search_filter import Metadata, parse_metadata
from tenancy.tenant import Tenant
from tools.egress import MAX_URL_CHARACTERS

router = APIRouter(route_class=ScopedRoute, tags=["documents"])

Address = Annotated[Text, Field(max_length=MAX_URL_CHARACTERS)]


class Fetch(Body):
    """What to fetch, an address or a sitemap, and the metadata it is to have."""

    url: Address | None = None
    sitemap: Address | None = None
    title: Title | None = None
    metadata: dict[str, Any] | None = None


@router.post("/v1/documents/fetch", response_model=None, status_code=201)
@needs(Scope.DOCUMENTS_WRITE)
async def fetch_document(
    body: Fetch,
    caller: Caller,
    rooms: Rooms,
    *,
    wait: Annotated[bool | None, Query()] = None,
    prefer: Annotated[str, Header()] = "",
) -> Response:
    """Fetch a public page or file, and take it in as if it had been sent.

    Of a `sitemap` every page is fetched in the background: 207 with what became of each.
    """
    described = None if body.metadata is None else parse_metadata(body.metadata)
    tenant = await rooms.tenant(caller)
    if body.sitemap is not None:
        return await _take_site_in(body, tenant, caller, rooms, described)
    if body.url is None:
        raise Invalid("url", "is missing: name a page by url, or a sitemap")
    async with rooms.in_hand.turn(tenant.tenant_id):
        fetched = await rooms.web.fetch(tenant.tenant_id, body.url)
        upload = replace(fetched, title=body.title or None)
        waits = waits_for(upload, wait, prefer)
        return await answer(upload, tenant, caller, rooms, described=described, waits=waits)


async def _take_site_in(
    body: Fetch, tenant: Tenant, caller: Principal, rooms: Services, described: Metadata | None
) -> Response:
    if body.url is not None:
        raise Invalid("url", "is for one page, and a sitemap is several")
    if body.title:
        raise Invalid("title", "is for one page, and a sitemap is several")
    taken = await rooms.site_pages.add(
        tenant,
        caller.subject_id,
        str(body.sitemap),
        lambda document_id: rooms.event(caller, "document.add", str(document_id)),
    )
    return await answer_each(taken, tenant, rooms, described)
