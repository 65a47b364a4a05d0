"""What operators say of plans, of single tenants and users, and of prices."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from server.access import ScopedRoute, needs
from server.routes.limits import Fields, limit_items, texts_of
from server.routes.platform import After, audit
from server.routes.wire import LIMIT, Body, Caller, Limit, Rooms, Text, reply
from tenancy.errors import Invalid
from tenancy.ids import (
    MAX_SUBJECT_CHARACTERS,
    SubjectId,
    parse_plan_id,
    parse_subject_id,
    parse_tenant_id,
)
from tenancy.limits import Limits, parse_limits, parse_user_limits
from tenancy.plan import Plan
from tenancy.price import Price, parse_model, parse_price, price_document
from tenancy.principal import Scope

router = APIRouter(route_class=ScopedRoute, tags=["operator"])

User = Annotated[str | None, Query(max_length=MAX_SUBJECT_CHARACTERS)]


class TenantLimitsBody(Body):
    """Fields with their values, of the tenant or of one of its users; null removes one."""

    limits: Fields
    user: Text | None = None


class PlanBody(Body):
    """Fields with their values; what is not said stays."""

    limits: Fields


class PriceBody(Body):
    """Minor units of the deployment's currency for a million tokens."""

    model: Text
    input: Any
    output: Any


@router.get("/v1/tenants/{tenant_id}/limits", response_model=None)
@needs(Scope.PLATFORM)
async def get_tenant_limits(tenant_id: str, rooms: Rooms, user: User = None) -> Response:
    """Every limit as it holds for a tenant, or for one of its users, and where it comes from."""
    subject_id = None if user is None else parse_subject_id(user, "user")
    return _answer(await rooms.platform.limits(parse_tenant_id(tenant_id)), subject_id)


@router.put("/v1/tenants/{tenant_id}/limits", response_model=None)
@needs(Scope.PLATFORM)
async def limit_tenant(
    tenant_id: str, body: TenantLimitsBody, caller: Caller, rooms: Rooms
) -> Response:
    """Put limits on top of a tenant's plan, or of one of its users; they act within a second."""
    subject_id = None if body.user is None else parse_subject_id(body.user, "user")
    parse = parse_limits if subject_id is None else parse_user_limits
    named, said = parse_tenant_id(tenant_id), parse(texts_of(body.limits))
    limits = await rooms.platform.limit(named, said, subject_id)
    await audit(rooms, caller, named, "tenant.limit", subject_id or "tenant", **said)
    return _answer(limits, subject_id)


@router.get("/v1/plans", response_model=None)
@needs(Scope.PLATFORM)
async def list_plans(rooms: Rooms, limit: Limit = LIMIT, cursor: After = None) -> Response:
    """All plans, by name."""
    after = None if cursor is None else parse_plan_id(cursor, "cursor")
    found = await rooms.platform.plans(after, limit + 1)
    return _page([_plan_item(plan) for plan in found], limit, "plan_id")


@router.put("/v1/plans/{plan_id}", response_model=None)
@needs(Scope.PLATFORM)
async def put_plan(plan_id: str, body: PlanBody, caller: Caller, rooms: Rooms) -> Response:
    """Make a plan, or change what is said of it; it acts within a second."""
    for name, value in body.limits.items():
        if value is None:
            raise Invalid(name, "must not be null: a plan says all its fields")
    named, said = parse_plan_id(plan_id), texts_of(body.limits)
    plan, is_new = await rooms.platform.change_plan(named, said)
    await audit(rooms, caller, caller.tenant_id, "plan.put", named, **said)
    return reply(_plan_item(plan), 201 if is_new else 200)


@router.get("/v1/prices", response_model=None)
@needs(Scope.PLATFORM)
async def list_prices(rooms: Rooms, limit: Limit = LIMIT, cursor: After = None) -> Response:
    """All prices, by model."""
    after = None if cursor is None else parse_model("cursor", cursor)
    found = await rooms.platform.prices(after, limit + 1)
    return _page([price_document(price) for price in found], limit, "model")


@router.put("/v1/prices", response_model=None)
@needs(Scope.PLATFORM)
async def put_price(body: PriceBody, caller: Caller, rooms: Rooms) -> Response:
    """Say what a model costs from now on; `*` is any model without a price of its own."""
    price = Price(
        parse_model("model", body.model),
        _nanos("input", body.input),
        _nanos("output", body.output),
    )
    await rooms.platform.put_price(price)
    item = price_document(price)
    await audit(rooms, caller, caller.tenant_id, "price.put", price.model, **item)
    return reply(item)


@router.delete("/v1/prices", response_model=None, status_code=204)
@needs(Scope.PLATFORM)
async def remove_price(
    model: Annotated[str, Query(max_length=512)], caller: Caller, rooms: Rooms
) -> Response:
    """Remove a price: the model costs what `*` costs, or nothing."""
    await rooms.platform.remove_price(parse_model("model", model))
    await audit(rooms, caller, caller.tenant_id, "price.remove", model)
    return Response(status_code=204)


def _nanos(field: str, amount: object) -> int:
    """A number, or the text of one; anything else is no price."""
    is_amount = isinstance(amount, int | float | str) and not isinstance(amount, bool)
    return parse_price(field, str(amount) if is_amount else "")


def _answer(limits: Limits, subject_id: SubjectId | None) -> Response:
    """The limits of a tenant or a user, and which users have some of their own."""
    items, users = limit_items(limits, subject_id), sorted(limits.users)
    plan = limits.plan.plan_id
    return reply({"plan": plan, "items": items, "users": users, "next_cursor": None})


def _plan_item(plan: Plan) -> dict[str, Any]:
    fields = asdict(plan)
    return {"plan_id": fields.pop("plan_id"), "limits": fields}


def _page(items: list[Mapping[str, Any]], limit: int, key: str) -> Response:
    more = len(items) > limit
    shown = items[:limit]
    return reply({"items": shown, "next_cursor": shown[-1][key] if more else None})
