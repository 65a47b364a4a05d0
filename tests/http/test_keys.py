"""API keys over HTTP, and who is served: what a change of credential or status does, and when."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import httpx
import pytest

from tenancy.principal import Role
from tenancy.tenant import TenantStatus
from tests.http.speech import admin_of, answer, ask, assert_problem, audit, eventually, messages
from tests.support.house import House

LISTED = {"key_id", "subject", "role", "scopes", "created_at", "expires_at", "revoked_at"}


@pytest.fixture
async def boss(product: House) -> AsyncIterator[httpx.AsyncClient]:
    """An admin of acme."""
    async with product.client("acme", "boss", Role.ADMIN) as client:
        yield client


async def create(boss: httpx.AsyncClient, **body: object) -> dict[str, str]:
    """A new key."""
    created = await boss.post("/v1/keys", json={"subject": "robot", **body})
    assert created.status_code == 201, created.text
    found: dict[str, str] = created.json()
    return found


def holder(product: House, key: str, header: str = "Authorization") -> httpx.AsyncClient:
    """A client that sends the key."""
    value = f"Bearer {key}" if header == "Authorization" else key
    return httpx.AsyncClient(base_url=product.url, headers={header: value}, timeout=30)


class TestLife:
    @pytest.mark.parametrize("header", ["Authorization", "X-Api-Key"])
    async def test_a_key_chats_as_its_subject(
        self, product: House, boss: httpx.AsyncClient, header: str
    ) -> None:
        created = await create(boss)
        assert {"key_id", "key"} <= set(created)
        async with holder(product, created["key"], header) as robot:
            said = await answer(robot)
            assert len(await messages(robot, said["thread_id"])) == 2
        event = next(e for e in await audit(product, "acme") if e["run_id"] == said["run_id"])
        actor = f"key:{created['key_id']} > server > graph"
        assert (event["subject"], event["actor"]) == ("robot", actor)

    async def test_a_key_and_a_token_in_one_request_are_refused(
        self, product: House, boss: httpx.AsyncClient
    ) -> None:
        created = await create(boss)
        assert_problem(await boss.get("/v1/threads", headers={"X-Api-Key": created["key"]}), 401)

    async def test_the_text_of_a_key_is_shown_once(
        self, product: House, boss: httpx.AsyncClient
    ) -> None:
        created = await create(boss, ttl_seconds=3600)
        page = await boss.get("/v1/keys", params={"limit": 200})
        assert created["key"] not in page.text + str(await audit(product, "acme"))
        secret = created["key"].rpartition("_")[2]
        assert secret not in page.text
        [item] = [i for i in page.json()["items"] if i["key_id"] == created["key_id"]]
        assert set(item) == LISTED
        assert (item["subject"], item["role"], item["revoked_at"]) == ("robot", "member", None)
        assert item["expires_at"] > item["created_at"]

    async def test_keys_are_listed_in_pages(self, product: House) -> None:
        tenant = await product.new_tenant("keyring")
        async with product.client(tenant, "boss", Role.ADMIN) as client:
            made = [(await create(client, subject=f"s{n}"))["key_id"] for n in range(3)]
            first = (await client.get("/v1/keys", params={"limit": 2})).json()
            query = {"limit": 2, "cursor": first["next_cursor"]}
            second = (await client.get("/v1/keys", params=query)).json()
        assert [i["key_id"] for i in first["items"] + second["items"]] == made
        assert second["next_cursor"] is None

    async def test_a_revoked_key_is_refused_within_a_second(
        self, product: House, boss: httpx.AsyncClient
    ) -> None:
        created = await create(boss)
        async with holder(product, created["key"]) as robot:
            assert (await robot.get("/v1/threads")).status_code == 200
            revoked = await boss.delete(f"/v1/keys/{created['key_id']}")
            assert (revoked.status_code, revoked.content) == (204, b"")

            async def is_refused() -> bool:
                return (await robot.get("/v1/threads")).status_code == 401

            await eventually(is_refused, 1)
            assert_problem(await ask(robot), 401)
        items = (await boss.get("/v1/keys", params={"limit": 200})).json()["items"]
        [item] = [i for i in items if i["key_id"] == created["key_id"]]
        assert item["revoked_at"]

    async def test_making_and_revoking_is_audited(
        self, product: House, boss: httpx.AsyncClient
    ) -> None:
        created = await create(boss)
        await boss.delete(f"/v1/keys/{created['key_id']}")
        trail = [
            (e["action"], e["outcome"], e["subject"])
            for e in await audit(product, "acme")
            if e["resource"] == created["key_id"]
        ]
        assert trail == [
            ("key.revoke", "allowed", "boss"),
            ("key.create", "allowed", "boss"),
        ]

    async def test_anothers_key_is_one_that_never_was(
        self, product: House, boss: httpx.AsyncClient
    ) -> None:
        created = await create(boss)
        async with product.client("globex", "boss", Role.ADMIN) as globex:
            answers = [
                await globex.delete(f"/v1/keys/{key_id}") for key_id in (created["key_id"], uuid4())
            ]
            assert created["key_id"] not in (await globex.get("/v1/keys")).text
        assert_problem(answers[0], 404)
        assert answers[0].content == answers[1].content
        async with holder(product, created["key"]) as robot:
            assert (await robot.get("/v1/threads")).status_code == 200

    async def test_a_key_that_is_nearly_right_is_wrong(
        self, product: House, boss: httpx.AsyncClient
    ) -> None:
        key = (await create(boss))["key"]
        for wrong in (
            key[:-1],
            key + "a",
            key[:-1] + ("b" if key[-1] == "a" else "a"),
            key.upper(),
        ):
            async with holder(product, wrong) as robot:
                assert_problem(await robot.get("/v1/threads"), 401)


class TestScopes:
    async def test_a_key_may_do_what_it_was_given(
        self, product: House, boss: httpx.AsyncClient
    ) -> None:
        viewer = await create(boss, role="viewer")
        narrow = await create(boss, role="member", scopes=["search"])
        service = await create(boss, role="service", scopes=["chat", "documents:write"])
        idle = await create(boss, role="service")
        upload = {"file": ("k.txt", b"keyed")}
        expected = {
            viewer["key"]: (200, 200, 403, 403),
            narrow["key"]: (403, 200, 403, 403),
            service["key"]: (403, 403, 200, 201),
            idle["key"]: (403, 403, 403, 403),
        }
        for key, statuses in expected.items():
            async with holder(product, key) as client:
                got = (
                    (await client.get("/v1/threads")).status_code,
                    (await client.post("/v1/search", json={"query": "x"})).status_code,
                    (await ask(client)).status_code,
                    (await client.post("/v1/documents", files=upload)).status_code,
                )
            assert got == statuses

    @pytest.mark.parametrize(
        "body",
        [
            {"role": "admin", "scopes": ["threads:debug"]},
            {"role": "service", "scopes": ["chat", "threads:debug"]},
        ],
    )
    async def test_nobody_grants_what_they_lack(self, boss: httpx.AsyncClient, body: dict) -> None:
        assert_problem(await boss.post("/v1/keys", json={"subject": "robot", **body}), 403)

    async def test_a_key_that_makes_keys_makes_no_stronger_ones(
        self, product: House, boss: httpx.AsyncClient
    ) -> None:
        maker = await create(boss, role="service", scopes=["keys:write", "search"])
        async with holder(product, maker["key"]) as client:
            for body in ({"role": "admin"}, {"role": "member"}, {"role": "viewer"}):
                response = await client.post("/v1/keys", json={"subject": "x", **body})
                assert_problem(response, 403)
            weak = {"subject": "x", "role": "service", "scopes": ["search"]}
            assert (await client.post("/v1/keys", json=weak)).status_code == 201

    async def test_a_member_makes_no_key(self, product: House) -> None:
        async with product.client("acme") as member:
            assert_problem(await member.post("/v1/keys", json={"subject": "x"}), 403)
            assert_problem(await member.get("/v1/keys"), 403)

    @pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER])
    async def test_a_tokens_claim_widens_nothing(self, product: House, role: Role) -> None:
        every = ["chat", "keys:write", "audit:read", "threads:all", "documents:write", "platform:*"]
        async with product.client("acme", "climber", role, scopes=every) as client:
            for path in ("/v1/keys", "/v1/audit", "/v1/usage"):
                assert_problem(await client.get(path), 403)


class TestServed:
    async def test_a_suspended_tenant_is_refused_within_a_second(self, product: House) -> None:
        tenant = await product.new_tenant("debtor")
        async with product.client(tenant, "boss", Role.ADMIN) as client:
            key = (await create(client, role="admin"))["key"]
            said = await answer(client)
            async with admin_of(product) as admin:
                admin.set_status(tenant, TenantStatus.SUSPENDED)

            async def is_refused() -> bool:
                return (await client.get("/v1/threads")).status_code == 403

            await eventually(is_refused, 1)
            assert_problem(await ask(client, thread_id=said["thread_id"]), 403, says="suspended")
            async with holder(product, key) as robot:
                assert_problem(await robot.get("/v1/threads"), 403)
            async with admin_of(product) as admin:
                admin.set_status(tenant, TenantStatus.ACTIVE)

            async def is_served() -> bool:
                return (await client.get("/v1/threads")).status_code == 200

            await eventually(is_served, 1)
            assert len(await messages(client, said["thread_id"])) == 2

    async def test_a_tenant_suspended_under_a_run_gets_no_further(self, product: House) -> None:
        tenant = await product.new_tenant("caught")
        product.model.hold()
        async with product.client(tenant) as client:
            turn = asyncio.create_task(ask(client))
            await product.model.wait_in_flight(1)
            async with admin_of(product) as admin:
                admin.set_status(tenant, TenantStatus.SUSPENDED)

            async def is_refused() -> bool:
                return (await client.get("/v1/threads")).status_code == 403

            await eventually(is_refused, 1)
            product.model.release()
            assert_problem(await turn, 403)

    async def test_an_expired_token_is_refused(self, product: House) -> None:
        async with product.client("acme", life=timedelta(seconds=-31)) as client:
            assert_problem(await client.get("/v1/threads"), 401)
        async with product.client("acme", life=timedelta(seconds=-20)) as client:
            assert (await client.get("/v1/threads")).status_code == 200

    async def test_a_token_for_no_tenant_is_refused(self, product: House) -> None:
        async with product.client("nobody") as client:
            assert_problem(await client.get("/v1/threads"), 401)
