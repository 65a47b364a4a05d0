"""What operators say of assistants: for all tenants, for those of a plan, and whole assistants."""

from typing import Any

from fastapi import APIRouter, Response

from server.access import ScopedRoute, needs
from server.routes.assistants import Draft, Fields
from server.routes.platform import audit
from server.routes.wire import Body, Caller, Rooms, Text, reply, utc
from storage.postgres import Row
from tenancy.assistant import parse_content, parse_slug
from tenancy.ids import parse_plan_id
from tenancy.personalisation import Source, parse_said
from tenancy.principal import Scope

router = APIRouter(route_class=ScopedRoute, tags=["operator"])


class ProfileBody(Body):
    """What is said of all assistants, or of those of a plan, in place of what was said before."""

    plan: Text | None = None
    says: Fields


@router.get("/v1/universal/profiles", response_model=None)
@needs(Scope.PLATFORM)
async def list_profiles(rooms: Rooms) -> Response:
    """What the deployment says of assistants: of all, and by plan."""
    items = [_profile_item(**row) for row in await rooms.platform.profiles()]
    return reply({"items": items, "next_cursor": None})


@router.put("/v1/universal/profiles", response_model=None)
@needs(Scope.PLATFORM)
async def put_universal_profile(body: ProfileBody, caller: Caller, rooms: Rooms) -> Response:
    """Replace what is said of all assistants, or of a plan's; it acts within a second."""
    name = "" if body.plan is None else parse_plan_id(body.plan, "plan")
    says = parse_said(Source.PLAN if name else Source.PLATFORM, body.says)
    await rooms.platform.put_profile(name, says)
    await audit(rooms, caller, caller.tenant_id, "profile.put", name, fields=",".join(says))
    return reply(_profile_item(name, says))


@router.get("/v1/universal/assistants", response_model=None)
@needs(Scope.PLATFORM)
async def list_universal_assistants(rooms: Rooms) -> Response:
    """The assistants that every tenant sees, by slug."""
    items = [_assistant_item(row) for row in await rooms.platform.universal_assistants()]
    return reply({"items": items, "next_cursor": None})


@router.put("/v1/universal/assistants/{slug}", response_model=None)
@needs(Scope.PLATFORM)
async def put_universal_assistant(slug: str, body: Draft, caller: Caller, rooms: Rooms) -> Response:
    """Make one, or change it: its version grows, and it acts within a second."""
    named, content = parse_slug(slug), parse_content(body.content)
    version = await rooms.platform.put_universal_assistant(named, content)
    await audit(rooms, caller, caller.tenant_id, "assistant.put", named, version=version)
    return reply({"slug": named, "version": version, "content": content})


@router.delete("/v1/universal/assistants/{slug}", response_model=None, status_code=204)
@needs(Scope.PLATFORM)
async def remove_universal_assistant(slug: str, caller: Caller, rooms: Rooms) -> Response:
    """Remove one: threads go on with another, or with the default one."""
    named = parse_slug(slug)
    await rooms.platform.remove_universal_assistant(named)
    await audit(rooms, caller, caller.tenant_id, "assistant.remove", named)
    return Response(status_code=204)


def _profile_item(name: str, says: dict[str, Any]) -> dict[str, Any]:
    return {"plan": name or None, "says": says}


def _assistant_item(row: Row) -> dict[str, Any]:
    return {**row, "changed_at": utc(row["changed_at"])}
