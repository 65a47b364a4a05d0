"""Assistants: drafts that become versions, of which one is in use."""

from dataclasses import asdict
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Query, Response
from pydantic import Field

from graph.nodes.retrieve import PASSAGES
from server.access import ScopedRoute, needs
from server.routes.wire import LIMIT, Body, Caller, Cursor, JsonUUID, Limit, Rooms, Text, reply, utc
from server.services import Services
from storage.assistants import Change
from tenancy.assistant import (
    DESCRIBED,
    MAX_VERSIONS,
    Assistant,
    Chosen,
    Content,
    Version,
    changes,
    parse_content,
    parse_slug,
    require_tools,
)
from tenancy.errors import Invalid
from tenancy.ids import MAX_SUBJECT_CHARACTERS, AssistantId, parse_subject_id
from tenancy.page import Cursor as PageCursor
from tenancy.page import page_of, parse_cursor
from tenancy.personalisation import Layer, Source, resolve
from tenancy.principal import Principal, Scope
from tenancy.tenant import Tenant

router = APIRouter(route_class=ScopedRoute, tags=["assistants"])

Fields = Annotated[dict[Text, Any], Field(max_length=40)]
VersionNumber = Annotated[int, Field(ge=1, le=MAX_VERSIONS)]
User = Annotated[str | None, Query(max_length=MAX_SUBJECT_CHARACTERS)]


class NewAssistant(Body):
    """An assistant's slug, and its first draft."""

    slug: Text
    content: Fields = Field(default_factory=dict)


class Draft(Body):
    """Fields with their values; null says nothing."""

    content: Fields


class RollBack(Body):
    """A version of before."""

    version: VersionNumber


@router.post("/v1/assistants", response_model=None, status_code=201)
@needs(Scope.SETTINGS_WRITE)
async def create_assistant(body: NewAssistant, caller: Caller, rooms: Rooms) -> Response:
    """Make an assistant: a draft, until it is published."""
    slug, parse = parse_slug(body.slug), await _parser(caller, rooms)
    assistant_id = AssistantId(uuid4())
    event = rooms.event(caller, "assistant.create", str(assistant_id))
    stored = rooms.personalities.assistants
    made = await stored.add(caller.tenant_id, assistant_id, slug, parse(body.content), event)
    return reply(_item(made), 201)


@router.get("/v1/assistants", response_model=None)
@needs(Scope.THREADS_READ)
async def list_assistants(
    caller: Caller, rooms: Rooms, limit: Limit = LIMIT, cursor: Cursor = None
) -> Response:
    """The tenant's assistants, newest first; on the first page, those that every tenant sees."""
    stored = rooms.personalities.assistants
    found = await stored.page(caller.tenant_id, parse_cursor(cursor), limit + 1)
    page = page_of(found, limit, lambda each: PageCursor(each.created_at, each.assistant_id))
    drafts = Scope.SETTINGS_WRITE in caller.scopes
    items = [_item(each, drafts=drafts) for each in page.items if drafts or each.published]
    universal = {} if cursor else (await rooms.control.profiles()).assistants
    items += [_universal_item(universal[slug]) for slug in sorted(universal)]
    return reply({"items": items, "next_cursor": page.next_cursor})


@router.get("/v1/assistants/{assistant_id}", response_model=None)
@needs(Scope.SETTINGS_WRITE)
async def get_assistant(assistant_id: JsonUUID, caller: Caller, rooms: Rooms) -> Response:
    """One assistant with its draft and what is in use of it."""
    stored, named = rooms.personalities.assistants, AssistantId(assistant_id)
    return reply(_item(await stored.get(caller.tenant_id, named)))


@router.patch("/v1/assistants/{assistant_id}", response_model=None)
@needs(Scope.SETTINGS_WRITE)
async def change_assistant(
    assistant_id: JsonUUID, body: Draft, caller: Caller, rooms: Rooms
) -> Response:
    """Change fields of the draft; null takes one back."""
    parse = await _parser(caller, rooms)
    named = AssistantId(assistant_id)
    return await _draft(named, lambda draft: parse({**draft, **body.content}), caller, rooms)


@router.put("/v1/assistants/{assistant_id}/draft", response_model=None)
@needs(Scope.SETTINGS_WRITE)
async def put_draft(assistant_id: JsonUUID, body: Draft, caller: Caller, rooms: Rooms) -> Response:
    """Replace the draft: what is not said any more is gone."""
    parse = await _parser(caller, rooms)
    named = AssistantId(assistant_id)
    return await _draft(named, lambda _: parse(body.content), caller, rooms)


@router.post("/v1/assistants/{assistant_id}/publish", response_model=None)
@needs(Scope.SETTINGS_WRITE)
async def publish_assistant(assistant_id: JsonUUID, caller: Caller, rooms: Rooms) -> Response:
    """Make the draft the next version and put it into use."""
    stored, named = rooms.personalities.assistants, AssistantId(assistant_id)
    check, event = (
        await _parser(caller, rooms),
        rooms.event(caller, "assistant.publish", str(named)),
    )
    subject_id = caller.subject_id
    return reply(_item(await stored.publish(caller.tenant_id, named, subject_id, check, event)))


@router.post("/v1/assistants/{assistant_id}/rollback", response_model=None)
@needs(Scope.SETTINGS_WRITE)
async def roll_back_assistant(
    assistant_id: JsonUUID, body: RollBack, caller: Caller, rooms: Rooms
) -> Response:
    """Put a version of before into use; the draft stays."""
    stored, named = rooms.personalities.assistants, AssistantId(assistant_id)
    event = rooms.event(caller, "assistant.roll_back", str(named), version=body.version)
    return reply(_item(await stored.roll_back(caller.tenant_id, named, body.version, event)))


@router.get("/v1/assistants/{assistant_id}/versions", response_model=None)
@needs(Scope.SETTINGS_WRITE)
async def list_versions(
    assistant_id: JsonUUID,
    caller: Caller,
    rooms: Rooms,
    limit: Limit = LIMIT,
    before: Annotated[int | None, Query(ge=1, le=MAX_VERSIONS + 1)] = None,
) -> Response:
    """What was published, newest first; `before` a version, for the next page."""
    stored, named = rooms.personalities.assistants, AssistantId(assistant_id)
    found = await stored.versions(caller.tenant_id, named, before, limit + 1)
    more = len(found) > limit
    items = [_version_item(each) for each in found[:limit]]
    return reply({"items": items, "next_cursor": str(items[-1]["version"]) if more else None})


@router.get("/v1/assistants/{assistant_id}/diff", response_model=None)
@needs(Scope.SETTINGS_WRITE)
async def diff_versions(
    assistant_id: JsonUUID,
    caller: Caller,
    rooms: Rooms,
    before: Annotated[int, Query(alias="from", ge=1, le=MAX_VERSIONS)] = 1,
    after: Annotated[int | None, Query(alias="to", ge=1, le=MAX_VERSIONS)] = None,
) -> Response:
    """What differs between two versions, or between one and the draft."""
    stored, named = rooms.personalities.assistants, AssistantId(assistant_id)
    old = (await stored.version(caller.tenant_id, named, before)).content
    new: Content
    if after is None:
        new = (await stored.get(caller.tenant_id, named)).draft
    else:
        new = (await stored.version(caller.tenant_id, named, after)).content
    items = [{"field": c.field, "from": c.before, "to": c.after} for c in changes(old, new)]
    return reply({"items": items, "next_cursor": None})


@router.delete("/v1/assistants/{assistant_id}", response_model=None, status_code=204)
@needs(Scope.SETTINGS_WRITE)
async def delete_assistant(assistant_id: JsonUUID, caller: Caller, rooms: Rooms) -> Response:
    """Delete an assistant with its versions; threads go on with another or the default one."""
    named = AssistantId(assistant_id)
    event = rooms.event(caller, "assistant.delete", str(named))
    await rooms.personalities.assistants.delete(caller.tenant_id, named, event)
    return Response(status_code=204)


@router.get("/v1/assistants/{assistant_id}/effective", response_model=None)
@needs(Scope.SETTINGS_WRITE)
async def get_effective(
    assistant_id: Text, caller: Caller, rooms: Rooms, user: User = None
) -> Response:
    """What holds of an assistant, by id or slug, with a user: the caller unless one is named."""
    subject_id = caller.subject_id if user is None else parse_subject_id(user, "user")
    tenant = await rooms.tenant(caller)
    layers = await rooms.personalities.layers(tenant, subject_id, assistant_id)
    return reply({"items": _effective_items(layers, tenant, rooms.models.default)})


def _effective_items(layers: list[Layer], tenant: Tenant, default: str) -> list[dict[str, Any]]:
    """Each value that holds, with where it comes from."""
    unsaid = Layer(Source.PLATFORM, {"model": default, "search": {"limit": PASSAGES}})
    effective = resolve([unsaid, *layers])
    holding = effective.holding(lambda model: tenant.plan.allows_model(model, default))
    return [asdict(value) for value in holding]


async def _draft(
    named: AssistantId, change: Change, caller: Principal, rooms: Services
) -> Response:
    event = rooms.event(caller, "assistant.draft", str(named))
    stored = rooms.personalities.assistants
    return reply(_item(await stored.change_draft(caller.tenant_id, named, change, event)))


async def _parser(caller: Principal, rooms: Services) -> Change:
    """What reads the content of an assistant; it raises `Invalid` for what the plan lacks."""
    tenant = await rooms.tenant(caller)
    tools = [each.name for each in rooms.toolboxes.listing(tenant, caller)]

    def parse(said: Content) -> Content:
        content = parse_content(said)
        model = content.get("model")
        if model and not tenant.plan.allows_model(model, rooms.models.default):
            raise Invalid("model", "is not among the models of the plan")
        require_tools(content, tools)
        return content

    return parse


def _item(assistant: Assistant, *, drafts: bool = True) -> dict[str, Any]:
    """An assistant as admins see it; without its drafts and its content, as its users do."""
    shown = assistant.draft if drafts else assistant.content or {}
    item: dict[str, Any] = {
        "assistant_id": assistant.assistant_id,
        "slug": assistant.slug,
        **_described(shown),
        "published": assistant.published,
        "universal": False,
        "created_at": utc(assistant.created_at),
        "updated_at": utc(assistant.updated_at),
    }
    more = {"draft": assistant.draft, "content": assistant.content} if drafts else {}
    return item | more


def _described(content: Content) -> dict[str, Any]:
    return {name: content.get(name, "") for name in DESCRIBED}


def _universal_item(assistant: Chosen) -> dict[str, Any]:
    return {
        "assistant_id": None,
        "slug": assistant.name,
        **_described(assistant.content),
        "published": assistant.version,
        "universal": True,
    }


def _version_item(version: Version) -> dict[str, Any]:
    return {**asdict(version), "created_at": utc(version.created_at)}
