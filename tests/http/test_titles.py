"""A model names threads: in the background, billed, and only where a plan says so."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tenancy.ids import TenantId
from tests.http.speech import answer, audit, eventually, quota, usage
from tests.support.house import House
from tests.support.model_server import Reply

TOKENS = ("input_tokens", "output_tokens")
QUESTION = (
    "Could you tell me how long I may send back a chair that I ordered some weeks ago, please?"
)


@pytest.fixture
async def tenant(product: House, request: pytest.FixtureRequest) -> TenantId:
    """A tenant of the test's own whose threads a model names."""
    return await product.new_tenant(f"named-{abs(hash(request.node.name))}", titles=1)


@pytest.fixture
async def client(product: House, tenant: TenantId) -> AsyncIterator[httpx.AsyncClient]:
    async with product.client(tenant) as client:
        yield client


async def title(client: httpx.AsyncClient, thread: str) -> str:
    return (await client.get(f"/v1/threads/{thread}")).json()["title"]


async def billed(product: House, tenant: str) -> int:
    meters = await usage(product, tenant)
    return sum(meters[name] for name in TOKENS)


async def counted(client: httpx.AsyncClient) -> tuple[int, int]:
    """What the tenant's day has used and holds."""
    day = (await quota(client))["tokens day"]
    return day["used"], day["held"]


async def test_a_model_names_the_thread_and_its_tenant_pays(
    product: House, tenant: TenantId, client: httpx.AsyncClient
) -> None:
    product.model.script(
        Reply.text("Thirty days.", usage=(20, 3)),
        Reply.text('"Returns of chairs"\n', usage=(50, 4)),
    )
    thread = (await answer(client, QUESTION))["thread_id"]

    async def named() -> bool:
        return await title(client, thread) == "Returns of chairs"

    await eventually(named)
    asked = product.model.chat_requests[-1]
    assert f"tenant_id: {tenant}" in asked["messages"][0]["content"]
    assert QUESTION in asked["messages"][-1]["content"]
    assert await billed(product, tenant) == 20 + 3 + 50 + 4
    assert "thread.title" in [event["action"] for event in await audit(product, tenant)]

    async def settled() -> bool:
        return await counted(client) == (77, 0)

    await eventually(settled)


async def test_a_second_turn_names_nothing(
    product: House, tenant: TenantId, client: httpx.AsyncClient
) -> None:
    product.model.script(Reply.text("One."), Reply.text("First name"))
    thread = (await answer(client, QUESTION))["thread_id"]

    async def named() -> bool:
        return await title(client, thread) == "First name"

    await eventually(named)
    await answer(client, "And a table?", thread_id=thread)
    await answer(client, "And a lamp?", thread_id=thread)
    wishes = [r for r in product.model.chat_requests if "Name this" in r["messages"][-1]["content"]]
    assert len(wishes) == 1


async def test_a_title_that_is_not_found_costs_nothing_and_the_messages_stays(
    product: House, tenant: TenantId, client: httpx.AsyncClient
) -> None:
    product.model.script(Reply.text("Thirty days.", usage=(20, 3)), Reply.error(400))
    thread = (await answer(client, QUESTION))["thread_id"]

    async def asked() -> bool:
        return len(product.model.chat_requests) == 2 and await counted(client) == (23, 0)

    await eventually(asked)
    assert await title(client, thread) == QUESTION[:80]
    assert await billed(product, tenant) == 23


async def test_plans_name_nothing_unless_they_say_so(product: House) -> None:
    async with product.client(await product.new_tenant("unnamed")) as client:
        thread = (await answer(client, QUESTION))["thread_id"]
        await answer(client, "And then?", thread_id=thread)
        assert await title(client, thread) == QUESTION[:80]
    assert len(product.model.chat_requests) == 2
