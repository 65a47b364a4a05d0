"""What a tenant sees does not depend on who else is there, to the byte.

bench/noninterference.py runs 100 scripts.
"""

import itertools
from collections import defaultdict
from dataclasses import replace
from typing import Any

import pytest

from storage.documents import PostgresDocuments
from storage.quota import RedisQuota
from tests.isolation.noninterference import (
    Script,
    beside_anything,
    beside_the_same,
    difference,
    transcripts,
    transcripts_alone,
)
from tests.support.stores import Cluster

SCRIPTS = [Script(seed=4, number=number) for number in range(2)]


def differences(one: dict[str, Any], other: dict[str, Any], scripts: list[Script]) -> list[str]:
    found = (difference(one[script.tenant], other[script.tenant]) for script in scripts)
    return [each for each in found if each is not None]


@pytest.fixture(scope="module")
async def alone(servers: Cluster) -> dict[str, Any]:
    return await transcripts_alone(servers, SCRIPTS)


async def test_alone_twice_is_the_same(servers: Cluster, alone: dict[str, Any]) -> None:
    again = await transcripts_alone(servers, SCRIPTS[:1])
    assert differences(alone, again, SCRIPTS[:1]) == []
    kinds = {entry.partition(b"\n")[0].partition(b" ")[0] for e in alone.values() for entry in e}
    assert kinds == {b"answer", b"prompt", b"embedding", b"tool"}


async def test_beside_neighbours_that_do_the_same(servers: Cluster, alone: dict[str, Any]) -> None:
    beside = await transcripts(servers, beside_the_same, SCRIPTS)
    assert differences(alone, beside, SCRIPTS) == []


async def test_beside_neighbours_that_do_everything_else(
    servers: Cluster, alone: dict[str, Any]
) -> None:
    beside = await transcripts(servers, beside_anything, SCRIPTS)
    assert differences(alone, beside, SCRIPTS) == []
    [neighbours] = [entry for entry in beside[""] if entry.startswith(b"neighbours")]
    assert b"429" in neighbours
    assert b"502" in neighbours


async def test_a_cache_without_a_tenant_is_found(
    servers: Cluster, alone: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, cache = PostgresDocuments.search, {}

    async def search(self: Any, tenant_id: Any, query: str, *args: Any, **more: Any) -> Any:
        if (self, query) not in cache:
            cache[self, query] = await honest(self, tenant_id, query, *args, **more)
        return [replace(passage, tenant_id=tenant_id) for passage in cache[self, query]]

    monkeypatch.setattr(PostgresDocuments, "search", search)
    beside = await transcripts(servers, beside_the_same, SCRIPTS)
    assert differences(alone, beside, SCRIPTS) != []


async def test_a_counter_of_everybody_in_an_answer_is_found(
    servers: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = RedisQuota.admit
    counts: dict[Any, Any] = defaultdict(itertools.count)

    async def admit(self: Any, *args: Any, **more: Any) -> Any:
        verdict = await honest(self, *args, **more)
        first, *rest = verdict.standings
        shared = replace(first, limit=10_000, used=next(counts[self]))
        return replace(verdict, standings=(shared, *rest))

    monkeypatch.setattr(RedisQuota, "admit", admit)
    scripts = SCRIPTS[:1]
    alone = await transcripts_alone(servers, scripts)
    again = await transcripts_alone(servers, scripts)
    beside = await transcripts(servers, beside_the_same, scripts)
    assert differences(alone, again, scripts) == []
    [found] = differences(alone, beside, scripts)
    assert "ratelimit" in found.lower()
