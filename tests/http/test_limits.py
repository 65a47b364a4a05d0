"""Limits over HTTP: what operators say of tenants, plans and prices, and admins of their users."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from storage.control import control
from tenancy.ids import SubjectId, TenantId
from tenancy.plan import FIELDS, FREE
from tenancy.principal import Role
from tests.http.speech import Json, assert_problem, audit, eventually
from tests.support.house import House

JSON = {"content-type": "application/json"}
DAY = "user_tokens_per_day"


@pytest.fixture
async def operator(product: House) -> AsyncIterator[httpx.AsyncClient]:
    async with product.client("platform", "olga", Role.OPERATOR) as client:
        yield client


@pytest.fixture(scope="module")
async def tenant(product: House) -> TenantId:
    return await product.new_tenant("limited")


@pytest.fixture
async def boss(product: House, tenant: TenantId) -> AsyncIterator[httpx.AsyncClient]:
    """An admin of a tenant that has no limits of its own."""
    with control(product.stores.owner()) as admin:
        admin._conn.execute("delete from control.user_limits")
        admin._conn.execute("update control.tenants set limits = '{}'")
    async with product.client(tenant, "boss", Role.ADMIN) as client:
        yield client


async def limits(client: httpx.AsyncClient, path: str = "/v1/limits", **params: str) -> Json:
    """Values and sources, by field."""
    response = await client.get(path, params=params)
    assert response.status_code == 200, response.text
    return {each["field"]: (each["value"], each["source"]) for each in response.json()["items"]}


async def put(client: httpx.AsyncClient, path: str, **body: Any) -> Json:
    response = await client.put(path, json=body)
    assert response.status_code in {200, 201}, response.text
    found: Json = response.json()
    return found


# -- tenants and users, by an operator


async def test_a_caller_reads_its_limits_and_where_they_come_from(
    product: House, boss: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    path = "/v1/tenants/limited/limits"
    await put(operator, path, limits={"tokens_per_day": 500, "degrade": [], "models": ["a", "b"]})
    await put(operator, path, user="boss", limits={DAY: 50, "burst": 2})

    async def acts() -> bool:
        return (await limits(boss))["tokens_per_day"] == (500, "tenant")

    await eventually(acts)
    held = await limits(boss)
    assert tuple(held) == FIELDS
    assert (held["degrade"], held["models"]) == (([], "tenant"), (["a", "b"], "tenant"))
    assert (held[DAY], held["user_burst"]) == ((50, "user"), (2, "user"))
    assert held["weight"] == (4, "plan")
    async with product.client("limited", "bob", Role.VIEWER) as bob:
        assert (await limits(bob))[DAY] == (-1, "plan")
    assert await limits(operator, path, user="boss") == held
    assert (await limits(operator, path))[DAY] == (-1, "plan")


async def test_null_removes_and_the_rest_stays(
    boss: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    path = "/v1/tenants/limited/limits"
    first = await put(operator, path, limits={"weight": 2, "cheaper_model": "small"})
    assert (first["plan"], first["users"]) == ("pro", [])
    await put(operator, path, limits={"weight": None, "queue_length": 3})
    held = await limits(operator, path)
    said = {name: value for name, (value, source) in held.items() if source == "tenant"}
    assert said == {"cheaper_model": "small", "queue_length": 3}
    assert (await put(operator, path, user="ann", limits={DAY: 1}))["users"] == ["ann"]
    assert (await put(operator, path, user="ann", limits={DAY: None}))["users"] == []


async def test_what_an_operator_limits_is_in_the_tenants_audit(
    product: House, boss: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    await put(operator, "/v1/tenants/limited/limits", user="ann", limits={"burst": 7})
    event = next(e for e in await audit(product, "limited") if e["action"] == "tenant.limit")
    assert (event["subject"], event["resource"]) == ("olga", "ann")
    assert event["attributes"] == {"user_burst": "7"}


BAD = [
    ("colour", "1"),
    ("plan_id", '"pro"'),
    ("tokens_per_day", '"5"'),
    ("tokens_per_day", '"many"'),
    ("tokens_per_day", "5.0"),
    ("tokens_per_day", "1e3"),
    ("tokens_per_day", "true"),
    ("tokens_per_day", "NaN"),
    ("tokens_per_day", "-2"),
    ("tokens_per_day", "9" * 400),
    ("tokens_per_day", "[5]"),
    ("weight", "0"),
    ("models", '"all"'),
    ("models", "[5]"),
    ("models", '[""]'),
    ("models", '["a,b"]'),
    ("models", '["\\ud800"]'),
    ("degrade", '["pray"]'),
    ("cheaper_model", "5"),
    ("cheaper_model", '"\\u0000"'),
]


@pytest.mark.parametrize("path", ["/v1/tenants/limited/limits", "/v1/plans/free"])
@pytest.mark.parametrize(("name", "value"), BAD)
async def test_a_bad_limit_is_one_line_that_names_it(
    operator: httpx.AsyncClient, tenant: TenantId, path: str, name: str, value: str
) -> None:
    before = (await operator.get("/v1/plans")).json()
    body = f'{{"limits": {{"{name}": {value}}}}}'
    problem = assert_problem(await operator.put(path, content=body, headers=JSON), 422)
    assert [each["field"] for each in problem["errors"]] == [json.loads(f'"{name}"')]
    assert (await operator.get("/v1/plans")).json() == before


@pytest.mark.parametrize(
    "body",
    [{}, {"limits": 5}, {"limits": None}, {"limits": {}, "user": ""}, {"limits": {}, "x": 1}],
)
async def test_a_body_that_says_no_limits_is_invalid(
    operator: httpx.AsyncClient, tenant: TenantId, body: Json
) -> None:
    assert_problem(await operator.put("/v1/tenants/limited/limits", json=body), 422)


@pytest.mark.parametrize("user", [{}, {"user": "ann"}])
async def test_a_tenant_that_is_not_there_has_no_limits(
    operator: httpx.AsyncClient, user: Json
) -> None:
    path, body = "/v1/tenants/nobody/limits", {"limits": {"user_burst": 1}, **user}
    assert_problem(await operator.put(path, json=body), 404)
    assert_problem(await operator.get(path, params=user), 404)
    assert_problem(await operator.get("/v1/tenants/No%20body/limits"), 422)
    assert_problem(await operator.get("/v1/tenants/nobody/limits?user="), 422)


# -- plans and prices, by an operator


async def test_a_plan_is_made_listed_and_changed(
    product: House, operator: httpx.AsyncClient
) -> None:
    made = await operator.put("/v1/plans/tiny", json={"limits": {"requests_per_minute": 9}})
    assert made.status_code == 201
    assert made.json()["limits"]["burst"] == 9
    changed = await operator.put("/v1/plans/tiny", json={"limits": {"fallback_models": ["b"]}})
    assert changed.status_code == 200
    assert changed.json()["limits"] == {**made.json()["limits"], "fallback_models": ["b"]}
    whole = (await operator.get("/v1/plans")).json()
    assert changed.json() in whole["items"]
    assert [each["plan_id"] for each in whole["items"]] == sorted(
        each["plan_id"] for each in whole["items"]
    )
    assert set(whole["items"][0]["limits"]) == set(FIELDS)
    first = (await operator.get("/v1/plans", params={"limit": 1})).json()
    rest = (await operator.get("/v1/plans", params={"cursor": first["next_cursor"]})).json()
    assert first["items"] + rest["items"] == whole["items"]
    again = await operator.put("/v1/plans/tiny", json={"limits": changed.json()["limits"]})
    assert again.json() == changed.json()
    with control(product.stores.owner()) as admin:
        assert admin.plan(FREE.plan_id) == FREE


async def test_a_plan_has_no_field_that_is_null(operator: httpx.AsyncClient) -> None:
    body = {"limits": {"weight": None}}
    assert_problem(await operator.put("/v1/plans/free", json=body), 422, "weight")
    assert_problem(await operator.put("/v1/plans/No%20plan", json={"limits": {}}), 422, "plan")


async def test_a_price_is_set_listed_and_removed(operator: httpx.AsyncClient) -> None:
    gpt = {"model": "vendor/gpt", "input": "7.5", "output": "60"}
    assert await put(operator, "/v1/prices", model="vendor/gpt", input=7.5, output="60") == gpt
    other = await put(operator, "/v1/prices", model="*", input=0, output=1)
    assert (await operator.get("/v1/prices")).json()["items"] == [other, gpt]
    page = (await operator.get("/v1/prices", params={"limit": 1})).json()
    assert page == {"items": [other], "next_cursor": "*"}
    assert (await operator.get("/v1/prices", params={"cursor": "*"})).json()["items"] == [gpt]
    for model in ("*", "vendor/gpt"):
        assert (await operator.delete("/v1/prices", params={"model": model})).status_code == 204
        assert_problem(await operator.delete("/v1/prices", params={"model": model}), 404)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"model": "m", "input": 1}', "output"),
        ('{"model": "", "input": 1, "output": 1}', "model"),
        ('{"model": "\\u0000", "input": 1, "output": 1}', "model"),
        ('{"model": "m", "input": -1, "output": 1}', "input"),
        ('{"model": "m", "input": NaN, "output": 1}', "input"),
        ('{"model": "m", "input": 1e300, "output": 1}', "input"),
        ('{"model": "m", "input": 1, "output": 0.0001}', "output"),
        ('{"model": "m", "input": 1, "output": true}', "output"),
        ('{"model": "m", "input": 1, "output": null}', "output"),
        ('{"model": "m", "input": 1, "output": "\\ud800"}', "output"),
        ('{"model": "m", "input": 1, "output": 1, "currency": "EUR"}', "currency"),
    ],
)
async def test_a_bad_price_is_not_set(operator: httpx.AsyncClient, body: str, field: str) -> None:
    response = await operator.put("/v1/prices", content=body, headers=JSON)
    problem = assert_problem(response, 422, field)
    assert len(problem["errors"]) == 1
    assert (await operator.get("/v1/prices")).json()["items"] == []


# -- users, by an admin of their tenant


async def test_an_admin_narrows_a_user_lists_and_forgets(
    product: House, boss: httpx.AsyncClient
) -> None:
    narrowed = await put(boss, "/v1/limits/users/auth0%7Cann/1", limits={"tokens_per_day": 9})
    assert narrowed == {"subject": "auth0|ann/1", "limits": {DAY: 9}}
    await put(boss, "/v1/limits/users/bob", limits={DAY: 8, "user_burst": 1})
    await put(boss, "/v1/limits/users/bob", limits={"user_burst": None})
    listed = (await boss.get("/v1/limits/users")).json()
    assert listed == {
        "items": [narrowed, {"subject": "bob", "limits": {DAY: 8}}],
        "next_cursor": None,
    }
    page = (await boss.get("/v1/limits/users", params={"limit": 1})).json()
    assert page == {"items": [narrowed], "next_cursor": "auth0|ann/1"}
    async with product.client("limited", "auth0|ann/1") as ann:

        async def acts() -> bool:
            return (await limits(ann))[DAY] == (9, "user")

        await eventually(acts)
    assert (await boss.delete("/v1/limits/users/auth0%7Cann/1")).status_code == 204
    assert_problem(await boss.delete("/v1/limits/users/auth0%7Cann/1"), 404)
    acts_of_bosses = [
        (event["action"], event["resource"])
        for event in await audit(product, "limited")
        if event["action"].startswith("limits.")
    ]
    assert acts_of_bosses[0] == ("limits.forget", "auth0|ann/1")
    assert ("limits.narrow", "bob") in acts_of_bosses


async def test_an_admin_gives_no_user_more_than_there_is(
    product: House, boss: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    await put(operator, "/v1/tenants/limited/limits", limits={DAY: 100})

    async def acts() -> bool:
        return (await limits(boss))[DAY] == (100, "tenant")

    await eventually(acts)
    for value in (101, -1, 10**15):
        body = {"limits": {DAY: value}}
        problem = assert_problem(await boss.put("/v1/limits/users/ann", json=body), 422, DAY)
        assert problem["errors"][0]["message"] == "must be at most 100, as the tenant has it"
    assert (await boss.get("/v1/limits/users")).json()["items"] == []


async def test_an_admin_takes_back_nothing_of_an_operators(
    product: House, boss: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    path, users = "/v1/tenants/limited/limits", "/v1/limits/users/eve"
    await put(operator, path, user="eve", limits={DAY: 10})
    assert_problem(await boss.put(users, json={"limits": {DAY: 11}}), 422, DAY)
    assert (await put(boss, users, limits={DAY: None}))["limits"] == {DAY: 10}
    assert_problem(await boss.delete(users), 404)
    assert (await put(boss, users, limits={DAY: 4}))["limits"] == {DAY: 4}
    assert (await boss.delete(users)).status_code == 204
    assert (await limits(operator, path, user="eve"))[DAY] == (10, "user")


@pytest.mark.parametrize("name", ["weight", "documents", "user_weight", "models", "hard_limits"])
async def test_an_admin_limits_users_and_nothing_else(boss: httpx.AsyncClient, name: str) -> None:
    value = ["a"] if name == "models" else 1
    body = {"limits": {name: value}}
    assert_problem(await boss.put("/v1/limits/users/ann", json=body), 422, name)


@pytest.mark.parametrize("path", ["/v1/limits/users/", "/v1/limits/users/%00"])
async def test_a_user_has_a_name(boss: httpx.AsyncClient, path: str) -> None:
    assert_problem(await boss.put(path, json={"limits": {}}), 422, "subject")
    assert_problem(await boss.delete(path), 422, "subject")


async def test_too_many_users_are_a_conflict(
    product: House, boss: httpx.AsyncClient, tenant: TenantId
) -> None:
    with control(product.stores.owner()) as admin:
        admin._conn.execute(
            "insert into control.user_limits select %s, 'user ' || n, '{\"user_burst\": \"2\"}'"
            " from generate_series(1, 1000) n",
            [tenant],
        )
    problem = await boss.put("/v1/limits/users/ann", json={"limits": {DAY: 1}})
    assert "At most 1000 users" in assert_problem(problem, 409)["detail"]


async def test_a_limit_that_a_user_has_is_not_anothers(
    product: House, boss: httpx.AsyncClient
) -> None:
    await put(boss, "/v1/limits/users/alice", limits={DAY: 5})
    with control(product.stores.owner()) as admin:
        assert admin.limits(TenantId("acme")).users == {}
        assert admin.limits(TenantId("limited")).users == {SubjectId("alice"): {DAY: "5"}}


# -- usage


async def test_usage_says_its_cost_and_currency(product: House) -> None:
    async with product.client("acme", "boss", Role.ADMIN) as acme:
        await acme.post("/v1/chat", json={"message": "Hi"})
        used = (await acme.get("/v1/usage")).json()
    assert used["currency"] == "USD"
    assert used["meters"]
    assert all(set(each) == {"meter", "model", "quantity", "cost"} for each in used["meters"])
