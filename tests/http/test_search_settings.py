"""Where an assistant looks things up: within what its tenant says, and never beyond the tenant."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tenancy.ids import TenantId
from tenancy.principal import Role
from tests.http.speech import Json, assert_problem, eventually
from tests.support.house import House
from tests.support.model_server import Reply

NORTH = {"metadata": {"area": "north"}}
QUESTION = "What does a lever cost?"


async def shelve(product: House, tenant: str) -> dict[str, str]:
    """Two documents that differ in where they hold; their ids by area."""
    ids = {}
    async with product.client(tenant, "boss", Role.ADMIN) as boss:
        for area in ("north", "south"):
            file = {"file": (f"{area}.md", f"Lever prices of the {area} of {tenant}.")}
            sent = {"metadata": json.dumps({"area": area})}
            made = await boss.post("/v1/documents", files=file, data=sent)
            assert made.status_code == 201
            ids[area] = made.json()["document_id"]
    return ids


@pytest.fixture
async def tenant(product: House) -> TenantId:
    return await product.new_tenant(f"looks-{uuid4().hex[:12]}")


@pytest.fixture
async def ids(product: House, tenant: TenantId) -> dict[str, str]:
    return await shelve(product, tenant)


@pytest.fixture
async def boss(product: House, tenant: TenantId) -> AsyncIterator[httpx.AsyncClient]:
    async with product.client(tenant, "boss", Role.ADMIN) as client:
        yield client


async def assistant(boss: httpx.AsyncClient, **search: Any) -> str:
    """The slug of an assistant in use that looks things up so."""
    slug = f"a-{uuid4().hex[:8]}"
    body = {"slug": slug, "content": {"search": search}}
    made = await boss.post("/v1/assistants", json=body)
    assert made.status_code == 201, made.text
    path = f"/v1/assistants/{made.json()['assistant_id']}/publish"
    assert (await boss.post(path)).status_code == 200
    return slug


async def chat(boss: httpx.AsyncClient, slug: str, message: str = QUESTION) -> Json:
    body = {"message": message, "assistant": slug}
    response = await boss.post("/v1/chat", json=body)
    assert response.status_code == 200, response.text
    answer: Json = response.json()
    return answer


def shown(product: House) -> set[str]:
    """Which areas' passages the model was shown last."""
    text = product.model.chat_requests[-1]["messages"][0]["content"]
    return {area for area in ("north", "south") if f"prices of the {area}" in text}


@pytest.mark.parametrize(
    ("search", "areas"),
    [
        ({"filter": NORTH}, {"north"}),
        ({"filter": {"metadata": {"area": {"in": ["south"]}}}}, {"south"}),
        ({"filter": {"created_before": "2020-01-01T00:00:00Z"}}, set()),
        ({"filter": {}}, {"north", "south"}),
        ({"filter": None, "limit": None}, {"north", "south"}),
        ({"filter": NORTH, "limit": 0}, set()),
    ],
    ids=str,
)
async def test_an_assistant_looks_into_documents_that_pass(
    product: House, boss: httpx.AsyncClient, ids: Json, search: Json, areas: set[str]
) -> None:
    await chat(boss, await assistant(boss, **search))
    assert shown(product) == areas


async def test_the_tool_looks_no_further_whatever_the_model_asks_for(
    product: House, boss: httpx.AsyncClient, ids: Json
) -> None:
    wider = {"query": "lever prices", "filter": {}, "search": {}, "limit": 50}
    product.model.script(Reply.tool_call("search_documents", wider), Reply.text("Found."))
    await chat(boss, await assistant(boss, filter=NORTH, limit=0))
    assert shown(product) == {"north"}


async def test_the_nearest_filter_holds(product: House, boss: httpx.AsyncClient, ids: Json) -> None:
    says = {"search": {"filter": NORTH, "limit": 3}}
    assert (await boss.put("/v1/profile", json={"says": says})).json() == {"says": says}

    async def acts() -> bool:
        await chat(boss, "default")
        return shown(product) == {"north"}

    await eventually(acts)
    await chat(boss, await assistant(boss, limit=4))
    assert shown(product) == {"north"}
    slug = await assistant(boss, filter={})
    await chat(boss, slug)
    assert shown(product) == {"north", "south"}
    items = (await boss.get(f"/v1/assistants/{slug}/effective")).json()["items"]
    found = [(each["value"], each["source"]) for each in items if each["field"] == "search"]
    assert found == [({"limit": 3}, "tenant"), ({"filter": {}}, "assistant")]


async def test_a_filter_that_names_a_rivals_document_finds_nothing(
    product: House, boss: httpx.AsyncClient, ids: Json
) -> None:
    rival = await shelve(product, await product.new_tenant(f"rival-{uuid4().hex[:12]}"))
    for named in ([rival["north"]], [str(uuid4())]):
        await chat(boss, await assistant(boss, filter={"document_ids": named}))
        assert shown(product) == set()
    named = [rival["north"], ids["south"]]
    await chat(boss, await assistant(boss, filter={"document_ids": named}))
    assert shown(product) == {"south"}


@pytest.mark.parametrize(
    ("search", "field"),
    [
        ([], "search"),
        ({"corpus": "x"}, "search"),
        ({"limit": 21}, "search.limit"),
        ({"filter": []}, "search.filter"),
        ({"filter": {"tenant_id": "globex"}}, "search.filter.tenant_id"),
        ({"filter": {"document_ids": ["x"]}}, "search.filter.document_ids"),
        ({"filter": {"media_types": ["\0"]}}, "search.filter.media_types"),
        ({"filter": {"created_from": "2020-01-01"}}, "search.filter.created_from"),
        ({"filter": {"metadata": {"area": {"gt": 1}}}}, "search.filter.metadata.area"),
        ({"filter": {"metadata": {"area": 2**60}}}, "search.filter.metadata.area"),
    ],
    ids=str,
)
async def test_what_no_search_can_be_is_refused_when_it_is_saved(
    boss: httpx.AsyncClient, search: Any, field: str
) -> None:
    for path, body in (
        ("/v1/assistants", {"slug": "x", "content": {"search": search}}),
        ("/v1/profile", {"says": {"search": search}}),
    ):
        send = boss.post if path == "/v1/assistants" else boss.put
        assert_problem(await send(path, json=body), 422, field)
