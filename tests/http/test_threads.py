"""Threads: made, listed, read and deleted by who may."""

import asyncio
from datetime import datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from server.stores import Stores
from storage.redis_keys import Area, redis_key
from tenancy.ids import TenantId
from tenancy.principal import Role
from tests.http.speech import answer, ask, assert_problem, audit, messages
from tests.support.house import House, house
from tests.support.model_server import ModelServer

THREAD = {"thread_id", "title", "owner", "shared", "created_at", "updated_at"}
MESSAGE = {"id", "role", "content", "citations", "created_at"}


async def test_a_thread_is_made_empty(product: House) -> None:
    async with product.client("acme") as acme:
        made = await acme.post("/v1/threads", json={})
        thread = made.json()
        assert made.status_code == 201
        assert set(thread) == THREAD
        assert thread["title"] == ""
        read = (await acme.get(f"/v1/threads/{thread['thread_id']}")).json()
    assert read == {**thread, "messages": []}


async def test_a_thread_may_have_an_id_of_ones_own(product: House) -> None:
    thread_id = str(uuid4())
    body = {"thread_id": thread_id, "title": "Mine 🦊"}
    async with product.client("acme") as acme, product.client("acme", "bob") as bob:
        made = await acme.post("/v1/threads", json=body)
        assert (made.status_code, made.json()["thread_id"]) == (201, thread_id)
        for client in (acme, bob):
            assert_problem(await client.post("/v1/threads", json=body), 409)
        assert (await answer(acme, thread_id=thread_id))["thread_id"] == thread_id
    async with product.client("globex") as globex:  # ids of tenants do not meet
        assert (await globex.post("/v1/threads", json=body)).status_code == 201
        assert await messages(globex, thread_id) == []


async def test_messages_have_times_ids_and_citations(product: House) -> None:
    async with product.client("acme") as acme:
        thread = (await answer(acme, "One"))["thread_id"]
        await answer(acme, "Two", thread_id=thread)
        read = (await acme.get(f"/v1/threads/{thread}")).json()
    assert set(read) == THREAD | {"messages"}
    assert [m["role"] for m in read["messages"]] == ["user", "assistant"] * 2
    assert all(set(message) == MESSAGE for message in read["messages"])
    assert len({UUID(message["id"]) for message in read["messages"]}) == 4
    assert all(message["created_at"].endswith("Z") for message in read["messages"])
    times = [datetime.fromisoformat(message["created_at"]) for message in read["messages"]]
    assert times == sorted(times)
    assert all(time.tzinfo for time in times)
    assert datetime.fromisoformat(read["created_at"]) <= times[0]


async def test_threads_are_listed_latest_first_in_pages(product: House) -> None:
    tenant = await product.new_tenant("pager")
    async with product.client(tenant) as client:
        made = [
            (await client.post("/v1/threads", json={"title": str(n)})).json()["thread_id"]
            for n in range(5)
        ]
        await answer(client, thread_id=made[0])
        found, query = [], {"limit": 2}
        for size in (2, 2, 1):
            page = (await client.get("/v1/threads", params=query)).json()
            assert len(page["items"]) == size
            assert all(set(item) == THREAD for item in page["items"])
            found += [item["thread_id"] for item in page["items"]]
            query["cursor"] = page["next_cursor"]
    assert found == [made[0], *made[:0:-1]]
    assert query["cursor"] is None


async def test_a_member_sees_their_own_and_an_admin_all(product: House) -> None:
    tenant = await product.new_tenant("family")
    own = {}
    for subject in ("ann", "bob"):
        async with product.client(tenant, subject) as client:
            own[subject] = (await answer(client))["thread_id"]
    for subject, role, sees in (
        ("ann", Role.MEMBER, {own["ann"]}),
        ("bob", Role.VIEWER, {own["bob"]}),
        ("boss", Role.ADMIN, set(own.values())),
    ):
        async with product.client(tenant, subject, role) as client:
            items = (await client.get("/v1/threads")).json()["items"]
            assert {item["thread_id"] for item in items} == sees
            for thread in own.values():
                status = (await client.get(f"/v1/threads/{thread}")).status_code
                assert status == (200 if thread in sees else 404)
    async with product.client(tenant, "bob") as bob:
        assert_problem(await bob.delete(f"/v1/threads/{own['ann']}"), 404)
    async with product.client(tenant, "ann") as ann:
        assert len(await messages(ann, own["ann"])) == 2


async def test_a_deleted_thread_is_gone(product: House) -> None:
    async with product.client("acme") as acme:
        said = await answer(acme, "Forget me")
        url = f"/v1/threads/{said['thread_id']}"
        deleted = await acme.delete(url)
        assert (deleted.status_code, deleted.content) == (204, b"")
        assert_problem(await acme.get(url), 404)
        assert_problem(await acme.delete(url), 404)
        assert_problem(await ask(acme, thread_id=said["thread_id"]), 404)
        assert_problem(await acme.get(f"/v1/runs/{said['run_id']}"), 404)
        again = await acme.post("/v1/threads", json={"thread_id": said["thread_id"]})
        assert again.status_code == 201
        assert await messages(acme, said["thread_id"]) == []
    trail = await audit(product, "acme")
    assert ("thread.delete", said["thread_id"]) in [(e["action"], e["resource"]) for e in trail]


async def test_a_busy_thread_is_not_deleted(product: House) -> None:
    product.model.hold()
    async with product.client("acme") as acme:
        thread = (await acme.post("/v1/threads", json={})).json()["thread_id"]
        turn = asyncio.create_task(ask(acme, thread_id=thread))
        await product.model.wait_in_flight(1)
        refused = await acme.delete(f"/v1/threads/{thread}")
        product.model.release()
        assert_problem(refused, 409)
        assert refused.headers["retry-after"]
        assert (await turn).status_code == 200
        assert (await acme.delete(f"/v1/threads/{thread}")).status_code == 204


async def test_a_viewer_reads_and_writes_nothing(product: House) -> None:
    async with product.client("acme", "looker", Role.VIEWER) as viewer:
        assert_problem(await viewer.post("/v1/threads", json={}), 403)
        assert_problem(await viewer.delete(f"/v1/threads/{uuid4()}"), 403)
        assert_problem(await ask(viewer), 403)
        assert (await viewer.get("/v1/threads")).status_code == 200


async def test_a_thread_that_outgrew_the_window_still_answers(product: House) -> None:
    async with product.client("acme") as acme:
        thread = (await answer(acme, "a" * 20_000))["thread_id"]
        for letter in "bc":
            await answer(acme, letter * 20_000, thread_id=thread)
        assert len(await messages(acme, thread)) == 6
    sent = [m["content"][:1] for m in product.model.chat_requests[-1]["messages"]]
    assert sent[-1] == "c"
    assert "a" not in sent


async def test_ids_are_uuids(product: House) -> None:
    async with product.client("acme") as acme:
        said = await answer(acme)
        read = (await acme.get(f"/v1/threads/{said['thread_id']}")).json()
    assert str(UUID(said["thread_id"])) == said["thread_id"]
    assert read["messages"][0]["id"] == said["run_id"]


@pytest.mark.parametrize("on", [True, False])
async def test_redis_has_a_copy_of_a_thread_unless_that_is_off(
    stores: Stores, model: ModelServer, tmp_path: Path, on: bool
) -> None:
    async with house(stores, tmp_path, model, hot_context=on) as running:
        async with running.client("acme") as acme:
            thread = (await answer(acme))["thread_id"]
            await answer(acme, thread_id=thread)
            assert len(await messages(acme, thread)) == 4
        key = redis_key(TenantId("acme"), Area.HOT, f"thread/{thread}")
        assert await running.services.cells.first.redis.execute_command("EXISTS", key) == on
