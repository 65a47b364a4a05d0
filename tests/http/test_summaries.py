"""Long threads are summarised for prompts where a plan says so; their messages stay."""

from collections.abc import Mapping
from typing import Any

from tests.http.speech import answer, audit, eventually, messages, quota, usage
from tests.support.house import House
from tests.support.model_server import Reply

COST = {"usage": (10, 2)}


def is_wish(request: Mapping[str, Any]) -> bool:
    return "Summarise this conversation" in request["messages"][-1]["content"]


async def test_a_long_thread_goes_into_prompts_in_short(product: House) -> None:
    tenant = await product.new_tenant("talkative", summarise_after=4)
    replies = [*(Reply.text(f"Answer {n}.", **COST) for n in range(3))]
    product.model.script(*replies, Reply.text("The tale of zero and one.", usage=(30, 6)))
    async with product.client(tenant) as client:
        thread = (await answer(client, "Question 0"))["thread_id"]
        for number in (1, 2):
            await answer(client, f"Question {number}", thread_id=thread)

        async def summarised() -> bool:
            events = await audit(product, tenant)
            return "thread.summarise" in [event["action"] for event in events]

        await eventually(summarised, 10)
        asked = product.model.chat_requests[-1]
        assert is_wish(asked)
        assert f"tenant_id: {tenant}" in asked["messages"][0]["content"]
        assert "Answer 1." in asked["messages"][-1]["content"]
        assert "Answer 2." not in asked["messages"][-1]["content"]

        product.model.script(Reply.text("Answer 3.", **COST))
        await answer(client, "Question 3", thread_id=thread)
        [prompt] = [r for r in product.model.chat_requests if "Question 3" in str(r)]
        said = [message["content"] for message in prompt["messages"][1:]]
        assert "The tale of zero and one." in said[0]
        assert said[1:] == ["Question 2", "Answer 2.", "Question 3"]
        assert len(await messages(client, thread)) == 8

        async def settled() -> bool:
            day = (await quota(client))["tokens day"]
            return (day["used"], day["held"]) == (4 * 12 + 36, 0)

        await eventually(settled, 10)
    billed = await usage(product, tenant)
    assert billed["input_tokens"] + billed["output_tokens"] == 4 * 12 + 36


async def test_a_summary_that_fails_harms_nobody(product: House) -> None:
    tenant = await product.new_tenant("unlucky", summarise_after=0)
    async with product.client(tenant) as client:
        thread = (await answer(client, "Question 0"))["thread_id"]
        product.model.script(Reply.text("Answer 1."), Reply.error(400))
        await answer(client, "Question 1", thread_id=thread)

        async def tried() -> bool:
            return any(map(is_wish, product.model.chat_requests))

        await eventually(tried, 10)
        await answer(client, "Question 2", thread_id=thread)
        assert len(await messages(client, thread)) == 6


async def test_nothing_is_summarised_unless_the_plan_says_so(product: House) -> None:
    async with product.client(await product.new_tenant("plain")) as client:
        thread = (await answer(client, "Question"))["thread_id"]
        for _ in range(4):
            await answer(client, "More", thread_id=thread)
    own = [r for r in product.model.chat_requests if "tenant_id: plain" in str(r["messages"][0])]
    assert len(own) == 5
    assert not any(map(is_wish, own))  # another test's may still be under way
