"""API keys of the tenant, managed by its admins."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import Field

from server import api_keys
from server.access import ScopedRoute, needs
from server.auth import scopes_of_key
from server.routes.wire import (
    LIMIT,
    Body,
    Caller,
    Cursor,
    JsonUUID,
    Limit,
    Rooms,
    Text,
    reply,
    reply_page,
    utc,
)
from tenancy.credentials import ApiKey
from tenancy.errors import Forbidden, Invalid
from tenancy.ids import KeyId, parse_subject_id
from tenancy.page import Cursor as PageCursor
from tenancy.page import page_of, parse_cursor
from tenancy.principal import TENANT_SCOPES, Principal, Role, Scope

router = APIRouter(route_class=ScopedRoute, tags=["keys"])

MAX_TTL_SECONDS = 10 * 365 * 86_400
OVERLAP_SECONDS = 86_400  # a day to roll out the new key


class KeyBody(Body):
    """A new key. `scopes` narrow the role; for the role `service` they are what it may do."""

    subject: Text
    role: Annotated[Role, Field(strict=False)] = Role.MEMBER
    scopes: list[str] = Field(default_factory=list, max_length=32)
    ttl_seconds: Annotated[int, Field(ge=60, le=MAX_TTL_SECONDS)] | None = None


class RotationBody(Body):
    """How long the old key still holds; 0 ends it at once."""

    overlap_seconds: Annotated[int, Field(ge=0, le=MAX_TTL_SECONDS)] = OVERLAP_SECONDS


AT_LEISURE = RotationBody()


@router.post("/v1/keys", response_model=None, status_code=201)
@needs(Scope.KEYS_WRITE)
async def create_key(body: KeyBody, caller: Caller, rooms: Rooms) -> Response:
    """Make a key. Its text is in this answer and nowhere else."""
    key_id, text, digest = api_keys.mint()
    key = _key(body, key_id, caller)
    event = rooms.event(caller, "key.create", str(key_id), role=key.role)
    created = await rooms.keys.add(caller.tenant_id, key, digest, event)
    return reply({"key_id": key_id, "key": text, "created_at": utc(created)}, 201)


@router.get("/v1/keys", response_model=None)
@needs(Scope.KEYS_WRITE)
async def list_keys(
    caller: Caller, rooms: Rooms, limit: Limit = LIMIT, cursor: Cursor = None
) -> Response:
    """The tenant's keys, oldest first, revoked ones included."""
    keys = await rooms.keys.page(caller.tenant_id, parse_cursor(cursor), limit + 1)
    page = page_of(keys, limit, lambda key: PageCursor(key.created_at, key.key_id))
    return reply_page(page, key_item)


@router.post("/v1/keys/{key_id}/rotate", response_model=None, status_code=201)
@needs(Scope.KEYS_WRITE)
async def rotate_key(
    key_id: JsonUUID, caller: Caller, rooms: Rooms, body: RotationBody = AT_LEISURE
) -> Response:
    """Put a new key in the place of one that holds. Its text is in this answer and nowhere else."""
    old = await rooms.keys.key(caller.tenant_id, KeyId(key_id))
    _require_grantable(old, caller)
    new_id, text, digest = api_keys.mint()
    overlap = timedelta(seconds=body.overlap_seconds)
    event = rooms.event(caller, "key.rotate", str(key_id), replaced_by=str(new_id))
    done = await rooms.keys.rotate(caller.tenant_id, old.key_id, (new_id, digest), overlap, event)
    made = {"key_id": new_id, "key": text, "created_at": utc(done.created_at)}
    replaced = {"key_id": key_id, "expires_at": utc(done.old_expires_at)}
    return reply({**made, "expires_at": utc(done.expires_at), "replaced": replaced}, 201)


@router.delete("/v1/keys/{key_id}", response_model=None, status_code=204)
@needs(Scope.KEYS_WRITE)
async def revoke_key(key_id: JsonUUID, caller: Caller, rooms: Rooms) -> Response:
    """Revoke a key for good."""
    event = rooms.event(caller, "key.revoke", str(key_id))
    await rooms.keys.revoke(caller.tenant_id, KeyId(key_id), event)
    return Response(status_code=204)


def key_item(key: ApiKey) -> dict[str, Any]:
    """A key as it is listed: never its text."""
    return {
        "key_id": key.key_id,
        "subject": key.subject_id,
        "role": key.role,
        "scopes": sorted(key.scopes),
        "created_at": utc(key.created_at),
        "expires_at": utc(key.expires_at),
        "revoked_at": utc(key.revoked_at),
        "replaced_by": key.replaced_by,
        "last_used_at": utc(key.last_used_at),
    }


def _key(body: KeyBody, key_id: KeyId, caller: Principal) -> ApiKey:
    """The key asked for; raises `Forbidden` when it would hold more than who makes it."""
    if body.role is Role.OPERATOR:
        raise Invalid("role", "operator is no role inside a tenant")
    unknown = sorted(set(body.scopes) - {scope.value for scope in TENANT_SCOPES})
    if unknown:
        raise Invalid("scopes", f"{unknown[0]} is no scope of a tenant")
    now = datetime.now(UTC)
    ttl = body.ttl_seconds
    key = ApiKey(
        key_id=key_id,
        tenant_id=caller.tenant_id,
        subject_id=parse_subject_id(body.subject),
        role=body.role,
        scopes=tuple(body.scopes),
        created_at=now,
        expires_at=None if ttl is None else now + timedelta(seconds=ttl),
    )
    _require_grantable(key, caller)
    return key


def _require_grantable(key: ApiKey, caller: Principal) -> None:
    if not scopes_of_key(key) <= caller.scopes:
        raise Forbidden("A key cannot hold a scope that its maker lacks.")
