"""A credential that does not hold is counted, logged, audited where its tenant is known, and waits.

The clock stands still and pauses take no time: what is looked at is who was to wait, and how long.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from server.api_keys import mint
from server.metrics import REGISTRY
from server.refusal import Kind
from server.slowdown import FREE_FAILURES
from server.stores import Stores
from tenancy.principal import Role
from tests.http.speech import admin_of, assert_problem, audit, eventually
from tests.http.test_auth_middleware import (
    KEY,
    NOW,
    Door,
    FewTenants,
    api_key,
    assert_refused,
    bearer,
    serve,
)
from tests.idp import FOREIGN, HOME
from tests.support.house import House, house
from tests.support.model_server import ModelServer

HANDFUL = int(FREE_FAILURES)
FAILURES = "tenantry_authentication_failures"


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
def directory() -> FewTenants:
    return FewTenants(keys={KEY.digest: api_key()})


async def fail(client: httpx.AsyncClient, times: int = 1, **headers: str) -> None:
    """Show something that is no credential."""
    for _ in range(times):
        assert_refused(await client.get("/v1/me", headers={"x-api-key": "guess", **headers}))


class TestDelay:
    async def test_after_a_handful_the_same_answer_comes_later(
        self, directory: FewTenants, door: Door
    ) -> None:
        async with serve(directory, strangers=door.strangers()) as client:
            await fail(client, HANDFUL)
            assert door.pauses == []
            await fail(client, 3)
        assert door.pauses == [0.05, 0.1, 0.2]

    @pytest.mark.parametrize("good", [KEY.text, HOME.token()], ids=["key", "token"])
    async def test_a_credential_that_holds_never_waits(
        self, directory: FewTenants, door: Door, good: str
    ) -> None:
        async with serve(directory, strangers=door.strangers()) as client:
            await fail(client, 20)
            door.pauses.clear()
            for _ in range(20):
                assert (await client.get("/v1/me", headers=bearer(good))).status_code == 200
            assert door.pauses == []
            await fail(client)
        assert door.pauses == [2]  # and forgives nothing

    async def test_what_is_no_failed_authentication_never_waits(
        self, directory: FewTenants, door: Door
    ) -> None:
        async with serve(directory, strangers=door.strangers()) as client:
            await fail(client, 20)
            door.pauses.clear()
            suspended = bearer(FOREIGN.token(tenant_id="globex"))
            assert (await client.get("/v1/me", headers=suspended)).status_code == 403
            assert (await client.get("/healthz")).status_code == 200
            directory.away = True
            assert (await client.get("/v1/me", headers=bearer(KEY.text))).status_code == 503
        assert door.pauses == []

    async def test_failures_are_forgotten_in_time(self, directory: FewTenants, door: Door) -> None:
        async with serve(directory, strangers=door.strangers()) as client:
            await fail(client, 20)
            door.pauses.clear()
            door.now += 180
            await fail(client, HANDFUL)
        assert door.pauses == []


WHO = [
    # the setting, the first client's peer and header, the second's; whether they are one
    ("", ("192.0.2.1", None), ("192.0.2.2", None), False),
    ("", ("2001:db8:1:2::1", None), ("2001:db8:1:2:ffff::9", None), True),
    ("", ("2001:db8:1:2::1", None), ("2001:db8:1:3::1", None), False),
    ("", ("192.0.2.1", "198.51.100.1"), ("192.0.2.1", "198.51.100.2"), True),
    ("192.0.2.0/24", ("192.0.2.1", "198.51.100.1"), ("192.0.2.2", "198.51.100.1"), True),
    ("192.0.2.0/24", ("192.0.2.1", "198.51.100.1"), ("192.0.2.1", "198.51.100.2"), False),
    ("192.0.2.0/24", ("192.0.2.1", "9.9.9.9, 198.51.100.1"), ("192.0.2.1", "198.51.100.1"), True),
]


@pytest.mark.parametrize(("trusted", "first", "second", "are_one"), WHO)
async def test_each_client_waits_for_its_own_failures(
    directory: FewTenants,
    trusted: str,
    first: tuple[str, str | None],
    second: tuple[str, str | None],
    are_one: bool,
) -> None:
    door = Door(trusted)
    strangers = door.strangers()
    for (peer, forwarded), times in ((first, HANDFUL), (second, 1)):
        headers = {} if forwarded is None else {"x-forwarded-for": forwarded}
        async with serve(directory, client=(peer, 1), strangers=strangers) as client:
            await fail(client, times, **headers)
    assert bool(door.pauses) == are_one


def ended(**changes: Any) -> Callable[[FewTenants], Mapping[str, str]]:
    def show(directory: FewTenants) -> Mapping[str, str]:
        directory.keys[KEY.digest] = api_key(**changes)
        return bearer(KEY.text)

    return show


def revoked_subject(directory: FewTenants) -> Mapping[str, str]:
    directory.revoked = True
    return bearer(KEY.text)


REASONS: dict[str, tuple[Kind, Callable[[FewTenants], Mapping[str, str]], bool]] = {
    "nothing": (Kind.MISSING, lambda _: {}, False),
    "no scheme": (Kind.MALFORMED, lambda _: {"authorization": "guess"}, False),
    "two": (Kind.MALFORMED, lambda _: {**bearer(HOME.token()), "x-api-key": KEY.text}, False),
    "neither": (Kind.MALFORMED, lambda _: bearer("guess"), False),
    "a guessed key": (Kind.UNKNOWN_KEY, lambda _: bearer(mint().text), False),
    "an expired key": (Kind.EXPIRED_KEY, ended(expires_at=NOW - timedelta(days=1)), True),
    "a revoked key": (Kind.REVOKED, ended(revoked_at=NOW), True),
    "a key of a revoked subject": (Kind.REVOKED, revoked_subject, True),
    "a key of no tenant": (Kind.UNKNOWN_TENANT, ended(tenant_id="nowhere"), False),
    "a damaged token": (Kind.BAD_TOKEN, lambda _: bearer(HOME.token()[:-6] + "AAAAAA"), False),
    "an expired token": (Kind.BAD_TOKEN, lambda _: bearer(HOME.token(exp=1)), False),
    "another's token": (Kind.BAD_TOKEN, lambda _: bearer(HOME.token(iss="https://no")), False),
}


def counted(metrics: str) -> dict[str, float]:
    """Failures by reason."""
    return {
        sample.labels["reason"]: sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == f"{FAILURES}_total"
    }


@pytest.mark.parametrize("name", REASONS)
async def test_a_failure_is_counted_logged_and_audited_where_its_tenant_is_known(
    directory: FewTenants, door: Door, name: str
) -> None:
    kind, show, is_audited = REASONS[name]
    headers = show(directory)
    strangers = door.strangers()
    before = counts()
    with capture_logs() as logged:
        async with serve(directory, client=("192.0.2.1", 1), strangers=strangers) as client:
            assert_refused(await client.get("/v1/me", headers=headers))
    await strangers.ended_keys.flush()
    assert {name: n - before[name] for name, n in counts().items() if n != before[name]} == {
        kind.value: 1
    }
    [line] = [line for line in logged if line["event"] == "request_refused"]
    assert (line["kind"], line["address"]) == (kind.value, "192.0.2.1")
    said = str(logged) + str(door.ledger.events)
    assert not any(value.removeprefix("Bearer ") in said for value in headers.values())
    assert [(tenant, event.attributes["reason"]) for tenant, event in door.ledger.events] == (
        [("acme", kind.value)] if is_audited else []
    )


def counts() -> dict[str, float]:
    """Failures by reason, of this process."""
    return counted(generate_latest(REGISTRY).decode())


# -- the product


async def test_every_reason_is_counted_from_the_start(product: House) -> None:
    async with httpx.AsyncClient(base_url=product.url) as nobody:
        metrics = (await nobody.get("/metrics")).text
    assert set(counted(metrics)) == {kind.value for kind in Kind}


async def test_a_key_that_ended_is_in_its_own_tenants_audit(product: House) -> None:
    async with product.client("acme", "boss", Role.ADMIN) as boss:
        key = (await boss.post("/v1/keys", json={"subject": "robot"})).json()
        await boss.delete(f"/v1/keys/{key['key_id']}")
    async with httpx.AsyncClient(base_url=product.url, headers=bearer(key["key"])) as robot:

        async def is_refused() -> bool:
            return (await robot.get("/v1/threads")).status_code == 401

        await eventually(is_refused, 1)
        await product.services.strangers.ended_keys.flush()
        for _ in range(4):
            assert_problem(await robot.get("/v1/threads"), 401)
    await product.services.strangers.ended_keys.flush()
    events = [event for event in await audit(product, "acme") if event["action"] == "key.use"]
    assert [
        (e["outcome"], e["resource"], e["subject"], e["actor"], e["attributes"]) for e in events[:1]
    ] == [
        (
            "refused",
            key["key_id"],
            "robot",
            f"key:{key['key_id']}",
            {"reason": "revoked", "attempts": 4},
        )
    ]
    assert key["key_id"] not in str(await audit(product, "globex"))
    assert key["key"] not in str(await audit(product, "acme"))


async def test_a_proxy_is_trusted_by_a_setting_alone(
    stores: Stores, model: ModelServer, tmp_path: Path
) -> None:
    for trusted, is_one in (("127.0.0.0/8", False), ("", True)):
        folder = tmp_path / (trusted.partition("/")[0] or "none")
        folder.mkdir()
        async with house(stores, folder, model, trusted_proxies=trusted) as shop:
            async with httpx.AsyncClient(base_url=shop.url) as nobody:
                for number in range(4 * HANDFUL):
                    headers = {"x-forwarded-for": f"198.51.100.{number}"}
                    assert_problem(await nobody.get("/v1/threads", headers=headers), 401)
            assert bool(shop.pauses) == is_one


async def test_the_server_keeps_its_books_behind_requests(product: House) -> None:
    running = {task.get_coro().__qualname__ for task in asyncio.all_tasks()}
    assert {"KeyUses.keep", "EndedKeys.keep"} <= running


async def test_a_server_that_stops_records_the_last_attempts(
    stores: Stores, model: ModelServer, tmp_path: Path, product: House
) -> None:
    async with product.client("globex", "boss", Role.ADMIN) as boss:
        key = (await boss.post("/v1/keys", json={"subject": "robot"})).json()
    async with admin_of(product) as admin:
        admin.revoke_key(key["key_id"])
    async with (
        house(stores, tmp_path, model) as short,
        httpx.AsyncClient(base_url=short.url, headers=bearer(key["key"])) as robot,
    ):
        assert_problem(await robot.get("/v1/threads"), 401)
    events = await audit(product, "globex")
    [event] = [e for e in events if e["action"] == "key.use"]
    assert (event["resource"], event["attributes"]["attempts"]) == (key["key_id"], 1)
