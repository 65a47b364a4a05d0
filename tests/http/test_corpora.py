"""Shared corpora: searched by who subscribes, read-only, and nobody else's business."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from tenancy.ids import PlanId, TenantId
from tenancy.principal import Role
from tenancy.tenant import TenantStatus
from tests.http.speech import admin_of, answer, assert_problem, audit, eventually
from tests.support.house import House
from tests.support.model_server import Reply

TEXT = "# Parental leave\n\nThe law grants fourteen weeks of quokka leave."


@pytest.fixture
async def corpus(product: House) -> TenantId:
    """A corpus with one document."""
    name = TenantId(f"law-{uuid4().hex[:8]}")
    async with admin_of(product) as admin:
        admin.create_corpus(name, "Labour law", PlanId("pro"))
    async with product.client(name, "operator", Role.ADMIN) as librarian:
        sent = await librarian.post("/v1/documents", files={"file": ("law.md", TEXT)})
        assert sent.status_code == 201, sent.text
    return name


@pytest.fixture
async def reader(product: House) -> TenantId:
    return await product.new_tenant(f"reader-{uuid4().hex[:8]}")


async def search(client: httpx.AsyncClient, query: str = "quokka leave", **more: Any) -> list[Any]:
    found = await client.post("/v1/search", json={"query": query, **more})
    assert found.status_code == 200, found.text
    items: list[Any] = found.json()["items"]
    return items


async def subscribed(client: httpx.AsyncClient, corpus: TenantId) -> bool:
    items = (await client.get("/v1/corpora")).json()["items"]
    [known] = [each for each in items if each["corpus_id"] == corpus]
    assert known["title"] == "Labour law"
    return bool(known["subscribed"])


async def subscribe(client: httpx.AsyncClient, corpus: TenantId) -> None:
    done = await client.put(f"/v1/corpora/{corpus}/subscription")
    assert done.status_code == 204, done.text

    async def acts() -> bool:
        return await subscribed(client, corpus)

    await eventually(acts)


async def test_who_subscribes_finds_what_the_corpus_has_beside_its_own(
    product: House, corpus: TenantId, reader: TenantId
) -> None:
    async with product.client(reader, "boss", Role.ADMIN) as boss:
        own = {"file": ("own.md", "# Our leave\n\nWe grant sixteen weeks of quokka leave.")}
        await boss.post("/v1/documents", files=own)
        assert [each["title"] for each in await search(boss)] == ["Our leave"]
        assert not await subscribed(boss, corpus)
        await subscribe(boss, corpus)
        found = {each["title"]: each for each in await search(boss, neighbours=1, explain=True)}
        assert set(found) == {"Our leave", "Parental leave"}
        shared = found["Parental leave"]
        assert shared["corpus_id"] == corpus
        assert "corpus_id" not in found["Our leave"]
        assert shared["text"] in shared["context"]["text"]

        document = f"/v1/documents/{shared['document_id']}"
        assert_problem(await boss.get(document), 404)
        of = {"corpus": corpus}
        assert (await boss.get(document, params=of)).json()["title"] == "Parental leave"
        text = (await boss.get(f"{document}/text", params=of)).json()["text"]
        assert text[shared["start"] : shared["end"]] in text
        passages = (await boss.get(f"{document}/passages", params=of)).json()["items"]
        assert [each["passage_id"] for each in passages] == [shared["passage_id"]]
        listed = (await boss.get("/v1/documents", params=of)).json()["items"]
        assert [each["document_id"] for each in listed] == [shared["document_id"]]
        assert_problem(await boss.delete(document, params=of), 404)

        product.model.script(Reply.text("Fourteen weeks [1], or sixteen [2]."))
        said = await answer(boss, "How long is quokka leave?")
        assert {each.get("corpus_id") for each in said["citations"]} == {corpus, None}
        assert f"tenant_id: {reader}" in product.model.chat_requests[-1]["messages"][0]["content"]


async def test_who_does_not_subscribe_finds_nothing_of_it(
    product: House, corpus: TenantId, reader: TenantId
) -> None:
    other = await product.new_tenant(f"other-{uuid4().hex[:8]}")
    async with (
        product.client(reader, "boss", Role.ADMIN) as boss,
        product.client(other, "boss", Role.ADMIN) as rival,
    ):
        await subscribe(boss, corpus)
        [shared] = await search(boss)
        assert await search(rival) == []
        assert not await subscribed(rival, corpus)
        path = f"/v1/documents/{shared['document_id']}"
        for name in (corpus, reader, "never-was"):
            for read in (path, f"{path}/text", f"{path}/passages", "/v1/documents"):
                assert_problem(await rival.get(read, params={"corpus": name}), 404)
        gone = await boss.delete(f"/v1/corpora/{corpus}/subscription")
        assert gone.status_code == 204

        async def acts() -> bool:
            return await search(boss) == []

        await eventually(acts)
        assert_problem(await boss.get(path, params={"corpus": corpus}), 404)
        assert_problem(await boss.delete(f"/v1/corpora/{corpus}/subscription"), 404)
    actions = [each["action"] for each in await audit(product, reader)]
    assert actions.count("corpus.subscribe") == actions.count("corpus.unsubscribe") == 1


async def test_no_tenant_is_a_corpus_and_members_subscribe_to_nothing(
    product: House, corpus: TenantId, reader: TenantId
) -> None:
    async with (
        product.client(reader, "boss", Role.ADMIN) as boss,
        product.client(reader, "ann", Role.MEMBER) as ann,
    ):
        for name in ("acme", "never-was", reader):
            assert_problem(await boss.put(f"/v1/corpora/{name}/subscription"), 404)
        assert_problem(await ann.put(f"/v1/corpora/{corpus}/subscription"), 403)
        for method in ("PUT", "DELETE"):
            asked = await boss.request(method, "/v1/corpora/a%00b/subscription")
            assert_problem(asked, 422, "corpus_id")


async def test_subscriptions_are_limited_and_a_corpus_has_none(
    product: House, reader: TenantId
) -> None:
    names = [TenantId(f"shelf-{uuid4().hex[:8]}") for _ in range(6)]
    async with admin_of(product) as admin:
        for name in names:
            admin.create_corpus(name, "A shelf", PlanId("pro"))
    async with product.client(reader, "boss", Role.ADMIN) as boss:
        paths = [f"/v1/corpora/{name}/subscription" for name in names]
        for path in [*paths[:5], paths[0]]:
            assert (await boss.put(path)).status_code == 204
        assert_problem(await boss.put(paths[5]), 409)
    async with product.client(names[0], "boss", Role.ADMIN) as librarian:
        assert_problem(await librarian.put(paths[1]), 404)


async def test_a_suspended_corpus_is_searched_by_nobody(
    product: House, corpus: TenantId, reader: TenantId
) -> None:
    async with product.client(reader, "boss", Role.ADMIN) as boss:
        await subscribe(boss, corpus)
        assert len(await search(boss)) == 1
        async with admin_of(product) as admin:
            admin.set_status(corpus, TenantStatus.SUSPENDED)

        async def acts() -> bool:
            return await search(boss) == []

        await eventually(acts)
