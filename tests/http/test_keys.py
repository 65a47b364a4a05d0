"""API keys over HTTP, and who is served: what a change of credential or status does, and when."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from server.stores import Stores
from storage.control import control
from tenancy.ids import KeyId
from tenancy.principal import Role
from tenancy.tenant import TenantStatus
from tests.http.speech import (
    admin_of,
    answer,
    ask,
    assert_problem,
    audit,
    eventually,
    later,
    messages,
)
from tests.support.house import House, house
from tests.support.model_server import ModelServer
from tests.support.stores import ACME

LISTED = {"key_id", "subject", "role", "scopes", "created_at", "expires_at", "revoked_at"} | {
    "replaced_by",
    "last_used_at",
}
SAME = ("subject", "role", "scopes")


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


async def rotate(
    client: httpx.AsyncClient, key_id: str, overlap: int | None = None
) -> httpx.Response:
    """One rotation."""
    body = {} if overlap is None else {"overlap_seconds": overlap}
    return await client.post(f"/v1/keys/{key_id}/rotate", json=body)


async def listed(client: httpx.AsyncClient, key_id: str) -> dict[str, Any]:
    """A key as it is listed."""
    items = (await client.get("/v1/keys", params={"limit": 200})).json()["items"]
    [item] = [item for item in items if item["key_id"] == key_id]
    found: dict[str, Any] = item
    return found


def seconds_between(item: dict[str, Any], end: str, start: str = "created_at") -> float:
    """How long from one time of a key to another."""
    times = [datetime.fromisoformat(item[name]) for name in (end, start)]
    return (times[0] - times[1]).total_seconds()


class TestRotation:
    async def test_both_keys_hold_until_the_overlap_is_over(
        self, product: House, boss: httpx.AsyncClient
    ) -> None:
        old = await create(boss, role="member", scopes=["search"])
        done = await rotate(boss, old["key_id"])
        assert done.status_code == 201, done.text
        new = done.json()
        assert new["key"] != old["key"]
        for key in (old["key"], new["key"]):
            async with holder(product, key) as robot:
                assert (await robot.post("/v1/search", json={"query": "x"})).status_code == 200
                assert_problem(await ask(robot), 403)
        was, now = await listed(boss, old["key_id"]), await listed(boss, new["key_id"])
        assert [was[name] for name in SAME] == [now[name] for name in SAME]
        assert was["replaced_by"] == new["key_id"]
        assert was["expires_at"] == new["replaced"]["expires_at"]
        assert now["expires_at"] is new["expires_at"] is None
        overlap = datetime.fromisoformat(was["expires_at"]) - datetime.fromisoformat(
            now["created_at"]
        )
        assert overlap == timedelta(days=1)

    async def test_without_an_overlap_the_old_key_ends_within_a_second(
        self, product: House, boss: httpx.AsyncClient
    ) -> None:
        old = await create(boss)
        new = (await rotate(boss, old["key_id"], 0)).json()
        async with holder(product, old["key"]) as robot:

            async def is_refused() -> bool:
                return (await robot.get("/v1/threads")).status_code == 401

            await eventually(is_refused, 1)
        async with holder(product, new["key"]) as robot:
            assert (await robot.get("/v1/threads")).status_code == 200

    async def test_the_new_key_lives_as_long_and_the_old_one_no_longer(
        self, boss: httpx.AsyncClient
    ) -> None:
        old = await create(boss, ttl_seconds=3600)
        ends = (await listed(boss, old["key_id"]))["expires_at"]
        new = (await rotate(boss, old["key_id"], 7 * 86_400)).json()
        assert (await listed(boss, old["key_id"]))["expires_at"] == ends
        assert seconds_between(new, "expires_at") == pytest.approx(3600, abs=5)
        [first, second] = [
            seconds_between(await listed(boss, key["key_id"]), "expires_at") for key in (old, new)
        ]
        assert first == second

    async def test_a_key_is_rotated_in_a_chain(self, boss: httpx.AsyncClient) -> None:
        key_id = (await create(boss))["key_id"]
        for _ in range(3):
            key_id = (await rotate(boss, key_id, 60)).json()["key_id"]
        assert (await listed(boss, key_id))["expires_at"] is None

    async def test_of_many_rotations_at_once_one_is_made(self, boss: httpx.AsyncClient) -> None:
        old = await create(boss)
        answers = await asyncio.gather(*(rotate(boss, old["key_id"]) for _ in range(8)))
        assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7

    async def test_a_key_that_has_ended_is_not_rotated(
        self, product: House, boss: httpx.AsyncClient
    ) -> None:
        revoked, expired, replaced = [await create(boss) for _ in range(3)]
        await boss.delete(f"/v1/keys/{revoked['key_id']}")
        await rotate(boss, replaced["key_id"])
        async with admin_of(product) as admin:
            end = "update control.api_keys set expires_at = now() where key_id = %s"
            admin._conn.execute(end, [expired["key_id"]])
        for key, says in ((revoked, "revoked"), (expired, "expired"), (replaced, "already")):
            assert_problem(await rotate(boss, key["key_id"]), 409, says=says)
        assert (await listed(boss, revoked["key_id"]))["replaced_by"] is None

    @pytest.mark.parametrize("subject", ["robot", ""], ids=["subject", "tenant"])
    async def test_rotation_does_not_undo_a_revocation(self, product: House, subject: str) -> None:
        tenant = await product.new_tenant(f"rotating-{subject or 'all'}")
        async with product.client(tenant, "boss", Role.ADMIN) as boss:
            old = await create(boss)
        async with admin_of(product) as admin:
            admin.revoke(tenant, subject=subject)
        async with holder(product, later(product, tenant, "boss", Role.ADMIN)) as boss:
            assert_problem(await rotate(boss, old["key_id"]), 409, says="revoked")

    async def test_a_stronger_key_is_not_rotated_into_ones_hands(
        self, product: House, boss: httpx.AsyncClient
    ) -> None:
        strong = await create(boss, role="admin")
        maker = await create(boss, role="service", scopes=["keys:write", "search"])
        weak = await create(boss, role="service", scopes=["search"])
        async with holder(product, maker["key"]) as client:
            assert_problem(await rotate(client, strong["key_id"]), 403)
            assert (await rotate(client, weak["key_id"])).status_code == 201
            assert (await rotate(client, maker["key_id"])).status_code == 201
        assert (await listed(boss, strong["key_id"]))["replaced_by"] is None

    async def test_a_rotation_is_audited(self, product: House, boss: httpx.AsyncClient) -> None:
        old = await create(boss)
        new = (await rotate(boss, old["key_id"])).json()
        assert_problem(await rotate(boss, old["key_id"]), 409)
        trail = await audit(product, "acme")
        [event] = [
            e for e in trail if (e["action"], e["resource"]) == ("key.rotate", old["key_id"])
        ]
        assert (event["outcome"], event["subject"]) == ("allowed", "boss")
        assert event["attributes"] == {"replaced_by": new["key_id"]}
        assert new["key"] not in str(trail)

    async def test_anothers_key_is_not_rotated(
        self, product: House, boss: httpx.AsyncClient
    ) -> None:
        old = await create(boss)
        async with product.client("globex", "boss", Role.ADMIN) as globex:
            answers = [await rotate(globex, str(each)) for each in (old["key_id"], uuid4())]
        assert_problem(answers[0], 404)
        assert answers[0].content == answers[1].content
        assert (await listed(boss, old["key_id"]))["replaced_by"] is None

    @pytest.mark.parametrize("overlap", [-1, 10**12, 1.5, "1", None, True])
    async def test_an_overlap_that_is_none_is_refused(
        self, boss: httpx.AsyncClient, overlap: object
    ) -> None:
        url = f"/v1/keys/{uuid4()}/rotate"
        refused = await boss.post(url, json={"overlap_seconds": overlap})
        assert_problem(refused, 422, "overlap_seconds")

    async def test_a_body_is_not_needed(self, boss: httpx.AsyncClient) -> None:
        old = await create(boss)
        assert (await boss.post(f"/v1/keys/{old['key_id']}/rotate")).status_code == 201


class TestLastUse:
    async def test_a_request_leaves_a_mark_that_is_noted_behind_it(
        self, product: House, boss: httpx.AsyncClient
    ) -> None:
        used, unused, revoked = [await create(boss) for _ in range(3)]
        await boss.delete(f"/v1/keys/{revoked['key_id']}")
        async with holder(product, used["key"]) as robot, holder(product, revoked["key"]) as gone:
            assert (await robot.get("/v1/threads")).status_code == 200
            assert (await robot.get("/v1/keys")).status_code == 403
            assert (await gone.get("/v1/threads")).status_code == 401
        assert (await listed(boss, used["key_id"]))["last_used_at"] is None
        await product.services.key_uses.flush()
        item = await listed(boss, used["key_id"])
        assert seconds_between(item, "last_used_at") > 0
        for key in (unused, revoked):
            assert (await listed(boss, key["key_id"]))["last_used_at"] is None

    async def test_a_server_that_stops_notes_the_last_uses(
        self, stores: Stores, model: ModelServer, tmp_path: Path
    ) -> None:
        async with house(stores, tmp_path, model) as short:
            async with short.client("acme", "boss", Role.ADMIN) as boss:
                used = await create(boss)
            async with holder(short, used["key"]) as robot:
                assert (await robot.get("/v1/threads")).status_code == 200
        with control(stores.owner()) as admin:
            [row] = [row for row in admin.keys(ACME) if str(row["key_id"]) == used["key_id"]]
        assert row["last_used_at"]

    async def test_a_suspended_tenants_key_is_not_used(self, product: House) -> None:
        tenant = await product.new_tenant("dormant")
        async with product.client(tenant, "boss", Role.ADMIN) as boss:
            key = await create(boss)
        async with admin_of(product) as admin:
            admin.set_status(tenant, TenantStatus.SUSPENDED)
        async with holder(product, key["key"]) as robot:

            async def is_refused() -> bool:
                return (await robot.get("/v1/threads")).status_code == 403

            await eventually(is_refused, 1)
            product.services.key_uses._marks.clear()
            assert await is_refused()
        assert KeyId(UUID(key["key_id"])) not in product.services.key_uses._marks


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
