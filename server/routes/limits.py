"""What bounds the caller, and what its tenant's admins say of single users."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import Field

from server.access import ScopedRoute, needs
from server.routes.wire import LIMIT, Body, Caller, Limit, Rooms, Text, reply
from tenancy.audit import Outcome
from tenancy.errors import Invalid
from tenancy.ids import MAX_SUBJECT_CHARACTERS, SubjectId, parse_subject_id
from tenancy.limits import Limits, Said, parse_user_limits, text_of
from tenancy.plan import LISTS, TEXTS, require_field
from tenancy.principal import Scope

router = APIRouter(route_class=ScopedRoute, tags=["limits"])

After = Annotated[str | None, Query(max_length=MAX_SUBJECT_CHARACTERS)]
Fields = Annotated[dict[Text, Any], Field(max_length=100)]


class UserLimitsBody(Body):
    """Fields with their values; null takes one back."""

    limits: Fields


@router.get("/v1/limits", response_model=None)
@needs(Scope.THREADS_READ)
async def get_limits(caller: Caller, rooms: Rooms) -> Response:
    """Every limit as it holds for the caller, and where it comes from."""
    items = limit_items(Limits.of(await rooms.tenant(caller)), caller.subject_id)
    return reply({"items": items, "next_cursor": None})


@router.get("/v1/limits/users", response_model=None)
@needs(Scope.SETTINGS_WRITE)
async def list_limited_users(
    caller: Caller, rooms: Rooms, limit: Limit = LIMIT, cursor: After = None
) -> Response:
    """The users with limits of their own, by name."""
    after = None if cursor is None else parse_subject_id(cursor, "cursor")
    plan = (await rooms.tenant(caller)).plan
    found = await rooms.limits.page(caller.tenant_id, plan, after, limit + 1)
    items = [_user_item(*each) for each in found[:limit]]
    more = len(found) > limit
    return reply({"items": items, "next_cursor": items[-1]["subject"] if more else None})


@router.put("/v1/limits/users/{subject:path}", response_model=None)
@needs(Scope.SETTINGS_WRITE)
async def narrow_user(subject: str, body: UserLimitsBody, caller: Caller, rooms: Rooms) -> Response:
    """Narrow the limits of one user: never above what the tenant has for each of them."""
    subject_id, said = parse_subject_id(subject), parse_user_limits(texts_of(body.limits))
    plan = (await rooms.tenant(caller)).plan
    event = rooms.event(caller, "limits.narrow", subject_id, Outcome.ALLOWED, **said)
    holds = await rooms.limits.narrow(caller.tenant_id, plan, subject_id, said, event)
    return reply(_user_item(subject_id, holds))


@router.delete("/v1/limits/users/{subject:path}", response_model=None, status_code=204)
@needs(Scope.SETTINGS_WRITE)
async def forget_user(subject: str, caller: Caller, rooms: Rooms) -> Response:
    """Take back what was narrowed for one user; what an operator said stays."""
    subject_id = parse_subject_id(subject)
    event = rooms.event(caller, "limits.forget", subject_id)
    await rooms.limits.forget(caller.tenant_id, subject_id, event)
    return Response(status_code=204)


def limit_items(limits: Limits, subject_id: SubjectId | None) -> list[dict[str, Any]]:
    """Every limit as it is read."""
    return [
        {"field": each.field, "value": each.value, "source": each.source}
        for each in limits.effective(subject_id)
    ]


def texts_of(fields: Mapping[str, object]) -> dict[str, str]:
    """JSON values as the texts that limits are parsed from; raises `Invalid`."""
    return {name: _text(name, value) for name, value in fields.items()}


def _text(name: str, value: object) -> str:
    require_field(name)
    if value is None:
        return ""
    if name in LISTS:
        if not isinstance(value, list) or not all(_is_name(each) for each in value):
            raise Invalid(name, "must be a list of names")
    elif name in TEXTS:
        if not isinstance(value, str):
            raise Invalid(name, "must be a name")
    elif isinstance(value, bool) or not isinstance(value, int):
        raise Invalid(name, "must be a whole number, or -1 for unlimited")
    return text_of(value)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and "," not in value and value.strip() != ""


def _user_item(subject_id: SubjectId, holds: Said) -> dict[str, Any]:
    return {"subject": subject_id, "limits": {name: int(text) for name, text in holds.items()}}
