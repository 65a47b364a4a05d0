"""What is remembered: told to the model as data, shown to its person, forgotten when asked to."""

from typing import Any
from uuid import uuid4

import httpx

from tenancy.principal import Role
from tests.http.speech import answer, assert_problem, audit, messages, tools_shown, usage
from tests.support.house import House
from tests.support.model_server import Reply

ITEM = {"memory_id", "of", "text", "created_at", "updated_at"}


async def remember(client: httpx.AsyncClient, text: str, **more: Any) -> dict[str, Any]:
    """A memory made by hand."""
    made = await client.post("/v1/memories", json={"text": text, **more})
    assert made.status_code in {200, 201}, made.text
    item: dict[str, Any] = made.json()
    return item


async def texts(client: httpx.AsyncClient, **params: Any) -> list[str]:
    """What the client's list says."""
    items = (await client.get("/v1/memories", params=params)).json()["items"]
    return [item["text"] for item in items]


def system(product: House) -> str:
    """The first message of the last prompt."""
    said: str = product.model.chat_requests[-1]["messages"][0]["content"]
    return said


def told(product: House) -> list[str]:
    """What tools answered the model at its last call."""
    sent = product.model.chat_requests[-1]["messages"]
    return [message["content"] for message in sent if message["role"] == "tool"]


async def test_an_agent_remembers_across_threads_and_forgets(product: House) -> None:
    tenant = await product.new_tenant("diary")
    async with product.client(tenant) as client:
        product.model.script(Reply.tool_call("remember", {"text": "Likes tea & <b>milk</b>"}))
        thread = (await answer(client, "Remember what I like"))["thread_id"]
        assert told(product) == ["Remembered."]
        [item] = (await client.get("/v1/memories")).json()["items"]
        assert set(item) == ITEM
        assert (item["of"], item["text"]) == ("person", "Likes tea & <b>milk</b>")
        await answer(client, "What do I like?")
        framed = f'<memory id="{item["memory_id"]}" of="person">Likes tea &amp; &lt;b&gt;milk'
        assert framed in system(product)
        assert f"tenant_id: {tenant}" in system(product)
        product.model.script(Reply.tool_call("forget", {"memory": item["memory_id"]}))
        await answer(client, "Forget it")
        assert told(product) == ["Forgotten."]
        await answer(client, "What do I like?")
        assert "<memory" not in system(product)
        assert all("<memory" not in said for _, said in await messages(client, thread))
    trail = [e for e in await audit(product, tenant) if e["action"].startswith("memory.")]
    assert [e["action"] for e in trail] == ["memory.forget", "memory.remember"]
    assert {e["resource"] for e in trail} == {item["memory_id"]}
    assert {e["thread_id"] for e in trail} >= {thread}


async def test_nobody_else_is_told_and_the_tenants_own_are_for_all(product: House) -> None:
    tenant = await product.new_tenant("family-diary")
    async with (
        product.client(tenant, "ann") as ann,
        product.client(tenant, "bob") as bob,
        product.client(tenant, "boss", Role.ADMIN) as boss,
    ):
        hers = await remember(ann, "Ann's secret")
        all_of_them = await remember(boss, "We close at noon", of="tenant")
        assert_problem(await ann.post("/v1/memories", json={"text": "x", "of": "tenant"}), 403)
        assert await texts(bob) == await texts(boss) == ["We close at noon"]
        assert await texts(ann) == ["We close at noon", "Ann's secret"]
        assert await texts(bob, query="Ann's secret") == ["We close at noon"]
        await answer(bob)
        assert "Ann's secret" not in system(product)
        assert 'of="tenant">We close at noon' in system(product)
        for client in (bob, boss):
            url = f"/v1/memories/{hers['memory_id']}"
            missing = await client.delete(f"/v1/memories/{uuid4()}")
            assert_problem(missing, 404)
            assert (await client.delete(url)).content == missing.content
            assert_problem(await client.patch(url, json={"text": "Mine"}), 404)
        url = f"/v1/memories/{all_of_them['memory_id']}"
        assert_problem(await bob.delete(url), 403)
        assert_problem(await bob.patch(url, json={"text": "Never"}), 403)
        changed = await boss.patch(url, json={"text": "We close at one"})
        assert changed.json()["text"] == "We close at one"
        assert (await bob.delete("/v1/memories")).status_code == 204
        assert await texts(ann) == ["We close at one", "Ann's secret"]


async def test_people_list_edit_and_delete(product: House) -> None:
    tenant = await product.new_tenant("editor")
    async with product.client(tenant) as client:
        first = await remember(client, "I like tea")
        again = await client.post("/v1/memories", json={"text": "i LIKE  tea"})
        assert (again.status_code, again.json()["memory_id"]) == (200, first["memory_id"])
        await remember(client, "I like milk")
        url = f"/v1/memories/{first['memory_id']}"
        assert_problem(await client.patch(url, json={"text": "I like milk"}), 409)
        assert (await client.patch(url, json={"text": "I like coffee"})).status_code == 200
        page = (await client.get("/v1/memories", params={"limit": 1})).json()
        assert [item["text"] for item in page["items"]] == ["I like milk"]
        rest = await texts(client, limit=1, cursor=page["next_cursor"])
        assert rest == ["I like coffee"]
        assert (await texts(client, query="I like coffee"))[0] == "I like coffee"
        assert await texts(client, query=" ") == await texts(client)
        assert (await client.delete(url)).status_code == 204
        assert_problem(await client.delete(url), 404)
        assert (await client.delete("/v1/memories")).status_code == 204
        assert await texts(client) == []
        for body in ({"text": ""}, {"text": " "}, {"text": "x" * 501}, {}, {"text": "a\0b"}):
            assert_problem(await client.post("/v1/memories", json=body), 422, "text")
    assert (await usage(product, tenant))["embedding_tokens"] > 0


async def test_one_request_shows_all_that_is_kept_of_a_person(product: House) -> None:
    tenant = await product.new_tenant("access")
    async with (
        product.client(tenant, "ann") as ann,
        product.client(tenant, "boss", Role.ADMIN) as boss,
    ):
        hers = await remember(ann, "Ann's secret")
        await remember(boss, "We close at noon", of="tenant")
        await remember(boss, "The boss's secret")
        got = await ann.get("/v1/memories/export")
        assert got.headers["content-disposition"] == 'attachment; filename="memories-person.json"'
        kept = got.json()
        assert (kept["subject"], len(kept["items"])) == ("ann", 1)
        item = kept["items"][0]
        assert (item["memory_id"], item["namespace"]) == (hers["memory_id"], ["person", "memories"])
        assert item["value"] == {"text": "Ann's secret"}
        assert (item["thread_id"], item["created_at"]) == (None, hers["created_at"])
        assert_problem(await ann.get("/v1/memories/export", params={"of": "tenant"}), 403)
        ours = (await boss.get("/v1/memories/export", params={"of": "tenant"})).json()
        assert ours["subject"] is None
        assert [each["value"]["text"] for each in ours["items"]] == ["We close at noon"]
        assert ours["items"][0]["namespace"] == ["tenant", "memories"]
    actions = [(e["action"], e["subject"]) for e in await audit(product, tenant)]
    assert ("memory.export", "ann") in actions


async def test_a_memory_outlives_the_thread_in_which_it_was_said(product: House) -> None:
    tenant = await product.new_tenant("outliving")
    async with product.client(tenant) as client:
        product.model.script(Reply.tool_call("remember", {"text": "Likes tea"}))
        thread = (await answer(client, "Remember what I like"))["thread_id"]
        [item] = (await client.get("/v1/memories/export")).json()["items"]
        assert item["thread_id"] == thread
        assert (await client.delete(f"/v1/threads/{thread}")).status_code == 204
        assert await texts(client) == ["Likes tea"]
        await answer(client, "What do I like?")
        assert "Likes tea" in system(product)


async def test_a_person_switches_its_memory_off(product: House) -> None:
    tenant = await product.new_tenant("private")
    async with product.client(tenant) as client:
        await remember(client, "I like tea")
        off = await client.put("/v1/memory", json={"enabled": False})
        assert off.json() == {"enabled": False, "limit": 1000}
        await answer(client, "What do I like?")
        assert "<memory" not in system(product)
        assert "remember" not in tools_shown(product.model.chat_requests[-1])
        product.model.script(Reply.tool_call("remember", {"text": "Again"}))
        await answer(client, "Remember me")
        assert told(product) == ["Not remembered. Memory is off."]
        assert_problem(await client.post("/v1/memories", json={"text": "Again"}), 403)
        assert await texts(client) == await texts(client, query="tea") == ["I like tea"]
        await client.put("/v1/memory", json={"enabled": True})
        assert (await client.get("/v1/memory")).json()["enabled"] is True
        await answer(client, "What do I like?")
        assert "I like tea" in system(product)


async def test_a_plan_without_memory_has_none(product: House) -> None:
    async with product.client("globex", "boss", Role.ADMIN) as client:
        await answer(client)
        assert "remember" not in tools_shown(product.model.chat_requests[-1])
        for of in ("person", "tenant"):
            made = await client.post("/v1/memories", json={"text": "Tea", "of": of})
            assert_problem(made, 403, says="Memory is off.")
        assert (await client.get("/v1/memory")).json() == {"enabled": True, "limit": 0}
        names = [tool["name"] for tool in (await client.get("/v1/tools")).json()["items"]]
        assert "remember" not in names


async def test_a_plan_says_how_much_is_remembered(product: House) -> None:
    tenant = await product.new_tenant("short-diary", memories=2)
    async with product.client(tenant) as client, product.client(tenant, "bob") as bob:
        for text in ("one", "two", "Two"):
            await remember(client, text)
        assert_problem(await client.post("/v1/memories", json={"text": "three"}), 429)
        await remember(bob, "his own")


async def test_of_many_memories_the_nearest_are_told(product: House) -> None:
    tenant = await product.new_tenant("chatty")
    async with product.client(tenant) as client:
        for n in range(12):
            await remember(client, f"Fact number {n} about shelf {n}")
        await answer(client, "Fact number 3 about shelf 3")
        assert system(product).count("<memory ") == 8
        assert "Fact number 3 about" in system(product)


async def test_what_is_embedded_for_nothing_is_billed(product: House) -> None:
    """A person with no room left had texts without end embedded, and nobody was billed."""
    tenant = await product.new_tenant("full-diary", memories=2)
    async with product.client(tenant) as client:
        first, _ = [await remember(client, text) for text in ("One thing", "Another thing")]
        billed = (await usage(product, tenant))["embedding_tokens"]
        address = f"/v1/memories/{first['memory_id']}"
        for method, url, text, status in (
            ("POST", "/v1/memories", "A third thing", 429),
            ("PATCH", address, "Another thing", 409),
            ("PATCH", f"/v1/memories/{uuid4()}", "Whatever", 404),
        ):
            assert_problem(await client.request(method, url, json={"text": text}), status)
            before, billed = billed, (await usage(product, tenant))["embedding_tokens"]
            assert (billed > before) == (status != 404)
