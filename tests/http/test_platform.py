"""What an operator does over HTTP, as a tenant that none is."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from server.stores import Stores
from storage.redis_keys import Area, redis_key
from tenancy.principal import Role
from tests.http.speech import answer, ask, assert_problem, audit, eventually
from tests.idp import Idp, private_key, public_jwk
from tests.support.house import House, house
from tests.support.model_server import ModelServer

IDP = Idp("https://id.operators.example/")
KEYS = {"keys": [public_jwk("ES256", IDP.key, IDP.kid)]}
ISSUER = {"url": IDP.url, "jwks": KEYS, "tenants": ["acme"]}


@pytest.fixture
async def operator(product: House) -> AsyncIterator[httpx.AsyncClient]:
    async with product.client("platform", "olga", Role.OPERATOR) as client:
        yield client


def token(**claims: Any) -> dict[str, str]:
    """A header with a token of the issuer above, valid now."""
    now = int(datetime.now(UTC).timestamp())
    return {"Authorization": f"Bearer {IDP.token(iat=now, exp=now + 600, **claims)}"}


async def test_tenants_are_listed_page_by_page(operator: httpx.AsyncClient) -> None:
    whole = (await operator.get("/v1/tenants")).json()
    first = (await operator.get("/v1/tenants", params={"limit": 1})).json()
    rest = (await operator.get("/v1/tenants", params={"cursor": first["next_cursor"]})).json()
    assert whole["next_cursor"] is None
    assert first["items"] + rest["items"] == whole["items"]
    assert [each["tenant_id"] for each in whole["items"]] == ["acme", "globex"]
    shown = (await operator.get("/v1/tenants/acme")).json()
    assert shown == whole["items"][0]
    assert (shown["plan"], shown["status"]) == ("pro", "active")
    assert "preferences" not in shown


@pytest.mark.parametrize("path", ["", "/suspend", "/resume"])
async def test_a_tenant_that_is_not_there(operator: httpx.AsyncClient, path: str) -> None:
    method = "POST" if path else "GET"
    assert_problem(await operator.request(method, f"/v1/tenants/nobody{path}"), 404)
    assert_problem(await operator.request(method, f"/v1/tenants/No%20body{path}"), 422)


async def test_a_tenant_is_suspended_and_resumed(
    product: House, operator: httpx.AsyncClient
) -> None:
    name = await product.new_tenant("stopped")
    async with product.client(name, "ann", Role.ADMIN) as ann:
        await answer(ann, "hello")
        assert (await operator.post(f"/v1/tenants/{name}/suspend")).json()["status"] == "suspended"

        async def is_refused() -> bool:
            return (await ann.get("/v1/threads")).status_code == 403

        await eventually(is_refused)
        assert (await operator.post(f"/v1/tenants/{name}/resume")).json()["status"] == "active"

        async def is_served() -> bool:
            return (await ann.get("/v1/threads")).status_code == 200

        await eventually(is_served)
        acts = [
            event for event in await audit(product, name) if event["action"] == "tenant.set_status"
        ]
    assert [event["resource"] for event in acts] == ["active", "suspended"]
    assert {event["subject"] for event in acts} == {"olga"}


async def test_a_suspended_tenant_leaves_no_copy_of_a_thread_in_redis(
    product: House, operator: httpx.AsyncClient
) -> None:
    name = await product.new_tenant("copied")
    async with product.client(name, "ann", Role.ADMIN) as ann:
        thread = (await answer(ann, "hello"))["thread_id"]
        await answer(ann, "again", thread_id=thread)
    key = redis_key(name, Area.HOT, f"thread/{thread}")
    redis = product.services.cells.first.redis
    assert await redis.execute_command("EXISTS", key) == 1
    await operator.post(f"/v1/tenants/{name}/suspend")
    assert await redis.execute_command("EXISTS", key) == 0


async def test_an_issuer_is_registered_listed_and_removed(
    product: House, operator: httpx.AsyncClient
) -> None:
    async with httpx.AsyncClient(base_url=product.url) as anyone:
        assert_problem(await anyone.get("/v1/threads", headers=token()), 401)
        made = await operator.post("/v1/issuers", json=ISSUER)
        assert (made.status_code, made.json()["tenants"]) == (201, ["acme"])

        async def is_believed() -> bool:
            return (await anyone.get("/v1/threads", headers=token())).status_code == 200

        await eventually(is_believed)
        assert_problem(await anyone.get("/v1/threads", headers=token(tenant_id="globex")), 401)
        listed = (await operator.get("/v1/issuers")).json()["items"]
        assert [(each["url"], each["jwks"]) for each in listed] == [(IDP.url, KEYS)]
        assert (await operator.delete("/v1/issuers", params={"url": IDP.url})).status_code == 204

        async def is_refused() -> bool:
            return (await anyone.get("/v1/threads", headers=token())).status_code == 401

        await eventually(is_refused)
    assert_problem(await operator.delete("/v1/issuers", params={"url": IDP.url}), 404)


PRIVATE = {
    **public_jwk("ES256", private_key("ES256", "leaked"), "leaked"),
    "d": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE",
}
BAD = {
    "no keys": {**ISSUER, "jwks": {"keys": []}},
    "a private key": {**ISSUER, "jwks": {"keys": [PRIVATE]}},
    "keys twice": {**ISSUER, "jwks_url": "https://id.operators.example/jwks"},
    "keys nowhere": {"url": IDP.url, "tenants": ["acme"]},
    "keys in clear": {"url": IDP.url, "jwks_url": "http://id.example/jwks", "tenants": ["acme"]},
    "for nobody": {"url": IDP.url, "jwks": KEYS},
    "for all and one": {**ISSUER, "any_tenant": True},
    "for a tenant that is not there": {**ISSUER, "tenants": ["nobody"]},
    "for a tenant that cannot be": {**ISSUER, "tenants": ["No body"]},
    "no name": {**ISSUER, "url": " "},
    "a name with a NUL": {**ISSUER, "url": "https://id\0"},
    "a key with a NUL": {**ISSUER, "jwks": {"keys": [{**KEYS["keys"][0], "note": "\0"}]}},
    "a key with a kid of a NUL": {**ISSUER, "jwks": {"keys": [{**KEYS["keys"][0], "kid": "\0"}]}},
    "a key with a huge number": {**ISSUER, "jwks": {"keys": [{**KEYS["keys"][0], "n": 2**70}]}},
    "keys beside a NUL": {**ISSUER, "jwks": {**KEYS, "\0": 1}},
    "an audience with a NUL": {**ISSUER, "audience": "\0"},
    "rules with a NUL": {**ISSUER, "rules": {"required": {"azp": ["\0"]}}},
    "unknown rules": {**ISSUER, "rules": {"colour": "blue"}},
    "a field too many": {**ISSUER, "development": True},
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_issuer_is_not_registered(operator: httpx.AsyncClient, name: str) -> None:
    problem = assert_problem(await operator.post("/v1/issuers", json=BAD[name]), 422)
    assert problem["errors"]
    assert (await operator.get("/v1/issuers")).json()["items"] == []


async def test_a_subject_is_revoked(product: House, operator: httpx.AsyncClient) -> None:
    name = await product.new_tenant("revoked")
    async with product.client(name, "eve") as eve, product.client(name, "boss", Role.ADMIN) as boss:
        await answer(eve, "hello")
        body = {"tenant": name, "subject": "eve"}
        made = await operator.post("/v1/revocations", json=body)
        assert made.status_code == 201

        async def is_refused() -> bool:
            return (await eve.get("/v1/threads")).status_code == 401

        await eventually(is_refused)
        assert (await boss.get("/v1/threads")).status_code == 200
        [event] = [e for e in await audit(product, name) if e["action"] == "credentials.revoke"]
    assert (event["resource"], event["subject"]) == ("subject:eve", "olga")
    listed = (await operator.get("/v1/revocations", params={"tenant": name})).json()["items"]
    assert [(each["subject"], each["revoked_at"]) for each in listed] == [
        ("eve", made.json()["revoked_at"])
    ]


@pytest.mark.parametrize(
    "body",
    [
        {"tenant": "acme"},
        {"tenant": "acme", "subject": "eve", "everyone": True},
        {"tenant": "acme", "issuer": IDP.url},
        {"tenant": "acme", "token_id": str(uuid4())},
        {"tenant": "acme", "subject": ""},
        {"tenant": "A", "everyone": True},
    ],
)
async def test_a_revocation_says_what_it_ends(
    operator: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    assert_problem(await operator.post("/v1/revocations", json=body), 422)
    assert (await operator.get("/v1/revocations", params={"tenant": "acme"})).json()["items"] == []


async def test_nothing_is_revoked_in_a_tenant_that_is_not_there(
    operator: httpx.AsyncClient,
) -> None:
    body = {"tenant": "nobody", "everyone": True}
    assert_problem(await operator.post("/v1/revocations", json=body), 404)
    assert_problem(await operator.get("/v1/revocations", params={"tenant": "nobody"}), 404)


async def test_the_noisiest_tenants_are_counted(
    product: House, operator: httpx.AsyncClient
) -> None:
    loud = await product.new_tenant("loud")
    mute = await product.new_tenant("mute", requests_per_minute=0)
    async with product.client(loud, "ann") as ann, product.client(mute, "ann") as refused:
        await answer(ann, "hello")
        assert (await ask(refused, "hello")).status_code == 429
    body = (await operator.get("/v1/noisiest", params={"minutes": 1})).json()
    assert set(body) == {"from", "to", "items", "next_cursor"}
    seen = {item["tenant_id"]: item for item in body["items"]}
    tokens = product.model.prompt_tokens + product.model.completion_tokens
    assert (seen[loud]["runs"], seen[loud]["tokens"], seen[loud]["refused"]) == (1, tokens, 0)
    assert (seen[mute]["runs"], seen[mute]["tokens"], seen[mute]["refused"]) == (0, 0, 1)
    assert 0 < seen[loud]["share"] <= 1
    [first] = (await operator.get("/v1/noisiest", params={"by": "refused", "limit": 1})).json()[
        "items"
    ]
    assert first["tenant_id"] == mute


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/noisiest?minutes=0"),
        ("GET", "/v1/noisiest?minutes=1441"),
        ("GET", "/v1/noisiest?minutes=soon"),
        ("GET", "/v1/noisiest?limit=0"),
        ("GET", "/v1/noisiest?by=colour"),
        ("GET", "/v1/tenants?cursor=%00"),
        ("GET", "/v1/tenants?cursor=" + "x" * 513),
        ("GET", "/v1/tenants?limit=0"),
        ("GET", "/v1/tenants/%00"),
        ("POST", "/v1/tenants/%00/suspend"),
        ("GET", "/v1/issuers?cursor=%00"),
        ("DELETE", "/v1/issuers"),
        ("DELETE", "/v1/issuers?url=%00"),
        ("DELETE", "/v1/issuers?url="),
        ("GET", "/v1/revocations"),
        ("GET", "/v1/revocations?tenant=%00"),
        ("GET", "/v1/revocations?tenant=%F0%9F%A6%9C"),
    ],
)
async def test_nonsense_is_invalid(operator: httpx.AsyncClient, method: str, path: str) -> None:
    assert_problem(await operator.request(method, path), 422)


async def test_an_admin_is_no_operator(product: House) -> None:
    async with product.client("acme", "boss", Role.ADMIN) as admin:
        assert_problem(await admin.get("/v1/tenants"), 403)


async def test_a_server_without_the_operators_role_says_so(
    stores: Stores, model: ModelServer, tmp_path: Path
) -> None:
    async with (
        house(replace(stores, operator_url=None), tmp_path, model) as running,
        running.client("platform", "olga", Role.OPERATOR) as olga,
    ):
        problem = assert_problem(await olga.get("/v1/tenants"), 503)
    assert "TENANTRY_OPERATOR_DATABASE_URL" in problem["detail"]
