"""What a plan allows, to the request and to the token, and what a refusal says and leaves."""

import asyncio
import re
from collections import Counter
from uuid import uuid4

import httpx
import pytest

from tenancy.ids import PlanId
from tenancy.plan import change_plan
from tenancy.principal import Role
from tests.http.speech import (
    admin_of,
    answer,
    ask,
    assert_problem,
    audit,
    eventually,
    messages,
    quota,
    usage,
)
from tests.support.house import House
from tests.support.model_server import Reply

ITEM = re.compile(r'"([a-z_-]+)"((?:;[a-z]+=\d+)+)')


def policies(response: httpx.Response, header: str) -> dict[str, dict[str, int]]:
    """A `RateLimit` or `RateLimit-Policy` header, by the name of its policies."""
    found = {}
    for item in response.headers[header].split(", "):
        match = ITEM.fullmatch(item)
        assert match, item
        pairs = (pair.split("=") for pair in match[2].removeprefix(";").split(";"))
        found[match[1]] = {name: int(value) for name, value in pairs}
    return found


async def many(client: httpx.AsyncClient, count: int) -> list[httpx.Response]:
    """So many turns at once, each on a thread of its own."""
    return list(await asyncio.gather(*(ask(client, f"Question {n}") for n in range(count))))


def statuses(responses: list[httpx.Response]) -> Counter[int]:
    """How often each status."""
    return Counter(response.status_code for response in responses)


class TestRequests:
    async def test_of_fifty_at_once_exactly_as_many_as_the_plan_allows(
        self, product: House
    ) -> None:
        tenant = await product.new_tenant("ten", requests_per_minute=10, burst=10)
        async with product.client(tenant) as client:
            responses = await many(client, 50)
            threads = (await client.get("/v1/threads", params={"limit": 200})).json()["items"]
        assert statuses(responses) == {200: 10, 429: 40}
        assert len(threads) == 10
        assert len(product.model.chat_requests) == 10
        for response in responses:
            assert policies(response, "ratelimit-policy")["requests-minute"] == {"q": 10, "w": 60}
            assert policies(response, "ratelimit")["requests-minute"]["r"] <= 9
            if response.status_code == 429:
                assert_problem(response, 429, says="requests")
                assert 1 <= int(response.headers["retry-after"]) <= 7
        trail = await audit(product, tenant)
        assert Counter((e["action"], e["outcome"]) for e in trail) == {
            ("run.finish", "allowed"): 10,
            ("run.start", "refused"): 40,
        }

    async def test_who_waits_as_told_is_admitted(self, product: House) -> None:
        tenant = await product.new_tenant("patient", requests_per_minute=60, burst=1)
        async with product.client(tenant) as client:
            await answer(client)
            refused = await ask(client)
            assert_problem(refused, 429)
            wait = int(refused.headers["retry-after"])
            assert wait == 1
            await asyncio.sleep(wait)
            assert (await ask(client)).status_code == 200

    async def test_one_tenants_flood_is_nobody_elses(self, product: House) -> None:
        tenant = await product.new_tenant("flooder", requests_per_minute=1, burst=1)
        async with product.client(tenant) as client, product.client("acme") as acme:
            await many(client, 5)
            assert (await ask(acme)).status_code == 200

    async def test_a_plan_that_allows_nothing_refuses(self, product: House) -> None:
        tenant = await product.new_tenant("nothing", requests_per_minute=0)
        async with product.client(tenant) as client:
            assert_problem(await ask(client), 429)


class TestSlots:
    async def test_never_more_runs_at_once_than_the_plan_allows(self, product: House) -> None:
        tenant = await product.new_tenant("slots", concurrent_runs=10)
        product.model.hold()
        async with product.client(tenant) as client:
            turns = asyncio.create_task(many(client, 50))
            await product.model.wait_in_flight(10)

            async def are_refused() -> bool:
                trail = await audit(product, tenant)
                return len([event for event in trail if event["outcome"] == "refused"]) == 40

            await eventually(are_refused, 10)
            standing = await quota(client)
            product.model.release()
            responses = await turns
            assert standing["concurrent_runs"]["used"] == 10
            assert (await quota(client))["concurrent_runs"]["used"] == 0
        assert statuses(responses) == {200: 10, 429: 40}
        assert product.model.in_flight_max == 10
        for response in responses:
            assert policies(response, "ratelimit-policy")["concurrent_runs"] == {"q": 10}
            if response.status_code == 429:
                assert_problem(response, 429, says="concurrent_runs")

    async def test_who_has_its_answer_has_its_slot_back(self, product: House) -> None:
        tenant = await product.new_tenant("single", concurrent_runs=1)
        async with product.client(tenant) as client:
            for number in range(12):
                response = await ask(client, stream=bool(number % 2))
                assert response.status_code == 200, number

    async def test_a_failed_run_gives_its_slot_back(self, product: House) -> None:
        tenant = await product.new_tenant("unlucky", concurrent_runs=1)
        product.model.script(*[Reply.error(500)] * 3)
        async with product.client(tenant) as client:
            assert [(await ask(client)).status_code for _ in range(4)] == [502, 502, 502, 200]
            standing = await quota(client)
        assert standing["concurrent_runs"]["used"] == 0
        assert standing["tokens day"]["held"] == 0


class TestTokens:
    @pytest.mark.parametrize("period", ["day", "month", "minute"])
    async def test_never_a_token_over_the_budget(self, product: House, period: str) -> None:
        limits = {f"tokens_per_{period}": 4000, "max_output_tokens": 64, "tools": "none"}
        tenant = await product.new_tenant(f"budget-{period}", concurrent_runs=-1, **limits)
        product.model.default = Reply.text("So.", usage=(300, 60))
        async with product.client(tenant) as client:
            responses = await many(client, 50)
            standing = (await quota(client))[f"tokens {period}"]
        used = await usage(product, tenant)
        admitted = statuses(responses)[200]
        assert set(statuses(responses)) == {200, 429}
        assert admitted >= 2
        assert used["input_tokens"] + used["output_tokens"] == 360 * admitted <= 4000
        assert (standing["used"], standing["held"]) == (360 * admitted, 0)
        for response in responses:
            assert policies(response, "ratelimit-policy")[f"tokens-{period}"]["q"] == 4000
            if response.status_code == 429:
                assert_problem(response, 429, says=f"tokens per {period}")

    async def test_a_used_up_budget_refuses_until_its_period_is_over(self, product: House) -> None:
        tenant = await product.new_tenant("spent", tokens_per_day=9000, max_output_tokens=64)
        product.model.default = Reply.text("So.", usage=(8900, 60))
        async with product.client(tenant) as client:
            await answer(client)
            refused = await ask(client)
            standing = (await quota(client))["tokens day"]
        assert_problem(refused, 429)
        assert policies(refused, "ratelimit")["tokens-day"]["r"] == 40
        left = policies(refused, "ratelimit")["tokens-day"]["t"]
        assert abs(int(refused.headers["retry-after"]) - left) <= 2
        assert (standing["limit"], standing["used"], standing["held"]) == (9000, 8960, 0)

    async def test_a_budget_that_ends_mid_run_ends_the_answer(self, product: House) -> None:
        tenant = await product.new_tenant("halfway", tokens_per_day=6000, max_output_tokens=64)
        product.model.script(Reply.tool_call("current_time", usage=(5500, 60)))
        async with product.client(tenant) as client:
            said = await answer(client, "Time?")
            standing = (await quota(client))["tokens day"]
        assert "budget" in said["answer"]
        assert said["model"] == "scripted"
        assert said["usage"] == {"input_tokens": 5500, "output_tokens": 60}
        assert (standing["used"], standing["held"]) == (5560, 0)
        assert len(product.model.chat_requests) == 1

    async def test_a_budget_that_ends_mid_run_is_told_in_a_stream(self, product: House) -> None:
        tenant = await product.new_tenant("cut-off", tokens_per_day=6000, max_output_tokens=64)
        product.model.script(Reply.tool_call("current_time", usage=(5500, 60)))
        async with product.client(tenant) as client:
            text = (await ask(client, "Time?", stream=True)).text
        assert re.search(r'event: token\ndata: \{"text":"[^"]*budget', text)

    async def test_the_output_limit_of_the_plan_reaches_the_model(self, product: House) -> None:
        tenant = await product.new_tenant("terse", max_output_tokens=77)
        async with product.client(tenant) as client:
            await answer(client)
        assert product.model.chat_requests[-1]["max_completion_tokens"] == 77


class TestStanding:
    async def test_the_quota_says_what_is_allowed_used_and_held(self, product: House) -> None:
        tenant = await product.new_tenant("standing", concurrent_runs=3)
        product.model.hold()
        async with product.client(tenant) as client:
            turn = asyncio.create_task(ask(client))
            await product.model.wait_in_flight(1)
            held = await quota(client)
            product.model.release()
            await turn
            after = await quota(client)
        fields = {"level", "meter", "period", "limit", "used", "held", "resets_at", "refuses"}
        assert all(set(item) == fields for item in after.values())
        assert held["tokens day"]["held"] > 0
        assert held["concurrent_runs"]["used"] == 1
        assert after["tokens day"]["held"] == 0
        assert after["tokens day"]["used"] == after["tokens month"]["used"] == 150
        assert after["concurrent_runs"]["resets_at"] is None
        assert after["tokens day"]["resets_at"].endswith("T00:00:00Z")

    async def test_a_change_of_plan_acts_within_a_second(self, product: House) -> None:
        tenant = await product.new_tenant("climber", requests_per_minute=1, burst=1)
        async with product.client(tenant) as client:
            await answer(client)
            assert_problem(await ask(client), 429)
            async with admin_of(product) as admin:
                plan = admin.plan(PlanId("climber"))
                assert plan is not None
                changed = {"requests_per_minute": "6000", "burst": "100"}
                admin.put_plan(change_plan(plan, changed))

            async def is_admitted() -> bool:
                return (await ask(client)).status_code == 200

            await eventually(is_admitted, 1)

    async def test_another_plan_acts_within_a_second(self, product: House) -> None:
        tenant = await product.new_tenant("mover")
        async with admin_of(product) as admin:
            admin.put_plan(change_plan(admin.plan(PlanId("free")), {"concurrent_runs": "7"}))
        async with product.client(tenant) as client:
            assert (await quota(client))["concurrent_runs"]["limit"] == 16
            async with admin_of(product) as admin:
                admin.set_plan(tenant, PlanId("free"))

            async def moved() -> bool:
                return (await quota(client))["concurrent_runs"]["limit"] == 7

            await eventually(moved, 1)


class TestRefusedTurns:
    """A refused turn leaves nothing in the thread, and one audit record."""

    async def _trace(self, product: House, tenant: str, before: list[dict]) -> dict:
        trail = await audit(product, tenant)
        [event] = trail[: len(trail) - len(before)]
        assert event["outcome"] == "refused"
        assert event["subject"]
        assert event["actor"]
        return event

    async def test_a_429_leaves_an_existing_thread_as_it_was(self, product: House) -> None:
        tenant = await product.new_tenant("refused", requests_per_minute=1, burst=1)
        async with product.client(tenant) as client:
            said = await answer(client, "One")
            url = f"/v1/threads/{said['thread_id']}"
            thread, before = (await client.get(url)).content, await audit(product, tenant)
            assert_problem(await ask(client, "Two", thread_id=said["thread_id"]), 429)
            assert (await client.get(url)).content == thread
        event = await self._trace(product, tenant, before)
        assert (event["action"], event["thread_id"]) == ("run.start", said["thread_id"])
        assert event["attributes"] == {"reason": "QuotaExceeded", "limit": "requests"}

    async def test_a_429_leaves_no_new_thread_and_no_run(self, product: House) -> None:
        tenant = await product.new_tenant("shut", concurrent_runs=0)
        async with product.client(tenant) as client:
            assert_problem(await ask(client), 429)
            assert (await client.get("/v1/threads")).json()["items"] == []
            event = await self._trace(product, tenant, [])
            assert_problem(await client.get(f"/v1/runs/{event['run_id']}"), 404)

    async def test_a_409_leaves_one_record(self, product: House) -> None:
        tenant = await product.new_tenant("busy")
        product.model.hold()
        async with product.client(tenant) as client:
            thread = (await client.post("/v1/threads", json={})).json()["thread_id"]
            before = await audit(product, tenant)
            turn = asyncio.create_task(ask(client, "a", thread_id=thread))
            await product.model.wait_in_flight(1)
            assert_problem(await ask(client, "b", thread_id=thread), 409)
            event = await self._trace(product, tenant, before)
            product.model.release()
            await turn
            assert [text for role, text in await messages(client, thread) if role == "user"] == [
                "a"
            ]
        assert (event["action"], event["thread_id"]) == ("run.start", thread)

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ({"message": "Hi", "thread_id": str(uuid4())}, 404),
            ({"message": "Hi", "assistant": "nobody"}, 404),
            ({"message": ""}, 422),
            ({"message": "Hi", "colour": "red"}, 422),
            ({"resume": {"decisions": [{"type": "approve"}]}}, 422),
            ({}, 422),
        ],
    )
    async def test_another_refusal_leaves_one_record(
        self, product: House, body: dict, status: int
    ) -> None:
        before = await audit(product, "acme")
        async with product.client("acme", "refused") as client:
            assert_problem(await client.post("/v1/chat", json=body), status)
            assert (await client.get("/v1/threads")).json()["items"] == []
        event = await self._trace(product, "acme", before)
        assert event["subject"] == "refused"

    async def test_a_403_leaves_one_record(self, product: House) -> None:
        before = await audit(product, "acme")
        async with product.client("acme", "looker", Role.VIEWER) as viewer:
            assert_problem(await ask(viewer), 403)
        event = await self._trace(product, "acme", before)
        assert (event["subject"], event["attributes"]["status"]) == ("looker", 403)

    async def test_a_413_leaves_one_record(self, product: House) -> None:
        before = await audit(product, "acme")
        async with product.client("acme") as acme:
            assert_problem(await ask(acme, "x" * 2**20), 413)
        await self._trace(product, "acme", before)

    async def test_a_415_leaves_one_record(self, product: House) -> None:
        before = await audit(product, "acme")
        async with product.client("acme") as acme:
            assert_problem(await acme.post("/v1/chat", content=b"message=Hi"), 415)
        await self._trace(product, "acme", before)

    async def test_a_mismatched_idempotency_key_leaves_one_record(self, product: House) -> None:
        async with product.client("acme") as acme:
            await answer(acme, "Hi", key="mismatch")
            before = await audit(product, "acme")
            assert_problem(await ask(acme, "Bye", key="mismatch"), 422)
        await self._trace(product, "acme", before)
