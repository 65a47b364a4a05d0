"""What a tenant says of all its assistants, and what its users prefer."""

from fastapi import APIRouter, Response

from server.access import ScopedRoute, needs
from server.routes.assistants import Fields
from server.routes.wire import Body, Caller, Rooms, reply
from tenancy.personalisation import Source, parse_said, sound
from tenancy.principal import Scope

router = APIRouter(route_class=ScopedRoute, tags=["assistants"])


class Says(Body):
    """Fields with their values, in place of all that was said before."""

    says: Fields


@router.get("/v1/profile", response_model=None)
@needs(Scope.SETTINGS_WRITE)
async def get_profile(caller: Caller, rooms: Rooms) -> Response:
    """What the tenant says of all its assistants."""
    tenant = await rooms.tenant(caller)
    return reply({"says": sound(Source.TENANT, tenant.preferences)})


@router.put("/v1/profile", response_model=None)
@needs(Scope.SETTINGS_WRITE)
async def put_profile(body: Says, caller: Caller, rooms: Rooms) -> Response:
    """Replace what the tenant says; it acts within a second."""
    says = parse_said(Source.TENANT, body.says)
    event = rooms.event(caller, "profile.put", "", fields=",".join(says))
    await rooms.personalities.assistants.put_profile(caller.tenant_id, says, event)
    return reply({"says": says})


@router.get("/v1/preferences", response_model=None)
@needs(Scope.THREADS_READ)
async def get_preferences(caller: Caller, rooms: Rooms) -> Response:
    """What the caller prefers."""
    stored = rooms.personalities.assistants
    says = await stored.preferences(caller.tenant_id, caller.subject_id)
    return reply({"says": sound(Source.USER, says)})


@router.put("/v1/preferences", response_model=None)
@needs(Scope.CHAT)
async def put_preferences(body: Says, caller: Caller, rooms: Rooms) -> Response:
    """Replace what the caller prefers."""
    says = parse_said(Source.USER, body.says)
    event = rooms.event(caller, "preferences.put", "", fields=",".join(says))
    await rooms.personalities.assistants.put_preferences(
        caller.tenant_id, caller.subject_id, says, event
    )
    return reply({"says": says})
