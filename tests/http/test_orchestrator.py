"""What happens when there is not enough: down the ladder, in turn, stopped cleanly, told why."""

import asyncio

import httpx

from tests.http.speech import answer, ask, assert_problem, audit, eventually, frames_of, quota
from tests.support.house import House
from tests.support.model_server import Reply

UNLIMITED_RATE = {"requests_per_minute": -1, "concurrent_runs": -1}


async def chat(client: httpx.AsyncClient, text: str = "Hello", **body: object) -> httpx.Response:
    return await client.post("/v1/chat", json={"message": text, **body})


class TestLadder:
    async def test_a_cheaper_model_answers_where_money_is_short(self, product: House) -> None:
        tenant = await product.new_tenant(
            "thrifty",
            degrade="model",
            cheaper_model="scripted-small",
            money_per_day=1,
            models="all",
            **UNLIMITED_RATE,
        )
        await product.price("scripted", "1000000", "1000000")
        await product.price("scripted-small", "0", "0")
        async with product.client(tenant) as client:
            response = await chat(client)
        assert response.status_code == 200, response.text
        assert response.json()["model"] == "scripted-small"
        assert response.headers["X-Tenantry-Degraded"] == "model"
        assert response.json()["degraded"] == ["model"]
        [step] = [e for e in await audit(product, tenant) if e["action"] == "run.degrade"]
        assert step["attributes"] == {"steps": "model"}

    async def test_a_stream_says_so_before_its_first_token(self, product: House) -> None:
        tenant = await product.new_tenant(
            "narrow", degrade="model", cheaper_model="s2", money_per_day=1
        )
        await product.price("scripted", "1000000", "1000000")
        await product.price("s2", "0", "0")
        async with product.client(tenant) as client:
            response = await chat(client, stream=True)
        kinds = [frame.kind for frame in frames_of(response.text)]
        assert kinds[:2] == ["run", "degraded"]
        assert response.headers["X-Tenantry-Degraded"] == "model"

    async def test_a_run_that_may_wait_waits_instead_of_being_refused(self, product: House) -> None:
        tenant = await product.new_tenant(
            "waiting", requests_per_minute=60, burst=1, degrade="queue", queue_seconds=10
        )
        async with product.client(tenant) as client:
            responses = await asyncio.gather(chat(client), chat(client))
        assert [r.status_code for r in responses] == [200, 200]
        degraded = sorted(r.headers.get("X-Tenantry-Degraded", "") for r in responses)
        assert degraded == ["", "queue"]


class TestRuns:
    async def test_a_run_stops_at_its_own_steps_with_what_it_has(self, product: House) -> None:
        tenant = await product.new_tenant("stepwise")
        product.model.script(*[Reply.tool_call("current_time")] * 3)
        async with product.client(tenant) as client:
            response = await chat(client, budget={"steps": 1})
        assert response.status_code == 200
        assert "stop here" in response.json()["answer"]
        assert len(product.model.chat_requests) == 1

    async def test_a_run_asks_for_no_longer_answer_than_its_budget_pays(
        self, product: House
    ) -> None:
        tenant = await product.new_tenant("brief")
        async with product.client(tenant) as client:
            await chat(client)
            whole = product.model.chat_requests[-1]["max_completion_tokens"]
            await chat(client, budget={"tokens": 2000})
            assert product.model.chat_requests[-1]["max_completion_tokens"] < whole
            assert_problem(await chat(client, budget={"tokens": 20}), 422, "message")

    async def test_what_a_client_asks_for_never_widens_the_plan(self, product: House) -> None:
        tenant = await product.new_tenant("bounded", steps_per_run=1)
        product.model.script(Reply.tool_call("current_time"))
        async with product.client(tenant) as client:
            await chat(client, budget={"steps": 50})
        assert len(product.model.chat_requests) == 1

    async def test_bad_wishes_are_refused_with_their_field(self, product: House) -> None:
        async with product.client("acme") as client:
            assert_problem(await chat(client, priority="urgent"), 422, "priority")
            assert_problem(await chat(client, budget={"steps": 0}), 422, "budget.steps")
            assert_problem(await chat(client, budget={"money": 1}), 422, "budget.money")


class TestUsers:
    async def test_one_user_is_refused_and_the_next_is_not(self, product: House) -> None:
        tenant = await product.new_tenant(
            "family", user_requests_per_minute=1, user_burst=1, **UNLIMITED_RATE
        )
        async with product.client(tenant, "ann") as ann, product.client(tenant, "bob") as bob:
            await answer(ann)
            refused = assert_problem(await ask(ann), 429, says="user requests")
            assert refused
            await answer(bob)
            levels = {item["level"] for item in (await ann.get("/v1/quota")).json()["items"]}
        assert levels == {"tenant", "user", "run"}

    async def test_a_users_budget_is_counted_across_its_threads(self, product: House) -> None:
        tenant = await product.new_tenant(
            "shared-purse", user_tokens_per_day=6000, degrade=",", **UNLIMITED_RATE
        )
        async with product.client(tenant, "ann") as ann, product.client(tenant, "bob") as bob:
            product.model.script(Reply.text("A long answer.", usage=(5000, 500)))
            await answer(ann)
            response = await ask(ann)
            assert_problem(response, 429, says="user tokens per day")
            assert (await ask(bob)).status_code == 200


class TestQueue:
    async def test_a_full_queue_is_the_tenants_429_and_leaves_nothing(self, product: House) -> None:
        tenant = await product.new_tenant(
            "crowded", model_calls_in_flight=1, queue_length=1, **UNLIMITED_RATE
        )
        product.model.hold()
        async with product.client(tenant) as client:
            first = asyncio.create_task(ask(client))
            await product.model.wait_in_flight(1)
            second = asyncio.create_task(ask(client))

            async def waits() -> bool:
                return product.services.orchestrator.slots.figures().tenants[tenant].waiting == 1

            await eventually(waits)
            refused = assert_problem(await ask(client, stream=True), 429, says="queue")
            product.model.release()
            assert [(await turn).status_code for turn in (first, second)] == [200, 200]
            assert len((await client.get("/v1/threads")).json()["items"]) == 2
        assert refused
        assert product.model.in_flight_max == 1

    async def test_who_waits_in_vain_is_told_503_and_leaves_nothing(self, product: House) -> None:
        tenant = await product.new_tenant(
            "impatient", model_calls_in_flight=1, queue_seconds=1, **UNLIMITED_RATE
        )
        product.model.hold()
        async with product.client(tenant) as client:
            first = asyncio.create_task(ask(client))
            await product.model.wait_in_flight(1)
            late = await ask(client, stream=True)
            product.model.release()
            await first
            assert_problem(late, 503)
            assert len((await client.get("/v1/threads")).json()["items"]) == 1
            standing = await quota(client)
        assert standing["tokens day"]["held"] == 0
        assert standing["concurrent_runs"]["used"] == 0
