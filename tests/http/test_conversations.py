"""Conversations: found by their words, shared inside the tenant, copied, forked and taken along."""

from uuid import uuid4

import httpx

from tenancy.principal import Role
from tests.http.speech import answer, ask, assert_problem, audit, messages
from tests.support.house import House
from tests.support.model_server import Reply

EMPTY = {"input_tokens": 0, "output_tokens": 0}


async def listed(client: httpx.AsyncClient, **query: object) -> list[str]:
    """The ids that a list of threads answers."""
    response = await client.get("/v1/threads", params=query)
    assert response.status_code == 200
    return [item["thread_id"] for item in response.json()["items"]]


async def change(client: httpx.AsyncClient, thread: str, **changes: object) -> httpx.Response:
    return await client.patch(f"/v1/threads/{thread}", json=changes)


# -- names


async def test_a_thread_is_renamed_by_its_owner_and_by_an_admin(product: House) -> None:
    tenant = await product.new_tenant("names")
    async with product.client(tenant, "ann") as ann, product.client(tenant, "bob") as bob:
        thread = (await answer(ann, "Hello"))["thread_id"]
        assert (await change(ann, thread, title="Mine")).json()["title"] == "Mine"
        assert_problem(await change(bob, thread, title="Bob's"), 404)
    async with product.client(tenant, "boss", Role.ADMIN) as boss:
        assert (await change(boss, thread, title="Ours")).json()["title"] == "Ours"
    trail = await audit(product, tenant)
    renamed = [event["resource"] for event in trail if event["action"] == "thread.rename"]
    assert renamed == [thread, thread]


async def test_a_turn_does_not_rename_what_a_person_named(product: House) -> None:
    async with product.client("acme") as acme:
        thread = (await answer(acme, "First"))["thread_id"]
        await change(acme, thread, title="Mine")
        await answer(acme, "Second", thread_id=thread)
        assert (await acme.get(f"/v1/threads/{thread}")).json()["title"] == "Mine"


async def test_a_change_that_changes_nothing_is_refused(product: House) -> None:
    async with product.client("acme") as acme:
        thread = (await answer(acme))["thread_id"]
        assert_problem(await change(acme, thread), 422)
        assert_problem(await change(acme, thread, owner="bob"), 422)
        assert_problem(await change(acme, str(uuid4()), title="x"), 404)


# -- sharing


async def test_a_shared_thread_is_read_by_its_tenant_and_written_by_its_owner(
    product: House,
) -> None:
    tenant = await product.new_tenant("sharers")
    async with product.client(tenant, "ann") as ann, product.client(tenant, "bob") as bob:
        said = await answer(ann, "Look at this")
        thread = said["thread_id"]
        url = f"/v1/threads/{thread}"
        assert_problem(await bob.get(url), 404)
        assert (await change(ann, thread, shared=True)).json()["shared"] is True
        assert (await bob.get(url)).json()["owner"] == "ann"
        assert (await bob.get(f"/v1/runs/{said['run_id']}")).status_code == 200
        assert await listed(bob, shared=True) == [thread]
        assert await listed(bob) == []
        for refused in (
            await ask(bob, thread_id=thread),
            await change(bob, thread, shared=False),
            await bob.delete(url),
        ):
            assert_problem(refused, 404)
        await change(ann, thread, shared=False)
        assert_problem(await bob.get(url), 404)
        assert await listed(bob, shared=True) == []
    actions = [event["action"] for event in await audit(product, tenant)]
    assert {"thread.share", "thread.unshare"} <= set(actions)


async def test_a_shared_thread_is_shared_with_no_other_tenant(product: House) -> None:
    async with product.client("acme") as acme, product.client("globex") as globex:
        thread = (await answer(acme, "Only for acmeans"))["thread_id"]
        await change(acme, thread, shared=True)
        assert thread not in await listed(globex, shared=True)
        assert thread not in await listed(globex, query="acmeans")
        for path in ("", "/export"):
            assert_problem(await globex.get(f"/v1/threads/{thread}{path}"), 404)
        assert_problem(await globex.post(f"/v1/threads/{thread}/copy"), 404)


# -- search


async def test_threads_are_found_by_title_by_question_and_by_answer(product: House) -> None:
    tenant = await product.new_tenant("seekers")
    async with product.client(tenant, "ann") as ann, product.client(tenant, "bob") as bob:
        product.model.script(Reply.text("The walrus sings."))
        asked = (await answer(ann, "What does the penguin do?"))["thread_id"]
        product.model.script(Reply.text("Nothing at all."))
        await answer(ann, "And a lighthouse?", thread_id=asked)
        named = (await ann.post("/v1/threads", json={"title": "Quarterly zebra"})).json()
        for words in ("penguins", "walrus", "lighthouse", "walrus penguin"):
            assert await listed(ann, query=words) == [asked]
        assert await listed(ann, query="zeb") == [named["thread_id"]]
        assert await listed(ann, query="walrus zebra") == []
        assert await listed(bob, query="walrus") == []
        await change(ann, asked, shared=True)
        assert await listed(bob, query="walrus") == [asked]
        await ann.delete(f"/v1/threads/{asked}")
        assert await listed(ann, query="walrus") == []


async def test_a_search_has_pages_and_takes_any_text(product: House) -> None:
    tenant = await product.new_tenant("pages")
    async with product.client(tenant) as client:
        made = {
            (await client.post("/v1/threads", json={"title": f"heron {n}"})).json()["thread_id"]
            for n in range(3)
        }
        query, found = {"query": "heron", "limit": 2}, []
        for size in (2, 1):
            page = (await client.get("/v1/threads", params=query)).json()
            assert len(page["items"]) == size
            found += [item["thread_id"] for item in page["items"]]
            query["cursor"] = page["next_cursor"]
        assert (set(found), query["cursor"]) == (made, None)
        for odd in ("'", '"', "a & | ! <-> (", "%_\\", "the", " ", "-heron", "🦩", "x" * 400):
            await listed(client, query=odd)
        assert_problem(await client.get("/v1/threads", params={"query": "x" * 401}), 422)


# -- copies


async def test_a_copy_goes_on_by_itself(product: House) -> None:
    async with product.client("acme") as acme:
        thread = (await answer(acme, "One"))["thread_id"]
        made = await acme.post(f"/v1/threads/{thread}/copy")
        assert made.status_code == 201
        copy = made.json()["thread_id"]
        assert await messages(acme, copy) == await messages(acme, thread)
        await answer(acme, "Two", thread_id=copy)
        sent = [m["content"] for m in product.model.chat_requests[-1]["messages"]]
        assert "One" in sent
        assert len(await messages(acme, copy)) == 4
        assert len(await messages(acme, thread)) == 2
        await acme.delete(f"/v1/threads/{thread}")
        assert len(await messages(acme, copy)) == 4


async def test_a_title_is_one_line_of_what_a_reader_sees(product: House) -> None:
    async with product.client("acme") as acme:
        made = await acme.post("/v1/threads", json={"title": "  Desk\n\u202eprices\u200b  "})
        assert made.json()["title"] == "Desk prices"
        renamed = await change(acme, made.json()["thread_id"], title="\n \t")
        assert renamed.json()["title"] == ""


async def test_a_fork_ends_at_its_message(product: House) -> None:
    async with product.client("acme") as acme:
        thread = (await answer(acme, "Otter"))["thread_id"]
        await answer(acme, "Badger", thread_id=thread)
        said = (await acme.get(f"/v1/threads/{thread}")).json()["messages"]
        made = await acme.post(f"/v1/threads/{thread}/fork", json={"after": said[1]["id"]})
        fork = made.json()["thread_id"]
        assert (await acme.get(f"/v1/threads/{fork}")).json()["messages"] == said[:2]
        assert fork not in await listed(acme, query="badger")
        assert fork in await listed(acme, query="otter")
        await answer(acme, "Weasel", thread_id=fork)
        sent = [m["content"] for m in product.model.chat_requests[-1]["messages"]]
        assert "Otter" in sent
        assert "Badger" not in sent
        unknown = await acme.post(f"/v1/threads/{thread}/fork", json={"after": "nothing"})
        assert_problem(unknown, 422)


async def test_a_reader_of_a_shared_thread_copies_it_for_themselves(product: House) -> None:
    tenant = await product.new_tenant("copiers")
    async with product.client(tenant, "ann") as ann, product.client(tenant, "bob") as bob:
        thread = (await answer(ann, "Start"))["thread_id"]
        assert_problem(await bob.post(f"/v1/threads/{thread}/copy"), 404)
        await change(ann, thread, shared=True)
        copy = (await bob.post(f"/v1/threads/{thread}/copy")).json()
        assert (copy["owner"], copy["shared"]) == ("bob", False)
        await answer(bob, "Mine now", thread_id=copy["thread_id"])
        assert_problem(await ann.get(f"/v1/threads/{copy['thread_id']}"), 404)
    found = [e for e in await audit(product, tenant) if e["action"] == "thread.copy"]
    assert [(e["resource"], e["attributes"]["thread"]) for e in found] == [
        (thread, copy["thread_id"])
    ]


async def test_an_empty_thread_is_copied(product: House) -> None:
    async with product.client("acme") as acme:
        thread = (await acme.post("/v1/threads", json={"title": "Empty"})).json()["thread_id"]
        copy = (await acme.post(f"/v1/threads/{thread}/copy")).json()
        assert copy["title"] == "Empty"
        assert await messages(acme, copy["thread_id"]) == []
        await answer(acme, "Hi", thread_id=copy["thread_id"])


# -- exports


async def test_an_export_has_messages_and_what_each_run_took(product: House) -> None:
    async with product.client("acme") as acme:
        first = await answer(acme, "One")
        thread = first["thread_id"]
        second = await answer(acme, "Two", thread_id=thread)
        response = await acme.get(f"/v1/threads/{thread}/export")
        read = (await acme.get(f"/v1/threads/{thread}")).json()
    export = response.json()
    assert f"thread-{thread}.json" in response.headers["content-disposition"]
    assert export["messages"] == read["messages"]
    assert [(r["run_id"], r["usage"]) for r in export["runs"]] == [
        (said["run_id"], said["usage"]) for said in (first, second)
    ]
    assert export["usage"] == {name: first["usage"][name] + second["usage"][name] for name in EMPTY}
    trail = await audit(product, "acme")
    assert ("thread.export", thread) in [(e["action"], e["resource"]) for e in trail]


async def test_an_export_is_a_document_to_read(product: House) -> None:
    async with product.client("acme", "ann") as acme:
        product.model.script(Reply.text("Twelve days."))
        thread = (await answer(acme, "How long?"))["thread_id"]
        url = f"/v1/threads/{thread}/export"
        response = await acme.get(url, params={"format": "markdown"})
        assert_problem(await acme.get(url, params={"format": "pdf"}), 422)
    assert response.headers["content-type"] == "text/markdown; charset=utf-8"
    assert response.text.startswith("# How long?\n\nann, ")
    assert "## Assistant" in response.text
    assert response.text.endswith("\n\nTwelve days.\n")
