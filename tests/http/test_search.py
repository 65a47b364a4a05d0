"""Searches that look into some documents only, say why, and show what stands around."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from tenancy.principal import Role
from tests.http.speech import assert_problem
from tests.support.house import House

Json = dict[str, Any]
MANUAL = "\n\n".join(
    f"# Part {n}\n\nThe lever of part {n} is {'very ' * 120}long." for n in range(6)
)
FILES: dict[str, tuple[str, Json]] = {
    "red.md": ("Lever prices of the north.", {"area": "north", "year": 2024, "draft": False}),
    "blue.txt": ("Lever prices of the south.", {"area": "south", "year": 2025}),
    "manual.md": (MANUAL, {}),
}


@pytest.fixture(scope="module")
async def tenant(product: House) -> str:
    """One with three documents."""
    tenant = await product.new_tenant("searcher")
    async with product.client(tenant, "boss", Role.ADMIN) as client:
        for name, (text, metadata) in FILES.items():
            sent = {"metadata": json.dumps(metadata)} if metadata else {}
            made = await client.post("/v1/documents", files={"file": (name, text)}, data=sent)
            assert made.status_code == 201
            assert made.json().get("metadata", {}) == metadata
    return tenant


@pytest.fixture
async def client(product: House, tenant: str) -> AsyncIterator[httpx.AsyncClient]:
    async with product.client(tenant, "boss", Role.ADMIN) as client:
        yield client


async def search(client: httpx.AsyncClient, **body: Any) -> list[Json]:
    response = await client.post("/v1/search", json={"query": "lever prices", **body})
    assert response.status_code == 200, response.text
    items: list[Json] = response.json()["items"]
    return items


def metadata(**conditions: Any) -> Json:
    return {"metadata": conditions}


class TestFilters:
    @pytest.mark.parametrize(
        ("filter_", "found"),
        [
            ({}, {"red", "blue", "manual"}),
            ({"media_types": ["text/plain"]}, {"blue"}),
            ({"media_types": ["text/plain", "text/markdown"]}, {"red", "blue", "manual"}),
            (metadata(area="north"), {"red"}),
            (metadata(area={"in": ["north", "south", "x"]}), {"red", "blue"}),
            (metadata(year=2025), {"blue"}),
            (metadata(year="2025"), set()),
            (metadata(year={"in": [2024.0, 7]}), {"red"}),
            (metadata(draft=False), {"red"}),
            (metadata(draft=0), set()),
            (metadata(area={"exists": True}), {"red", "blue"}),
            (metadata(area={"exists": False}), {"manual"}),
            (metadata(area="north", year=2025), set()),
            (metadata(area="north", year=2024), {"red"}),
            (metadata(**{"area' or 'x'='x": "north"}), set()),
            ({"created_before": "2020-01-01T00:00:00Z"}, set()),
            ({"created_from": "2020-01-01T00:00:00+01:00"}, {"red", "blue", "manual"}),
            ({"created_from": "2020-01-01t00:00:00.5z"}, {"red", "blue", "manual"}),
            ({"media_types": ["text/plain"], **metadata(area="north")}, set()),
        ],
        ids=str,
    )
    async def test_a_search_looks_into_documents_that_pass(
        self, client: httpx.AsyncClient, filter_: Json, found: set[str]
    ) -> None:
        seen = {item["document_id"] for item in await search(client, filter=filter_, limit=50)}
        listed = (await client.get("/v1/documents")).json()["items"]
        by_id = {each["document_id"]: each.get("metadata", {}).get("area") for each in listed}
        areas = {"north": "red", "south": "blue", None: "manual"}
        assert {areas[by_id[id_]] for id_ in seen} == found

    async def test_documents_are_named_by_their_ids(self, client: httpx.AsyncClient) -> None:
        listed = (await client.get("/v1/documents")).json()["items"]
        wanted = {each["document_id"] for each in listed[:2]}
        found = await search(client, filter={"document_ids": [*wanted, str(uuid4())]}, limit=50)
        assert {item["document_id"] for item in found} == wanted

    async def test_a_filter_that_lets_all_through_changes_nothing(
        self, client: httpx.AsyncClient
    ) -> None:
        everything = {"created_from": "2020-01-01T00:00:00Z"}
        assert await search(client, filter=everything) == await search(client)

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"filter": {"tenant_id": "acme"}}, "tenant_id"),
            ({"filter": {"document_ids": []}}, "document_ids"),
            ({"filter": {"document_ids": ["x"]}}, "document_ids"),
            ({"filter": {"document_ids": [str(UUID(int=1))] * 101}}, "document_ids"),
            ({"filter": {"media_types": "text/plain"}}, "media_types"),
            ({"filter": {"media_types": ["\0"]}}, "media_types"),
            ({"filter": {"created_from": "yesterday"}}, "created_from"),
            ({"filter": {"created_from": "2020-01-01T00:00:00"}}, "created_from"),
            ({"filter": {"created_from": 1}}, "created_from"),
            ({"filter": {"created_before": "1700000000"}}, "created_before"),
            ({"filter": metadata(a=None)}, "metadata"),
            ({"filter": metadata(a=["x"])}, "metadata"),
            ({"filter": metadata(a={"gt": 1})}, "metadata"),
            ({"filter": metadata(a={"in": []})}, "metadata"),
            ({"filter": metadata(a={"in": [{}]})}, "metadata"),
            ({"filter": metadata(a={"exists": 1})}, "metadata"),
            ({"filter": metadata(a=2**60)}, "metadata"),
            ({"filter": metadata(a="x" * 257)}, "metadata"),
            ({"filter": metadata(**{"x" * 65: 1})}, "metadata"),
            ({"filter": metadata(**{"a\0": 1})}, "metadata"),
            ({"filter": metadata(**{str(n): 1 for n in range(17)})}, "metadata"),
            ({"neighbours": 4}, "neighbours"),
            ({"neighbours": -1}, "neighbours"),
            ({"neighbours": True}, "neighbours"),
            ({"explain": "yes"}, "explain"),
        ],
        ids=str,
    )
    async def test_what_makes_no_sense_is_refused_by_name(
        self, client: httpx.AsyncClient, body: Json, field: str
    ) -> None:
        response = await client.post("/v1/search", json={"query": "x", **body})
        assert response.status_code == 422
        assert any(field in error["field"] for error in response.json()["errors"])

    @pytest.mark.parametrize("wanted", [None, ["x"], {"gt": 1}, {"in": []}, {"in": [{}]}])
    async def test_a_condition_of_no_known_form_is_refused_with_one_reason(
        self, client: httpx.AsyncClient, wanted: Any
    ) -> None:
        body = {"query": "x", "filter": metadata(a=wanted)}
        [error] = (await client.post("/v1/search", json=body)).json()["errors"]
        assert error["field"] == "filter.metadata.a"
        assert error["message"].startswith("must be text, a number")


class TestAnswers:
    async def test_a_passage_says_where_it_stands(self, client: httpx.AsyncClient) -> None:
        found = await search(
            client, query="the lever of part 3", filter=metadata(area={"exists": False})
        )
        [third] = [item for item in found if item["path"] == ["Part 3"]]
        document = await client.get(f"/v1/documents/{third['document_id']}/text")
        assert "lever of part 3" in document.json()["text"][third["start"] : third["end"]]
        assert third["page"] is None
        assert "explain" not in third
        assert "context" not in third

    async def test_a_score_is_explained(self, client: httpx.AsyncClient) -> None:
        [first, *_] = await search(client, query="north", explain=True)
        why = first["explain"]
        assert why["score"] == first["score"]
        assert 0 <= why["distance"] <= 2
        assert why["word_rank"] == 1
        assert why["word_score"] > 0
        ranks = [why[name] for name in ("distance_rank", "word_rank") if why[name]]
        assert why["score"] == pytest.approx(sum(1 / (10 + rank) for rank in ranks))

    async def test_neighbours_are_the_text_around(self, client: httpx.AsyncClient) -> None:
        alone = await search(client, query="the lever of part 3", limit=1)
        [wide] = await search(client, query="the lever of part 3", limit=1, neighbours=1)
        assert wide["text"] == alone[0]["text"]
        assert wide["context"]["passage_ids"] == [wide["passage_id"]]
        assert len(wide["context"]["text"]) > len(wide["text"])
        assert wide["text"] in wide["context"]["text"]

    async def test_neighbours_that_touch_are_one(self, client: httpx.AsyncClient) -> None:
        within = metadata(area={"exists": False})
        every = await search(client, filter=within, limit=50)
        [one] = await search(client, filter=within, limit=50, neighbours=3)
        assert len(every) > 1
        assert set(one["context"]["passage_ids"]) == {item["passage_id"] for item in every}
        assert all(item["text"] in one["context"]["text"] for item in every)


class TestMetadata:
    @pytest.mark.parametrize(
        "sent", ["{", "[]", "null", '{"a": null}', '{"a": {}}', '{"a": 1e400}', '{"": 1}']
    )
    async def test_metadata_that_cannot_be_is_refused_before_anything_is_stored(
        self, client: httpx.AsyncClient, sent: str
    ) -> None:
        file = {"file": ("new.txt", f"Of {sent!r} nothing is stored.")}
        refused = await client.post("/v1/documents", files=file, data={"metadata": sent})
        assert_problem(refused, 422)
        assert len((await client.get("/v1/documents")).json()["items"]) == len(FILES)

    async def test_the_same_content_again_takes_new_metadata(self, product: House) -> None:
        tenant = await product.new_tenant("librarian")
        async with product.client(tenant, "boss", Role.ADMIN) as client:
            for status, value in ((201, "a"), (200, "b")):
                made = await client.post(
                    "/v1/documents",
                    files={"file": ("x.txt", "The same text.")},
                    data={"metadata": json.dumps({"shelf": value})},
                )
                assert made.status_code == status
            again = await client.post("/v1/documents", files={"file": ("x.txt", "The same text.")})
            assert again.json()["metadata"] == {"shelf": "b"}
            document = await client.get(f"/v1/documents/{again.json()['document_id']}")
            assert document.json()["metadata"] == {"shelf": "b"}
