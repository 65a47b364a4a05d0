"""What a search of the store lets through: as LangGraph's own store does, and typed."""

import random
from typing import Any

import pytest
from langgraph.store.base import SearchItem
from langgraph.store.memory import InMemoryStore

from storage.cells import Cells
from storage.store import TenantMemoryStore
from tenancy.errors import Invalid
from tests.storage.store_makers import keys, letters, new_tenant, store_of

PLACE = ("person", "notes")
OPERATORS = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte")
WORDS = ("red", "green", "it's", '"; drop table', "%", "", "ü")


@pytest.fixture
async def store(cells: Cells) -> TenantMemoryStore:
    return store_of(cells, new_tenant())


async def found(store: TenantMemoryStore, filter: dict[str, Any]) -> list[str]:
    return sorted(keys(await store.asearch(PLACE, filter=filter)))


TYPED: list[tuple[dict[str, Any], list[str]]] = [
    ({"n": 9}, ["nine"]),
    ({"n": "9"}, ["text"]),
    ({"n": {"$gt": 9}}, ["ten"]),
    ({"n": {"$gt": "8"}}, ["text"]),
    ({"n": {"$gte": 9, "$lt": 10}}, ["nine"]),
    ({"n": {"$lt": 100}}, ["nine", "ten"]),
    ({"n": {"$ne": 9}}, ["nested", "none", "ten", "text", "true"]),
    ({"n": {"$eq": 9.0}}, ["nine"]),
    ({"n": True}, ["true"]),
    ({"n": None}, ["none"]),
    ({"n": {"a": [1, 2]}}, ["nested"]),
    ({"n": {"$eq": {"a": [1, 2]}}}, ["nested"]),
    ({"n": {"a": [1]}}, []),
    ({"missing": None}, ["nested", "nine", "none", "ten", "text", "true"]),
    ({"missing": {"$ne": None}}, []),
    ({"n') or true --": 1}, []),
    ({"n": 9, "missing": 1}, []),
]


@pytest.mark.parametrize(("filter", "expected"), TYPED)
async def test_a_filter_compares_values_of_one_type(
    store: TenantMemoryStore, filter: dict[str, Any], expected: list[str]
) -> None:
    kept = {"nine": 9, "ten": 10, "text": "9", "true": True, "nested": {"a": [1, 2]}}
    for key, n in kept.items():
        await store.aput(PLACE, key, {"n": n})
    await store.aput(PLACE, "none", {})
    assert await found(store, filter) == expected


@pytest.mark.parametrize(
    "filter",
    [
        {"n": {"$like": "x"}},
        {"n": {"$gt": None}},
        {"n": {"$lt": True}},
        {"n": {"$gte": [1]}},
        {"n": {"$eq": 1, "plain": 2}},
        {"n": {"$eq": object()}},
        {"n": "\0"},
    ],
    ids=["unknown", "null", "bool", "list", "mixed", "object", "nul"],
)
async def test_a_filter_of_no_known_form_is_refused(
    store: TenantMemoryStore, filter: dict[str, Any]
) -> None:
    with pytest.raises(Invalid):
        await store.asearch(PLACE, filter=filter)


@pytest.mark.parametrize("window", [{"limit": -1}, {"offset": -1}], ids=["limit", "offset"])
async def test_a_window_is_not_negative(store: TenantMemoryStore, window: dict[str, int]) -> None:
    with pytest.raises(Invalid):
        await store.asearch(PLACE, **window)


async def test_pages_follow_one_another(store: TenantMemoryStore) -> None:
    for n in range(5):
        await store.aput(PLACE, str(n), {"text": "x"})
    pages = [await store.asearch(PLACE, limit=2, offset=offset) for offset in (0, 2, 4, 6)]
    assert [keys(page) for page in pages] == [["4", "3"], ["2", "1"], ["0"], []]


def _value(draw: random.Random) -> dict[str, Any]:
    value: dict[str, Any] = {"n": draw.randint(-9, 12), "text": "".join(draw.choices("abc", k=6))}
    if draw.random() < 0.6:
        value["word"] = draw.choice(WORDS)
    if draw.random() < 0.6:
        value["on"] = draw.choice([True, False, None])
    return value


def _filter(draw: random.Random) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    if draw.random() < 0.6:
        chosen["n"] = {draw.choice(OPERATORS): draw.randint(-9, 12)}
    if draw.random() < 0.4:
        word = draw.choice(WORDS)
        chosen["word"] = draw.choice([word, {"$eq": word}, {"$ne": word}])
    if draw.random() < 0.4:
        chosen["on"] = draw.choice([True, False, None, {"$ne": True}])
    return chosen


def _named(items: list[SearchItem]) -> list[tuple[Any, ...]]:
    return [(item.namespace, item.key, item.value) for item in items]


@pytest.mark.parametrize("seed", range(6))
async def test_it_finds_what_langgraphs_own_store_finds(
    store: TenantMemoryStore, seed: int
) -> None:
    def embed(texts: Any) -> list[list[float]]:
        return [letters(text) for text in texts]

    draw = random.Random(seed)  # noqa: S311
    reference = InMemoryStore(index={"dims": 26, "embed": embed, "fields": ["text"]})
    places = [PLACE, ("person",), (*PLACE, "deep"), ("person", "notes_"), ("person", "not")]
    for _ in range(60):
        place, key = draw.choice(places), draw.choice("abcdefgh")
        value = None if draw.random() < 0.15 else _value(draw)
        for each in (store, reference):
            await (each.adelete(place, key) if value is None else each.aput(place, key, value))
    for _ in range(40):
        prefix, filter = draw.choice([*places, ()]), _filter(draw)
        ours, theirs = [
            await each.asearch(prefix, filter=filter, limit=99) for each in (store, reference)
        ]
        assert sorted(_named(ours), key=str) == sorted(_named(theirs), key=str), filter
        ours, theirs = [
            await each.asearch(prefix, query="aab", filter=filter, limit=99)
            for each in (store, reference)
        ]
        assert [item.score for item in ours] == pytest.approx([item.score for item in theirs])
    assert await store.alist_namespaces() == await reference.alist_namespaces()
