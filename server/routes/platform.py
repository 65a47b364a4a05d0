"""What operators do across tenants: never a message, a document or a secret."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import Field

from server.access import ScopedRoute, needs
from server.hot_copies import drop_hot
from server.key_sets import require_keys
from server.routes.wire import LIMIT, Body, Caller, Limit, Rooms, Text, reply, utc
from server.services import Services
from storage.postgres import Row
from tenancy.audit import Outcome
from tenancy.credentials import Issuer
from tenancy.errors import Invalid
from tenancy.ids import TenantId, parse_issuer_url, parse_subject_id, parse_tenant_id
from tenancy.principal import Principal, Scope
from tenancy.tenant import TenantStatus
from tenancy.token_rules import parse_token_rules
from tenancy.usage import Noise

router = APIRouter(route_class=ScopedRoute, tags=["operator"])

After = Annotated[str | None, Query(max_length=512, description="The last id of the page before.")]
Name = Annotated[Text, Field(max_length=63)]

MAX_MINUTES = 24 * 60
NOISIEST = 20  # of thousands: those that an operator can look at


class IssuerBody(Body):
    """An issuer: its keys or where they are, and for which tenants it speaks."""

    url: Text
    audience: Text | None = None
    jwks: dict[str, Any] | None = None
    jwks_url: Text | None = None
    tenants: list[Name] = Field(default_factory=list, max_length=10_000)
    any_tenant: bool = False
    platform: bool = False
    rules: dict[str, Any] = Field(default_factory=dict)


class RevocationBody(Body):
    """One token (`issuer` and `token_id`), one subject, or with `everyone` a whole tenant."""

    tenant: Name
    subject: Text | None = None
    issuer: Text | None = None
    token_id: Text | None = None
    everyone: bool = False


@router.get("/v1/tenants", response_model=None)
@needs(Scope.PLATFORM)
async def list_tenants(rooms: Rooms, limit: Limit = LIMIT, cursor: After = None) -> Response:
    """All tenants, by id."""
    after = None if cursor is None else parse_tenant_id(cursor, "cursor")
    return _page(await rooms.platform.tenants(after, limit + 1), limit, "tenant_id")


@router.get("/v1/tenants/{tenant_id}", response_model=None)
@needs(Scope.PLATFORM)
async def get_tenant(tenant_id: str, rooms: Rooms) -> Response:
    """One tenant."""
    return reply(_item(await rooms.platform.tenant(parse_tenant_id(tenant_id))))


@router.post("/v1/tenants/{tenant_id}/suspend", response_model=None)
@needs(Scope.PLATFORM)
async def suspend_tenant(tenant_id: str, caller: Caller, rooms: Rooms) -> Response:
    """Refuse a tenant's credentials within a second, end its runs, drop its copies in Redis."""
    return await _set_status(tenant_id, TenantStatus.SUSPENDED, caller, rooms)


@router.post("/v1/tenants/{tenant_id}/resume", response_model=None)
@needs(Scope.PLATFORM)
async def resume_tenant(tenant_id: str, caller: Caller, rooms: Rooms) -> Response:
    """Serve a suspended tenant again."""
    return await _set_status(tenant_id, TenantStatus.ACTIVE, caller, rooms)


@router.get("/v1/issuers", response_model=None)
@needs(Scope.PLATFORM)
async def list_issuers(rooms: Rooms, limit: Limit = LIMIT, cursor: After = None) -> Response:
    """The issuers whose tokens are accepted, by URL."""
    after = None if cursor is None else parse_issuer_url(cursor, "cursor")
    return _page(await rooms.platform.issuers(after, limit + 1), limit, "url")


@router.post("/v1/issuers", response_model=None, status_code=201)
@needs(Scope.PLATFORM)
async def put_issuer(body: IssuerBody, caller: Caller, rooms: Rooms) -> Response:
    """Register an issuer, or replace it, once its keys were seen to be good."""
    issuer = await _issuer(body, rooms)
    await require_keys(issuer)
    await rooms.platform.put_issuer(issuer)
    await audit(rooms, caller, caller.tenant_id, "issuer.put", issuer.url)
    tenants = None if issuer.tenants is None else sorted(issuer.tenants)
    return reply({"url": issuer.url, "audience": issuer.audience, "tenants": tenants}, 201)


@router.delete("/v1/issuers", response_model=None, status_code=204)
@needs(Scope.PLATFORM)
async def remove_issuer(
    url: Annotated[str, Query(max_length=512)], caller: Caller, rooms: Rooms
) -> Response:
    """Refuse an issuer's tokens from now on."""
    await rooms.platform.remove_issuer(parse_issuer_url(url))
    await audit(rooms, caller, caller.tenant_id, "issuer.remove", url)
    return Response(status_code=204)


@router.get("/v1/revocations", response_model=None)
@needs(Scope.PLATFORM)
async def list_revocations(tenant: Annotated[str, Query(max_length=63)], rooms: Rooms) -> Response:
    """What was revoked of a tenant."""
    found = await rooms.platform.tenant(parse_tenant_id(tenant, "tenant"))
    rows = await rooms.platform.revocations(found["tenant_id"])
    items = [{**row, "revoked_at": utc(row["revoked_at"])} for row in rows]
    return reply({"items": items, "next_cursor": None})


@router.post("/v1/revocations", response_model=None, status_code=201)
@needs(Scope.PLATFORM)
async def revoke(body: RevocationBody, caller: Caller, rooms: Rooms) -> Response:
    """End credentials before they expire; runs in flight end too, within a second."""
    tenant_id, subject, issuer, token_id = _revoked(body)
    at = await rooms.platform.revoke(tenant_id, subject, issuer, token_id)
    what = f"token:{token_id}" if token_id else f"subject:{subject}" if subject else "tenant"
    await audit(rooms, caller, tenant_id, "credentials.revoke", what)
    said = {"tenant_id": tenant_id, "subject": subject, "issuer": issuer, "token_id": token_id}
    return reply({**said, "revoked_at": utc(at)}, 201)


@router.get("/v1/noisiest", response_model=None)
@needs(Scope.PLATFORM)
async def list_noisiest(
    rooms: Rooms,
    minutes: Annotated[int, Query(ge=1, le=MAX_MINUTES)] = 5,
    limit: Limit = NOISIEST,
    by: Noise = Noise.TOKENS,
) -> Response:
    """What tenants did in the last minutes, most of `by` first."""
    until = datetime.now(UTC)
    since = until - timedelta(minutes=minutes)
    items = await rooms.platform.noisiest(since, by, limit)
    return reply({"from": since, "to": until, "items": items, "next_cursor": None})


async def _set_status(
    name: str, status: TenantStatus, caller: Principal, rooms: Services
) -> Response:
    tenant_id = parse_tenant_id(name)
    row = await rooms.platform.set_status(tenant_id, status)
    if status is TenantStatus.SUSPENDED:
        await drop_hot(rooms.cells.for_tenant(tenant_id).redis, tenant_id)
    await audit(rooms, caller, row["tenant_id"], "tenant.set_status", status)
    return reply(_item(row))


async def audit(
    rooms: Services,
    caller: Principal,
    tenant_id: TenantId,
    action: str,
    resource: str,
    **attributes: str | int,
) -> None:
    """Record in the audit of the tenant it is about, which may know who did it."""
    event = rooms.event(caller, action, resource, Outcome.ALLOWED, **attributes)
    await rooms.ledger.record(tenant_id, audit=[event])


async def _issuer(body: IssuerBody, rooms: Services) -> Issuer:
    """The issuer that a body describes; raises `Invalid`."""
    if (body.jwks is None) == (body.jwks_url is None):
        raise Invalid("jwks", "or jwks_url is needed, and not both")
    rules = parse_token_rules(body.rules)
    named = {parse_tenant_id(each, "tenants") for each in body.tenants} | {*rules.tenants.values()}
    if bool(named) == body.any_tenant:
        raise Invalid("tenants", "or rules.tenants or any_tenant is needed, and not both")
    for tenant_id in named:
        if await rooms.directory.tenant(tenant_id) is None:
            raise Invalid("tenants", f"{tenant_id} is no tenant")
    return Issuer(
        url=parse_issuer_url(body.url),
        audience=body.audience or rooms.audience,
        jwks=body.jwks or {},
        tenants=None if body.any_tenant else frozenset(named),
        platform=body.platform,
        jwks_url=body.jwks_url,
        rules=rules,
    )


def _revoked(body: RevocationBody) -> tuple[TenantId, str, str, str]:
    """The tenant, subject, issuer and token id that a body names; '' for what it does not."""
    if (body.issuer is None) != (body.token_id is None):
        raise Invalid("issuer", "and token_id go together")
    if [body.everyone, body.subject is not None, body.token_id is not None].count(True) != 1:
        raise Invalid("everyone", "or subject or issuer with token_id is needed, and one of them")
    named = {"subject": body.subject, "issuer": body.issuer, "token_id": body.token_id}
    subject, issuer, token_id = (
        "" if text is None else parse_subject_id(text, field) for field, text in named.items()
    )
    return parse_tenant_id(body.tenant, "tenant"), subject, issuer, token_id


def _page(rows: list[Row], limit: int, key: str) -> Response:
    """A page whose cursor is the last key: ids and URLs of the platform are no secret here."""
    shown = [_item(row) for row in rows[:limit]]
    more = len(rows) > limit
    return reply({"items": shown, "next_cursor": shown[-1][key] if more else None})


def _item(row: Row) -> dict[str, Any]:
    return {**row, "created_at": utc(row["created_at"])}
