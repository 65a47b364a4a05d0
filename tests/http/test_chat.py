"""One turn over HTTP: its answer, what it remembers, what it cites, what it cost."""

import asyncio
from datetime import datetime
from uuid import UUID, uuid4

import psycopg
import pytest

from storage.queries import query
from tenancy.ids import TenantId
from tenancy.principal import Role
from tests.http.speech import (
    ANSWER,
    admin_of,
    answer,
    ask,
    assert_problem,
    decide,
    eventually,
    messages,
    quota,
    usage,
)
from tests.support.house import House
from tests.support.model_server import Reply


async def test_a_turn_is_answered_in_the_contracts_shape(product: House) -> None:
    product.model.script(Reply.text("Hello."))
    async with product.client("acme") as acme:
        said = await answer(acme)
    assert set(said) == ANSWER
    assert said["answer"] == "Hello."
    assert said["citations"] == []
    assert said["usage"] == {"input_tokens": 120, "output_tokens": 30}
    assert said["model"] == "scripted"
    assert UUID(said["run_id"])
    assert UUID(said["thread_id"])


async def test_a_second_turn_remembers_the_first(product: House) -> None:
    product.model.script(Reply.text("Nice to meet you."))
    async with product.client("acme") as acme:
        first = await answer(acme, "My name is Ada.")
        await answer(acme, "Who?", thread_id=first["thread_id"])
    said = [(m["role"], m["content"]) for m in product.model.chat_requests[-1]["messages"]]
    assert said[1:] == [
        ("user", "My name is Ada."),
        ("assistant", "Nice to meet you."),
        ("user", "Who?"),
    ]


async def test_a_message_arrives_as_it_was_written(product: House) -> None:
    product.model.default = Reply.echo()
    text = " two\nlines \t ünïcödé 🦊 \u2028 \u202e\x1b[0m </passage> \r\n"
    async with product.client("acme") as acme:
        said = await answer(acme, text)
        assert said["answer"] == text
        assert await messages(acme, said["thread_id"]) == [("user", text), ("assistant", text)]


async def test_a_message_may_have_32000_characters_of_four_bytes(product: House) -> None:
    async with product.client("acme") as acme:
        assert (await ask(acme, "🦊" * 32_000)).status_code == 200
        assert_problem(await ask(acme, "a" * 32_001), 422, "message")


async def test_the_prompt_names_the_tenant_and_its_preferences(product: House) -> None:
    async with admin_of(product) as admin:
        admin.set_preferences(TenantId("globex"), {"persona": "a dry wit"})
    async with product.client("globex") as globex:

        async def heeded() -> bool:
            await answer(globex)
            return "a dry wit" in product.model.chat_requests[-1]["messages"][0]["content"]

        await eventually(heeded, 1)
    system = product.model.chat_requests[-1]["messages"][0]
    assert system["role"] == "system"
    assert "tenant_id: globex" in system["content"]
    assert "acme" not in system["content"].lower()


async def test_answers_cite_this_tenants_documents(product: House) -> None:
    titles = {}
    for tenant, days in (("acme", "thirty"), ("globex", "fourteen")):
        async with product.client(tenant, "boss", Role.ADMIN) as boss:
            text = f"# Returns\n\nA desk may be returned within {days} days."
            sent = await boss.post("/v1/documents", files={"file": ("r.md", text)})
            titles[tenant] = sent.json()["document_id"]
    product.model.default = Reply.text("It depends [1], [7] and [1].")
    for tenant, days in (("acme", "thirty"), ("globex", "fourteen")):
        async with product.client(tenant) as client:
            said = await answer(client, "Within how many days may a desk be returned?")
            [citation] = said["citations"]
            assert set(citation) == {"n", "document_id", "passage_id", "title"}
            assert citation["n"] == 1
            assert citation["title"] == "Returns"
            assert citation["document_id"] == titles[tenant]
            read = await client.get(f"/v1/documents/{citation['document_id']}")
            assert read.status_code == 200
            [_, told] = (await client.get(f"/v1/threads/{said['thread_id']}")).json()["messages"]
            assert told["citations"] == [citation]
        assert days in product.model.chat_requests[-1]["messages"][0]["content"]


async def test_usage_is_the_providers_figure_over_all_model_calls(product: House) -> None:
    tenant = await product.new_tenant("counted")
    product.model.script(
        Reply.tool_call("current_time", usage=(11, 3)), Reply.text("Noon.", usage=(17, 5))
    )
    async with product.client(tenant) as client:
        said = await answer(client, "What time is it?")
        assert said["usage"] == {"input_tokens": 28, "output_tokens": 8}
        run = (await client.get(f"/v1/runs/{said['run_id']}")).json()
        assert run["usage"] == said["usage"]
    used = await usage(product, tenant)
    assert (used["input_tokens"], used["output_tokens"]) == (28, 8)
    assert (used["tool_calls"], used["runs"]) == (1, 1)


async def test_usage_of_zero_is_believed(product: House) -> None:
    tenant = await product.new_tenant("gratis")
    product.model.script(Reply.text("Free.", usage=(0, 0)))
    async with product.client(tenant) as client:
        assert (await answer(client))["usage"] == {"input_tokens": 0, "output_tokens": 0}
    assert "input_tokens" not in await usage(product, tenant)


async def test_a_tenant_gets_the_model_it_chose_where_its_plan_allows_it(product: House) -> None:
    pro, free = await product.new_tenant("chooser"), await product.new_tenant("saver", "free")
    async with admin_of(product) as admin:
        for tenant in (pro, free):
            admin.set_preferences(tenant, {"model": "grand"})
    asked = []
    for tenant in (pro, free):
        async with product.client(tenant) as client:
            said = await answer(client)
            asked.append((said["model"], product.model.chat_requests[-1]["model"]))
    assert asked == [("grand", "grand"), ("scripted", "scripted")]


async def test_an_unknown_thread_and_anothers_look_the_same(product: House) -> None:
    async with product.client("acme") as acme, product.client("globex") as globex:
        own = await answer(acme)
        asked = [await ask(globex, thread_id=t) for t in (own["thread_id"], str(uuid4()))]
        run = [await globex.get(f"/v1/runs/{r}") for r in (own["run_id"], uuid4())]
    for foreign, missing in (asked, run):
        assert_problem(foreign, 404)
        assert foreign.content == missing.content
        assert set(foreign.headers) == set(missing.headers)
    assert len(product.model.chat_requests) == 1


async def test_a_member_has_no_thread_of_another_member(product: House) -> None:
    async with product.client("acme") as alice, product.client("acme", "bob") as bob:
        own = await answer(alice)
        assert_problem(await ask(bob, thread_id=own["thread_id"]), 404)
        assert_problem(await bob.get(f"/v1/runs/{own['run_id']}"), 404)
    async with product.client("acme", "boss", Role.ADMIN) as boss:
        assert (await ask(boss, thread_id=own["thread_id"])).status_code == 200


async def test_two_turns_on_one_thread_do_not_run_at_once(product: House) -> None:
    async with product.client("acme") as acme:
        thread = (await acme.post("/v1/threads", json={})).json()["thread_id"]
        product.model.hold()
        first = asyncio.create_task(ask(acme, "a", thread_id=thread))
        await product.model.wait_in_flight(1)
        second = await ask(acme, "b", thread_id=thread)
        product.model.release()
        assert (await first).status_code == 200
        assert_problem(second, 409)
        assert int(second.headers["retry-after"]) >= 1
        assert await messages(acme, thread) == [
            ("user", "a"),
            ("assistant", product.model.default.content),
        ]


async def test_turns_sent_at_once_on_one_thread_lose_nothing(product: House) -> None:
    async with product.client("acme") as acme:
        thread = (await acme.post("/v1/threads", json={})).json()["thread_id"]
        answers = await asyncio.gather(*(ask(acme, str(n), thread_id=thread) for n in range(8)))
        kept = await messages(acme, thread)
    assert {a.status_code for a in answers} == {200, 409}
    admitted = [str(n) for n, each in enumerate(answers) if each.status_code == 200]
    assert sorted(text for role, text in kept if role == "user") == admitted
    assert len(kept) == 2 * len(admitted)


async def test_answers_that_share_an_id_are_two_answers(product: House) -> None:
    body = """{"id": "same", "object": "chat.completion", "model": "scripted", "choices": [{
        "index": 0, "finish_reason": "stop",
        "message": {"id": "same", "role": "assistant", "content": "%s"}}]}"""
    product.model.script(*(Reply.raw(200, body % text) for text in ("one", "two")))
    async with product.client("acme") as acme:
        thread = (await answer(acme, "first"))["thread_id"]
        assert (await answer(acme, "second", thread_id=thread))["answer"] == "two"
        assert [text for _, text in await messages(acme, thread)] == [
            "first",
            "one",
            "second",
            "two",
        ]
        said = (await acme.get(f"/v1/threads/{thread}")).json()["messages"]
    assert len({message["id"] for message in said}) == 4


class TestTitle:
    async def test_a_thread_is_titled_after_its_first_message(self, product: House) -> None:
        async with product.client("acme") as acme:
            thread = (await answer(acme, "What do desks cost? " * 10))["thread_id"]
            await answer(acme, "And chairs?", thread_id=thread)
            title = (await acme.get(f"/v1/threads/{thread}")).json()["title"]
        assert title.startswith("What do desks cost?")
        assert len(title) <= 80

    async def test_a_title_that_was_given_stays(self, product: House) -> None:
        async with product.client("acme") as acme:
            made = await acme.post("/v1/threads", json={"title": "Desks"})
            thread = made.json()["thread_id"]
            await answer(acme, "And chairs?", thread_id=thread)
            assert (await acme.get(f"/v1/threads/{thread}")).json()["title"] == "Desks"


class TestRuns:
    async def test_a_run_says_how_it_stands(self, product: House) -> None:
        async with product.client("acme") as acme:
            product.model.hold()
            thread = (await acme.post("/v1/threads", json={})).json()["thread_id"]
            turn = asyncio.create_task(acme.post("/v1/chat", json=_streamed(thread)))
            await product.model.wait_in_flight(1)
            run_id = await _run_in(product, thread)
            running = (await acme.get(f"/v1/runs/{run_id}")).json()
            product.model.release()
            assert f'"run_id":"{run_id}"' in (await turn).text
            done = (await acme.get(f"/v1/runs/{run_id}")).json()
        assert set(running) == {
            "run_id",
            "thread_id",
            "status",
            "created_at",
            "finished_at",
            "usage",
        }
        assert (running["status"], running["finished_at"]) == ("running", None)
        assert running["usage"] == {"input_tokens": 0, "output_tokens": 0}
        assert (done["status"], done["thread_id"]) == ("success", thread)
        assert datetime.fromisoformat(done["finished_at"]) >= datetime.fromisoformat(
            done["created_at"]
        )

    async def test_a_run_that_the_server_had_to_stop_is_cancelled(self, product: House) -> None:
        product.model.hold()
        async with product.client("acme") as acme:
            thread = (await acme.post("/v1/threads", json={})).json()["thread_id"]
            turn = asyncio.create_task(ask(acme, "Wait", thread_id=thread))
            await product.model.wait_in_flight(1)
            run_id = await _run_in(product, thread)
            for task in product.services.runner._tasks:
                task.cancel()  # what `drain` does in the end
            assert_problem(await turn, 503)
            assert (await acme.get(f"/v1/runs/{run_id}")).json()["status"] == "cancelled"
            assert await messages(acme, thread) == [("user", "Wait")]
            standing = await quota(acme)
            assert (standing["tokens day"]["held"], standing["concurrent_runs"]["used"]) == (0, 0)
            product.model.release()
            assert (await ask(acme, "Now", thread_id=thread)).status_code == 200

    async def test_a_failed_run_is_an_error(self, product: House) -> None:
        product.model.script(Reply.error(500))
        async with product.client("acme") as acme:
            thread = (await acme.post("/v1/threads", json={})).json()["thread_id"]
            assert_problem(await ask(acme, thread_id=thread), 502)
            run_id = await _run_in(product, thread)
            assert (await acme.get(f"/v1/runs/{run_id}")).json()["status"] == "error"


def _streamed(thread: str) -> dict[str, object]:
    return {"message": "Hi", "thread_id": thread, "stream": True}


async def _run_in(product: House, thread: str) -> str:
    with psycopg.connect(product.stores.app_url) as conn:
        conn.execute(query("enter").sql, product.stores.app.entry(TenantId("acme")))
        [[run_id]] = conn.execute(
            "select run_id from tenantry.runs where thread_id = %s", [thread]
        ).fetchall()
    return str(run_id)


@pytest.fixture(scope="module")
async def careful(product: House) -> None:
    """A tenant whose tool `current_time` waits for a person."""
    tenant = await product.new_tenant("careful")
    async with admin_of(product) as admin:
        admin.configure_tool(tenant, "current_time", {"require_approval": "true"})


@pytest.mark.usefixtures("careful")
class TestApproval:
    """A tool that waits for a person interrupts the run; a decision resumes it."""

    async def _interrupted(self, product: House, **more: object) -> dict:
        product.model.script(Reply.tool_call("current_time", {"timezone": "UTC"}))
        async with product.client("careful") as client:
            return await answer(client, "What time is it?", **more)

    async def test_an_interrupted_run_says_what_it_waits_for(self, product: House) -> None:
        said = await self._interrupted(product)
        assert set(said) == ANSWER | {"interrupt"}
        [request] = said["interrupt"]["action_requests"]
        assert (request["name"], request["args"]) == ("current_time", {"timezone": "UTC"})
        assert said["usage"] == {"input_tokens": 120, "output_tokens": 30}
        async with product.client("careful") as client:
            run = (await client.get(f"/v1/runs/{said['run_id']}")).json()
            assert run["status"] == "interrupted"
            assert await messages(client, said["thread_id"]) == [("user", "What time is it?")]

    async def test_an_approved_call_runs_and_is_answered(self, product: House) -> None:
        said = await self._interrupted(product)
        product.model.script(Reply.text("It is noon."))
        async with product.client("careful") as client:
            resumed = await decide(client, said["thread_id"], {"type": "approve"})
            assert resumed.json()["answer"] == "It is noon."
            run = (await client.get(f"/v1/runs/{resumed.json()['run_id']}")).json()
        assert set(resumed.json()) == ANSWER
        assert resumed.json()["run_id"] != said["run_id"]
        assert resumed.headers["ratelimit"]
        assert run["status"] == "success"
        assert "UTC" in product.model.chat_requests[-1]["messages"][-1]["content"]

    async def test_a_rejected_call_does_not_run(self, product: House) -> None:
        said = await self._interrupted(product)
        async with product.client("careful") as client:
            decision = {"type": "reject", "message": "Not now."}
            assert (await decide(client, said["thread_id"], decision)).status_code == 200
        told = product.model.chat_requests[-1]["messages"][-1]
        assert told["role"] == "tool"
        assert "rejected" in told["content"]
        assert "Not now." in told["content"]

    async def test_an_edited_call_runs_with_its_new_arguments(self, product: House) -> None:
        said = await self._interrupted(product)
        async with product.client("careful") as client:
            action = {"name": "current_time", "args": {"timezone": "Asia/Tokyo"}}
            decision = {"type": "edit", "edited_action": action}
            assert (await decide(client, said["thread_id"], decision)).status_code == 200
        assert "JST" in product.model.chat_requests[-1]["messages"][-1]["content"]

    async def test_a_call_edited_into_another_tool_does_not_run(self, product: House) -> None:
        said = await self._interrupted(product)
        async with product.client("careful") as client:
            action = {"name": "search_documents", "args": {"query": "salaries"}}
            decision = {"type": "edit", "edited_action": action}
            await decide(client, said["thread_id"], decision)
        assert "rejected" in product.model.chat_requests[-1]["messages"][-1]["content"]

    @pytest.mark.parametrize(
        ("resume", "field"),
        [
            ({}, "resume.decisions"),
            ({"decisions": []}, "resume.decisions"),
            ({"decisions": "approve"}, "resume.decisions"),
            ({"decisions": [{"type": "aprove"}]}, "resume.decisions.0.type"),
            ({"decisions": [{"type": "approve", "goto": "settle"}]}, "resume.decisions.0.goto"),
            ({"decisions": [{"type": "edit"}]}, "resume.decisions.0"),
            ({"decisions": [{"type": "approve"}], "update": {}}, "resume.update"),
            ({"decisions": [{"type": "reject", "message": "\0"}]}, "resume.decisions.0.message"),
        ],
    )
    async def test_a_decision_that_makes_no_sense_decides_nothing(
        self, product: House, resume: dict, field: str
    ) -> None:
        said = await self._interrupted(product)
        async with product.client("careful") as client:
            body = {"thread_id": said["thread_id"], "resume": resume}
            assert_problem(await client.post("/v1/chat", json=body), 422, field)
            assert (await decide(client, said["thread_id"], {"type": "approve"})).status_code == 200

    @pytest.mark.parametrize("hostile", ["NUL", "surrogate", "huge", "deep", "infinite"])
    async def test_edited_arguments_that_no_store_holds_are_refused(
        self, product: House, hostile: str
    ) -> None:
        args = {
            "NUL": '"\\u0000"',
            "surrogate": '"\\ud800"',
            "huge": "1" * 40,
            "deep": "[" * 600 + "]" * 600,
            "infinite": "1e999",
        }[hostile]
        said = await self._interrupted(product)
        body = (
            f'{{"thread_id": "{said["thread_id"]}", "resume": {{"decisions": [{{"type": "edit", '
            f'"edited_action": {{"name": "current_time", "args": {{"timezone": {args}}}}}}}]}}}}'
        )
        async with product.client("careful") as client:
            headers = {"content-type": "application/json"}
            refused = await client.post("/v1/chat", content=body, headers=headers)
            assert_problem(refused, 422)
            assert (await decide(client, said["thread_id"], {"type": "approve"})).status_code == 200

    async def test_a_thread_that_waits_for_nothing_cannot_be_resumed(self, product: House) -> None:
        async with product.client("careful") as client:
            thread = (await client.post("/v1/threads", json={})).json()["thread_id"]
            assert_problem(await decide(client, thread, {"type": "approve"}), 409)
            said = await answer(client, thread_id=thread)
            assert_problem(await decide(client, said["thread_id"], {"type": "approve"}), 409)
            assert len(await messages(client, thread)) == 2

    async def test_a_decision_is_taken_once(self, product: House) -> None:
        said = await self._interrupted(product)
        async with product.client("careful") as client:
            decided = [await decide(client, said["thread_id"], {"type": "approve"}) for _ in "ab"]
        assert [response.status_code for response in decided] == [200, 409]

    async def test_another_member_does_not_decide(self, product: House) -> None:
        said = await self._interrupted(product)
        async with product.client("careful", "mallory") as mallory:
            assert_problem(await decide(mallory, said["thread_id"], {"type": "approve"}), 404)
        async with product.client("acme") as acme:
            assert_problem(await decide(acme, said["thread_id"], {"type": "approve"}), 404)

    async def test_an_interrupted_thread_takes_a_new_message(self, product: House) -> None:
        said = await self._interrupted(product)
        async with product.client("careful") as client:
            again = await answer(client, "Never mind.", thread_id=said["thread_id"])
            assert again["answer"] == product.model.default.content
            assert_problem(await decide(client, said["thread_id"], {"type": "approve"}), 409)
        sent = product.model.chat_requests[-1]["messages"]
        assert [message["role"] for message in sent] == ["system", "user"]

    async def test_a_run_that_waits_holds_nothing(self, product: House) -> None:
        await self._interrupted(product)
        async with product.client("careful") as client:
            items = (await client.get("/v1/quota")).json()["items"]
        assert all(item["held"] == 0 for item in items)
        [runs] = [item for item in items if item["meter"] == "concurrent_runs"]
        assert runs["used"] == 0
