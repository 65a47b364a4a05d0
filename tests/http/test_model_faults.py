"""The model endpoint fails in every way it can; the turn fails cleanly and the next one works."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.endpoints import EndpointSettings
from server.stores import Stores
from tests.http.speech import (
    ask,
    assert_document,
    assert_problem,
    audit,
    eventually,
    frames_of,
    messages,
    quota,
    text_of,
    usage,
)
from tests.support.house import House, house
from tests.support.model_server import ModelServer, Reply
from tests.support.waiting import HANG_SECONDS

TIMEOUT_SECONDS = 0.6

FAULTS = {
    "error": (Reply.error(500), 502),
    "refused": (Reply.error(401), 502),
    "throttled": (Reply.error(429), 502),
    "html": (Reply.raw(200, "<html>down</html>", "text/html"), 502),
    "html error": (Reply.raw(503, "<html>down</html>", "text/html"), 502),
    "empty object": (Reply.raw(200, "{}"), 502),
    "empty": (Reply.raw(200, ""), 502),
    "null": (Reply.raw(200, "null"), 502),
    "truncated": (Reply.truncated_stream(after=3), 502),
    "hang": (Reply.hang(), 504),
    "slow": (Reply.slow(5), 504),
}


@pytest.fixture(scope="module")
async def product(
    stores: Stores, model: ModelServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    """A house that loses patience with its model soon."""
    folder = tmp_path_factory.mktemp("data")
    async with house(stores, folder, model, model_timeout=TIMEOUT_SECONDS) as running:
        yield running


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_fault_is_a_problem_and_the_next_try_works(
    product: House, fault: str, streamed: bool
) -> None:
    reply, status = FAULTS[fault]
    tenant = await product.new_tenant(f"{fault.replace(' ', '-')}-{streamed}".lower())
    product.model.script(reply)
    async with product.client(tenant) as client:
        thread = (await client.post("/v1/threads", json={})).json()["thread_id"]
        async with asyncio.timeout(HANG_SECONDS):
            response = await ask(client, "First?", thread_id=thread, stream=streamed)
        if streamed:
            *_, last = frames_of(response.text)
            assert last.kind == "error"
            assert_document(last.payload, status)
        else:
            assert_problem(response, status)
            assert response.headers["ratelimit"]
        assert response.headers["ratelimit-policy"]
        assert await messages(client, thread) == [("user", "First?")]
        standing = await quota(client)
        assert all(item["held"] == 0 for item in standing.values())
        assert standing["concurrent_runs"]["used"] == 0
        event = (await audit(product, tenant))[0]
        assert (event["action"], event["outcome"]) == ("run.finish", "failed")
        run = (await client.get(f"/v1/runs/{event['run_id']}")).json()
        assert run["status"] == "error"
        assert run["finished_at"]

        assert (await ask(client, "Second?", thread_id=thread)).status_code == 200
        prompt = product.model.chat_requests[-1]["messages"]
        assert [m["content"] for m in prompt if m["role"] == "user"] == ["Second?"]
        said = [text for role, text in await messages(client, thread) if role == "user"]
        assert said == ["First?", "Second?"]


async def test_a_model_endpoint_that_is_down_is_a_502(
    stores: Stores, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async with ModelServer() as gone:
        pass
    folder = tmp_path_factory.mktemp("down")
    async with house(stores, folder, gone) as product, product.client("acme") as acme:
        assert_problem(await ask(acme), 502)
        *_, last = frames_of((await ask(acme, stream=True)).text)
    assert_document(last.payload, 502)


@pytest.mark.parametrize(
    ("reply", "status"),
    [(Reply.error(500), 502), (Reply.raw(200, "{}"), 502), (Reply.hang(), 504)],
)
async def test_embeddings_that_fail_fail_what_needs_them(
    product: House, reply: Reply, status: int
) -> None:
    tenant = await product.new_tenant(f"unread-{id(reply)}")
    async with product.client(tenant) as client:
        product.model.script_embeddings(*[reply] * 3)
        assert_problem(await ask(client, "Price?"), status)
        *_, last = frames_of((await ask(client, "Price?", stream=True)).text)
        assert_document(last.payload, status)
        assert_problem(await client.post("/v1/search", json={"query": "Price?"}), status)
        assert product.model.chat_requests == []
        assert all(item["held"] == 0 for item in (await quota(client)).values())
        assert (await ask(client, "Price?")).status_code == 200


async def test_a_fault_after_a_tool_costs_what_was_used(product: House) -> None:
    tenant = await product.new_tenant("half-done")
    product.model.script(Reply.tool_call("current_time", usage=(50, 5)), Reply.error(500))
    async with product.client(tenant) as client:
        assert_problem(await ask(client, "Time?"), 502)
        standing = await quota(client)
        assert (standing["tokens day"]["used"], standing["tokens day"]["held"]) == (55, 0)
        run_id = (await audit(product, tenant))[0]["run_id"]
        run = (await client.get(f"/v1/runs/{run_id}")).json()
    assert run["usage"] == {"input_tokens": 50, "output_tokens": 5}


async def test_a_fault_says_nothing_of_the_endpoint(product: House) -> None:
    product.model.script(Reply.raw(500, '{"error": {"message": "key sk-canary of org-canary"}}'))
    async with product.client("acme") as acme:
        problem = await ask(acme, "my canary question")
    assert_problem(problem, 502)
    assert "canary" not in problem.text
    assert product.model.base_url not in problem.text


async def test_a_client_that_goes_away_from_a_failing_run_leaves_no_slot_behind(
    product: House,
) -> None:
    tenant = await product.new_tenant("gone", concurrent_runs=1)
    product.model.script(Reply.hang(after=2))
    async with product.client(tenant) as client:
        turn = asyncio.create_task(ask(client, stream=True))
        await product.model.wait_in_flight(1)
        turn.cancel()

        async def is_free() -> bool:
            return (await quota(client))["concurrent_runs"]["used"] == 0

        await eventually(is_free, 3)
        assert (await ask(client)).status_code == 200


async def test_what_came_of_a_stream_that_broke_off_is_charged(product: House) -> None:
    tenant = await product.new_tenant("broken-off")
    product.model.script(Reply.paced(0.01, Reply.truncated_stream(after=3)))
    async with product.client(tenant) as client:
        frames = frames_of((await ask(client, "First?", stream=True)).text)
        assert text_of(frames) == "The scripted"  # a blank waits for what it stands before
        assert_document(frames[-1].payload, 502)
        standing = (await quota(client))["tokens day"]
    used = await usage(product, tenant)
    assert used["output_tokens"] == 1 + len("The scripted ")
    assert (standing["used"], standing["held"]) == (
        used["input_tokens"] + used["output_tokens"],
        0,
    )


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_plans_next_model_answers_for_one_that_fails(
    stores: Stores, model: ModelServer, tmp_path: Path, streamed: bool
) -> None:
    async with ModelServer() as backup:
        endpoints = {"backup": EndpointSettings(base_url=backup.base_url)}
        async with house(stores, tmp_path, model, endpoints=endpoints) as product:
            tenant = await product.new_tenant(
                f"falls-back-{streamed}".lower(), fallback_models="backup/small"
            )
            model.script(Reply.error(500))
            backup.script(Reply.text("Here.", usage=(40, 2)))
            async with product.client(tenant) as client:
                said = await ask(client, stream=streamed)
                assert said.status_code == 200
                done = frames_of(said.text)[-1].payload if streamed else said.json()
                assert (done["answer"], done["model"]) == ("Here.", "backup/small")
                assert done["usage"] == {"input_tokens": 40, "output_tokens": 2}
                standing = (await quota(client))["tokens day"]
                assert (standing["used"], standing["held"]) == (42, 0)
            [event] = [e for e in await audit(product, tenant) if e["action"] == "model.fall_back"]
            assert event["resource"] == "backup/small"
            assert event["attributes"] == {"instead_of": "scripted"}
