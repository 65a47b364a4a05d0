"""A turn as server-sent events: every stream says where it belongs and ends exactly once."""

import asyncio
from contextlib import aclosing

import pytest

from tenancy.principal import Role
from tests.http.speech import (
    ANSWER,
    ENDS,
    Frame,
    admin_of,
    answer,
    ask,
    assert_document,
    assert_problem,
    decide,
    eventually,
    frames_of,
    kinds,
    messages,
    quota,
    stream,
    text_of,
    usage,
)
from tests.support.house import House
from tests.support.model_server import Reply


def assert_whole(frames: list[Frame]) -> None:
    """What holds of every stream: ids of its own, first the run, last one end."""
    ids = [frame.id for frame in frames]
    assert len(set(ids)) == len(ids)
    assert all(ids)
    assert frames[0].kind == "run"
    assert set(frames[0].payload) == {"run_id", "thread_id"}
    assert [frame.kind for frame in frames if frame.kind in ENDS] == [frames[-1].kind]


async def test_a_stream_is_the_run_its_tokens_and_the_json_answer(product: House) -> None:
    words = Reply.paced(0.05, Reply.text("Desks cost ninety."))  # slow enough not to be merged
    product.model.script(words)
    async with product.client("acme") as acme:
        response = await ask(acme, "Price?", stream=True)
        frames = frames_of(response.text)
        assert_whole(frames)
        assert kinds(frames) == ["run", "token", "done"]
        done = frames[-1].payload
        assert set(done) == ANSWER
        assert text_of(frames) == done["answer"] == "Desks cost ninety."
        assert len([frame for frame in frames if frame.kind == "token"]) > 1
        assert {name: done[name] for name in frames[0].payload} == frames[0].payload
        run = (await acme.get(f"/v1/runs/{done['run_id']}")).json()
    assert run["status"] == "success"
    assert done["usage"] == run["usage"] == {"input_tokens": 120, "output_tokens": 30}
    assert response.headers["cache-control"] == "no-store"


async def test_lines_and_unicode_survive_the_frame(product: House) -> None:
    text = "one\n\ntwo\r\nthree\rfour: data: x\n\nevent: done\u2028\u2029\x85 🦊 ünïcödé"
    product.model.script(Reply.text(text))
    async with product.client("acme") as acme:
        frames = await stream(acme)
    assert_whole(frames)
    assert text_of(frames) == frames[-1].payload["answer"] == text


async def test_tools_and_citations_are_told_as_they_happen(product: House) -> None:
    async with product.client("globex", "boss", Role.ADMIN) as boss:
        await boss.post("/v1/documents", files={"file": ("d.md", "# Desks\n\nDesks are blue.")})
    product.model.script(
        Reply.tool_calls(("current_time", {}), ("no_such_tool", {}), text="Let me look. "),
        Reply.text("They are blue [1]."),
    )
    async with product.client("globex") as globex:
        frames = await stream(globex, "What colour are desks?")
    assert_whole(frames)
    assert kinds(frames) == ["run", "token", "tool", "token", "citation", "done"]
    told = [frame.payload for frame in frames if frame.kind == "tool"]
    assert told == [
        {"name": "current_time", "status": "started"},
        {"name": "no_such_tool", "status": "started"},
        {"name": "current_time", "status": "ok"},
        {"name": "no_such_tool", "status": "refused"},
    ]
    [citation] = [frame.payload for frame in frames if frame.kind == "citation"]
    assert frames[-1].payload["citations"] == [citation]
    assert citation["title"] == "Desks"


async def test_numbers_that_no_passage_has_are_dropped(product: House) -> None:
    tenant = await product.new_tenant("cited")
    async with product.client(tenant, "boss", Role.ADMIN) as boss:
        await boss.post("/v1/documents", files={"file": ("d.md", "# Desks\n\nDesks are blue.")})
    said = "They are blue [1][7], not green [42]. See `a[7]`, [2, 1]."
    product.model.script(Reply.text(said), Reply.text(said))
    async with product.client(tenant) as client:
        plain = await answer(client, "What colour are desks?")
        frames = await stream(client, "What colour are desks?")
        thread = (await client.get(f"/v1/threads/{plain['thread_id']}")).json()
    assert plain["answer"] == "They are blue [1], not green. See `a[7]`, [1]."
    assert [each["n"] for each in plain["citations"]] == [1]
    assert thread["messages"][-1]["content"] == plain["answer"]
    assert text_of(frames) == frames[-1].payload["answer"] == plain["answer"]


async def test_an_interrupt_is_told_and_the_stream_ends(product: House) -> None:
    tenant = await product.new_tenant("wary")
    async with admin_of(product) as admin:
        admin.configure_tool(tenant, "current_time", {"require_approval": "true"})
    product.model.script(Reply.tool_call("current_time"))
    async with product.client(tenant) as client:
        frames = await stream(client, "Time?")
        assert_whole(frames)
        assert kinds(frames) == ["run", "tool", "interrupt", "done"]
        asked = next(frame.payload for frame in frames if frame.kind == "interrupt")
        assert frames[-1].payload["interrupt"] == asked
        assert asked["action_requests"][0]["name"] == "current_time"
        thread = frames[0].payload["thread_id"]
        resumed = frames_of((await decide(client, thread, {"type": "approve"}, stream=True)).text)
    assert_whole(resumed)
    assert kinds(resumed) == ["run", "tool", "token", "done"]
    assert resumed[0].payload["thread_id"] == thread


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (Reply.error(500), 502),
        (Reply.raw(200, "<html>", "text/html"), 502),
        (Reply.truncated_stream(after=3), 502),
    ],
)
async def test_a_fault_after_admission_is_an_error_event(
    product: House, reply: Reply, status: int
) -> None:
    product.model.script(reply)
    async with product.client("acme") as acme:
        response = await ask(acme, "Price?", stream=True)
        assert response.status_code == 200
        frames = frames_of(response.text)
        assert_whole(frames)
        assert frames[-1].kind == "error"
        assert_document(frames[-1].payload, status)
        thread = frames[0].payload["thread_id"]
        assert await messages(acme, thread) == [("user", "Price?")]


async def test_a_refusal_is_a_response_and_never_a_stream(product: House) -> None:
    tenant = await product.new_tenant("once", requests_per_minute=1, burst=1)
    async with product.client(tenant) as client:
        await stream(client)
        refused = await ask(client, stream=True)
    assert_problem(refused, 429)


async def test_a_client_that_goes_away_gets_its_answer_later(product: House) -> None:
    tenant = await product.new_tenant("leaver", concurrent_runs=1)
    product.model.hold()
    async with product.client(tenant) as client:
        body = {"message": "Still there?", "stream": True}
        async with (
            client.stream("POST", "/v1/chat", json=body) as response,
            aclosing(response.aiter_text()) as text,
        ):
            first = await anext(text)
        thread = frames_of(first)[0].payload["thread_id"]
        product.model.release()

        async def is_answered() -> bool:
            return len(await messages(client, thread)) == 2

        await eventually(is_answered)
        standing = await quota(client)
        assert (standing["concurrent_runs"]["used"], standing["tokens day"]["held"]) == (0, 0)
        assert standing["tokens day"]["used"] == 150
    assert (await usage(product, tenant))["output_tokens"] == 30


async def test_a_slow_reader_gets_every_event(product: House) -> None:
    words = " ".join(f"word{n}" for n in range(300))
    product.model.script(Reply.text(words))
    async with product.client("acme") as acme:
        body = {"message": "Go on.", "stream": True}
        async with acme.stream("POST", "/v1/chat", json=body) as response:
            await asyncio.sleep(0.3)
            frames = frames_of((await response.aread()).decode())
    assert_whole(frames)
    assert text_of(frames) == words


async def test_the_events_of_two_runs_do_not_mix(product: House) -> None:
    product.model.default = Reply.paced(0.002, Reply.echo())
    async with product.client("acme") as acme, product.client("globex") as globex:
        told = await asyncio.gather(
            *(stream(client, f"{name} " * 20) for name, client in (("a", acme), ("g", globex)))
        )
    for name, frames in zip("ag", told, strict=True):
        assert_whole(frames)
        assert set(text_of(frames)) == {name, " "}


class TestIdempotency:
    """`Idempotency-Key`: the same request again is answered, not repeated."""

    async def test_the_same_request_again_gets_the_same_answer(self, product: House) -> None:
        async with product.client("acme") as acme:
            first, again = [await ask(acme, "Hi", key="k1") for _ in "ab"]
            assert first.json() == again.json()
            assert again.status_code == 200
            assert again.headers["ratelimit"]
            assert again.headers["ratelimit-policy"]
            assert len(await messages(acme, first.json()["thread_id"])) == 2
        assert len(product.model.chat_requests) == 1

    async def test_an_answer_again_may_be_streamed(self, product: House) -> None:
        async with product.client("acme") as acme:
            first = await answer(acme, "Hi", key="k2")
            again = frames_of((await ask(acme, "Hi", key="k2", stream=True)).text)
        assert_whole(again)
        assert kinds(again) == ["run", "token", "done"]
        assert text_of(again) == first["answer"]
        assert again[-1].payload == first
        assert len(product.model.chat_requests) == 1

    async def test_an_interrupt_again_is_told_again(self, product: House) -> None:
        tenant = await product.new_tenant("twice-wary")
        async with admin_of(product) as admin:
            admin.configure_tool(tenant, "current_time", {"require_approval": "true"})
        product.model.script(Reply.tool_call("current_time"))
        async with product.client(tenant) as client:
            first = await answer(client, key="k")
            again = frames_of((await ask(client, key="k", stream=True)).text)
        assert kinds(again) == ["run", "interrupt", "done"]
        assert again[-1].payload == first

    @pytest.mark.parametrize("other", [{"message": "Bye"}, {"thread_id": None}])
    async def test_another_request_under_the_key_is_refused(
        self, product: House, other: dict
    ) -> None:
        async with product.client("acme") as acme:
            key = f"k3-{next(iter(other))}"
            first = await answer(acme, "Hi", key=key)
            if "thread_id" in other:
                other = {"thread_id": first["thread_id"]}
            refused = await ask(acme, **{"message": "Hi", "key": key, **other})
            assert_problem(refused, 422, "Idempotency-Key")
            assert len(await messages(acme, first["thread_id"])) == 2
        assert len(product.model.chat_requests) == 1

    async def test_a_key_is_its_subjects_own(self, product: House) -> None:
        async with product.client("acme") as alice, product.client("acme", "bob") as bob:
            runs = [(await answer(client, "Hi", key="k4"))["run_id"] for client in (alice, bob)]
        async with product.client("globex") as globex:
            runs.append((await answer(globex, "Hi", key="k4"))["run_id"])
        assert len(set(runs)) == 3

    async def test_two_at_once_make_one_call(self, product: House) -> None:
        product.model.hold()
        async with product.client("acme") as acme:
            first = asyncio.create_task(ask(acme, "Hi", key="k5"))
            await product.model.wait_in_flight(1)
            second = await ask(acme, "Hi", key="k5")
            product.model.release()
            assert_problem(second, 409)
            assert int(second.headers["retry-after"]) >= 1
            done = await first
            assert (await ask(acme, "Hi", key="k5")).json() == done.json()
        assert len(product.model.chat_requests) == 1

    async def test_many_at_once_make_one_call(self, product: House) -> None:
        async with product.client("acme") as acme:
            answers = await asyncio.gather(*(ask(acme, "Hi", key="k6") for _ in range(12)))
        assert {response.status_code for response in answers} <= {200, 409}
        assert len({r.json()["run_id"] for r in answers if r.status_code == 200}) == 1
        assert len(product.model.chat_requests) == 1

    async def test_a_key_may_be_used_again_after_a_failure(self, product: House) -> None:
        product.model.script(Reply.error(500))
        async with product.client("acme") as acme:
            assert_problem(await ask(acme, "Hi", key="k7"), 502)
            assert (await ask(acme, "Hi", key="k7")).status_code == 200
        assert len(product.model.chat_requests) == 2

    async def test_a_key_may_be_used_again_after_a_refusal(self, product: House) -> None:
        tenant = await product.new_tenant("hasty", requests_per_minute=60, burst=1)
        async with product.client(tenant) as client:
            await answer(client)
            assert_problem(await ask(client, "Hi", key="k"), 429)
            await asyncio.sleep(1.05)
            assert (await ask(client, "Hi", key="k")).status_code == 200

    @pytest.mark.parametrize(("key", "status"), [("k" * 255, 200), ("k k", 200), ("k" * 256, 422)])
    async def test_a_key_has_up_to_255_characters(
        self, product: House, key: str, status: int
    ) -> None:
        async with product.client("acme") as acme:
            response = await ask(acme, key=key)
        assert response.status_code == status
        if status == 422:
            assert_problem(response, 422, "Idempotency-Key")

    @pytest.mark.parametrize("key", [b"", b"\xff", "ключ".encode(), b"a\tb"])
    async def test_a_key_is_visible_ascii(self, product: House, key: bytes) -> None:
        async with product.client("acme") as acme:
            headers = [(b"Idempotency-Key", key)]
            response = await acme.post("/v1/chat", json={"message": "Hi"}, headers=headers)
        assert_problem(response, 422, "Idempotency-Key")
