"""Whatever fifty tenants do at the same time, none of them meets another's words."""

import base64
import json
import random
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest

from storage.documents import PostgresDocuments
from tests.isolation.canaries import Aviary
from tests.isolation.random_operations import OPERATIONS, crowd
from tests.support.house import House

TENANTS, COUNT = 50, 600  # bench/random_operations.py makes 20,000


async def test_nobody_meets_a_word_of_somebody_else(product: House) -> None:
    async with crowd(product, TENANTS, seed=11) as guests:
        tally = await guests.run(COUNT)
    assert tally.foreign == []
    assert tally.operations.total() == COUNT
    assert set(tally.operations) == set(OPERATIONS)
    assert set(tally.statuses) == {200, 201, 204, 207, 404, 409, 422, 502}
    assert set(tally.own) == {"body", "prompt", "embedding", "tool argument", "tool answer"}


async def test_a_cache_of_passages_without_a_tenant_is_found(
    product: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, cache = PostgresDocuments.search, {}

    async def search(self: Any, tenant_id: Any, query: str, *args: Any, **more: Any) -> Any:
        if not cache.get(query):
            cache[query] = await honest(self, tenant_id, query, *args, **more)
        return [replace(passage, tenant_id=tenant_id) for passage in cache[query]]

    monkeypatch.setattr(PostgresDocuments, "search", search)
    async with crowd(product, 5, seed=12) as guests:
        tally = await guests.run(800)
    assert {"body", "prompt"} <= {sighting.where for sighting in tally.foreign}


@pytest.mark.parametrize("before", ["", "a", "ab"])
@pytest.mark.parametrize(
    "written",
    [
        str.encode,
        lambda text: json.dumps(text).encode(),
        lambda text: base64.b64encode(text.encode()),
        lambda text: base64.urlsafe_b64encode(text.encode()),
        lambda text: text.encode().hex().encode(),
        lambda text: quote(text).encode(),
        lambda text: "".join(f"%{byte:02X}" for byte in text.encode()).encode(),
    ],
)
def test_a_word_is_found_however_it_is_written(before: str, written: Any) -> None:
    for seed in range(20):
        aviary = Aviary(["acme", "globex"], random.Random(seed))  # noqa: S311
        text = written(f"{before}{aviary.words['acme']} after")
        assert {sighting.of for sighting in aviary.seen("", "globex", text)} == {"acme"}
