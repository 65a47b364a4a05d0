"""LangGraph's store on a real database: what LangGraph says of a store, and whose it is."""

import asyncio
from typing import Any

import pytest
from langgraph.store.base import (
    GetOp,
    InvalidNamespaceError,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchOp,
)

from storage.cells import Cells
from storage.memories import PostgresMemories
from storage.store import TenantMemoryStore
from storage.store_names import MAX_NAME_BYTES
from storage.store_values import MAX_VALUE_BYTES
from tenancy.errors import Forbidden, Invalid, QuotaExceeded
from tenancy.ids import SubjectId, TenantId
from tenancy.memory import NewMemory
from tenancy.principal import Role
from tests.storage.makers import audit_event, rows
from tests.storage.store_makers import MODEL, Letters, keys, letters, new_tenant, store_of

MINE, OURS = ("person", "notes"), ("tenant", "notes")


@pytest.fixture
def tenant() -> TenantId:
    return new_tenant()


@pytest.fixture
async def store(cells: Cells, tenant: TenantId) -> TenantMemoryStore:
    """The store of an admin, who may write what is the tenant's too."""
    return store_of(cells, tenant, "boss", Role.ADMIN)


async def audited(cells: Cells, tenant: TenantId) -> list[str]:
    found = await rows(
        cells, "select action from tenantry.audit_events order by created_at", tenant
    )
    return [row["action"] for row in found]


# -- whose it is


async def test_a_person_never_sees_another_persons(cells: Cells, tenant: TenantId) -> None:
    alice, bob = store_of(cells, tenant, "alice"), store_of(cells, tenant, "bob")
    await alice.aput(MINE, "k", {"text": "hers"})
    assert await bob.aget(MINE, "k") is None
    assert await bob.asearch(()) == await bob.asearch(MINE, query="hers") == []
    assert await bob.alist_namespaces() == []
    await bob.adelete(MINE, "k")
    await bob.aput(MINE, "k", {"text": "his"})
    item = await alice.aget(MINE, "k")
    assert item is not None
    assert item.value == {"text": "hers"}


async def test_a_tenant_never_sees_another_tenants(cells: Cells, tenant: TenantId) -> None:
    ours = store_of(cells, tenant, "boss", Role.ADMIN)
    theirs = store_of(cells, new_tenant(), "boss", Role.ADMIN)
    for namespace in (MINE, OURS):
        await ours.aput(namespace, "k", {"text": "ours"})
        assert await theirs.aget(namespace, "k") is None
        await theirs.adelete(namespace, "k")
        await theirs.aput(namespace, "k", {"text": "theirs"})
    assert [item.value["text"] for item in await ours.asearch(())] == ["ours", "ours"]
    assert [item.value["text"] for item in await theirs.asearch(())] == ["theirs", "theirs"]


async def test_what_is_the_tenants_all_its_people_read(cells: Cells, tenant: TenantId) -> None:
    await store_of(cells, tenant, "boss", Role.ADMIN).aput(OURS, "k", {"text": "ours"})
    bob = store_of(cells, tenant, "bob")
    item = await bob.aget(OURS, "k")
    assert item is not None
    assert item.namespace == OURS
    assert await bob.alist_namespaces() == [OURS]


async def test_what_is_the_tenants_is_written_by_who_may_change_settings(
    cells: Cells, tenant: TenantId, store: TenantMemoryStore
) -> None:
    await store.aput(OURS, "k", {"text": "ours"})
    bob = store_of(cells, tenant, "bob")
    with pytest.raises(Forbidden, match="settings:write"):
        await bob.aput(OURS, "k", {"text": "his"})
    with pytest.raises(Forbidden, match="settings:write"):
        await bob.adelete(OURS, "k")
    assert keys(await bob.asearch(OURS)) == ["k"]


@pytest.mark.parametrize("root", ["alice", "globex", "*", "people", "memories"])
async def test_a_namespace_has_one_of_two_roots(store: TenantMemoryStore, root: str) -> None:
    with pytest.raises(InvalidNamespaceError):
        await store.aput((root, "notes"), "k", {})
    with pytest.raises(InvalidNamespaceError):
        await store.aget((root, "notes"), "k")
    with pytest.raises(InvalidNamespaceError):
        await store.asearch((root,))
    with pytest.raises(InvalidNamespaceError):
        await store.abatch([PutOp(("person.notes",), "k", {})])


async def test_a_name_of_another_person_is_a_label_of_ones_own(
    cells: Cells, tenant: TenantId
) -> None:
    await store_of(cells, tenant, "bob").aput(("person",), "k", {"text": "his"})
    alice = store_of(cells, tenant, "alice")
    assert await alice.aget(("person", "bob"), "k") is None
    await alice.aput(("person", "bob"), "k", {"text": "hers"})
    assert keys(await store_of(cells, tenant, "bob").asearch(())) == ["k"]


# -- what the plan, and the person, allow


async def test_the_plans_number_is_of_all_that_is_kept_of_an_owner(
    cells: Cells, tenant: TenantId
) -> None:
    store = store_of(cells, tenant, "boss", Role.ADMIN, most=2)
    await store.aput(MINE, "a", {})
    await store.aput(("person", "memories"), "b", {"text": "I like tea"})
    with pytest.raises(QuotaExceeded):
        await store.aput(("person", "other"), "c", {})
    with pytest.raises(QuotaExceeded):
        await remember(cells, tenant, "boss", most=2)
    await store.aput(MINE, "a", {"again": True})
    await store.aput(OURS, "a", {})
    await store.abatch([PutOp(MINE, "a", None), PutOp(MINE, "c", {})])
    assert keys(await store.asearch(MINE)) == ["c"]


async def test_at_once_no_more_is_kept_than_the_plan_says(cells: Cells, tenant: TenantId) -> None:
    store = store_of(cells, tenant, most=3)
    puts = (store.aput(MINE, f"k{n}", {}) for n in range(8))
    done = await asyncio.gather(*puts, return_exceptions=True)
    assert sum(isinstance(each, QuotaExceeded) for each in done) == 5
    assert len(await store.asearch(())) == 3


async def test_a_batch_is_kept_whole_or_not_at_all(cells: Cells, tenant: TenantId) -> None:
    store = store_of(cells, tenant, most=2)
    with pytest.raises(QuotaExceeded):
        await store.abatch([PutOp(MINE, key, {}) for key in "abc"])
    assert await store.asearch(()) == []
    assert await audited(cells, tenant) == []


async def remember(
    cells: Cells, tenant: TenantId, subject: str, text: str = "I like milk", *, most: int = 100
) -> None:
    """What the tool `remember` does."""
    new = NewMemory(text, MODEL, tuple(letters(text)))
    who, event = SubjectId(subject), audit_event("memory.remember")
    await PostgresMemories(cells).put(tenant, who, new, most=most, thread_id=None, audit=event)


async def switched_off(cells: Cells, tenant: TenantId, store: TenantMemoryStore) -> Any:
    """What was put is there; then its person switches memory off."""
    await store.aput(MINE, "k", {"text": "tea"})
    memories, who = PostgresMemories(cells), SubjectId("alice")
    await memories.switch(tenant, who, False, audit_event())
    return memories


async def test_where_a_person_switched_it_off_the_store_is_empty_and_takes_nothing(
    cells: Cells, tenant: TenantId
) -> None:
    embedder = Letters()
    store = store_of(cells, tenant, embedder=embedder)
    memories = await switched_off(cells, tenant, store)
    embedder.embedded.clear()
    assert await store.aget(MINE, "k") is None
    assert await store.asearch(MINE, query="tea") == await store.alist_namespaces() == []
    with pytest.raises(Forbidden, match="Memory is off"):
        await store.aput(MINE, "l", {"text": "milk"})
    assert embedder.embedded == []
    await memories.switch(tenant, SubjectId("alice"), True, audit_event())
    assert keys(await store.asearch(MINE)) == ["k"]


async def test_where_a_person_switched_it_off_things_can_still_be_deleted(
    cells: Cells, tenant: TenantId
) -> None:
    store = store_of(cells, tenant)
    memories = await switched_off(cells, tenant, store)
    await store.adelete(MINE, "k")
    await memories.switch(tenant, SubjectId("alice"), True, audit_event())
    assert await store.asearch(()) == []


async def test_a_plan_without_memory_has_an_empty_store(cells: Cells, tenant: TenantId) -> None:
    await store_of(cells, tenant).aput(MINE, "k", {"text": "tea"})
    without = store_of(cells, tenant, most=0)
    assert await without.aget(MINE, "k") is None
    assert await without.asearch((), query="tea") == []
    with pytest.raises(Forbidden, match="Memory is off"):
        await without.aput(MINE, "k", {})


@pytest.mark.parametrize(
    "value",
    [
        {"big": "x" * MAX_VALUE_BYTES},
        {"object": object()},
        {1: 2},
        {"nul": "\0"},
        {"half": "\ud800"},
    ],
    ids=["big", "object", "number", "nul", "surrogate"],
)
async def test_what_cannot_be_kept_is_refused(store: TenantMemoryStore, value: Any) -> None:
    with pytest.raises(Invalid):
        await store.aput(MINE, "k", value)
    assert await store.asearch(()) == []


@pytest.mark.parametrize("key", ["", "x" * MAX_NAME_BYTES, "é" * (MAX_NAME_BYTES // 2), "a\0b"])
async def test_a_key_fits_into_an_index(store: TenantMemoryStore, key: str) -> None:
    with pytest.raises(Invalid):
        await store.aput(MINE, key, {})


# -- memories, as models are shown them


async def test_the_memories_of_a_person_are_in_its_store(cells: Cells, tenant: TenantId) -> None:
    await remember(cells, tenant, "alice")
    [item] = await store_of(cells, tenant).asearch(("person", "memories"))
    assert item.value == {"text": "I like milk"}


async def test_what_is_put_among_the_memories_is_one(cells: Cells, tenant: TenantId) -> None:
    store = store_of(cells, tenant)
    await store.aput(("person", "memories"), "k", {"text": "I like tea"})
    await store.aput(("person", "memories", "deeper"), "k", {"text": "not one"})
    found = await PostgresMemories(cells).page(tenant, SubjectId("alice"), None, 9)
    assert [memory.text for memory in found] == ["I like tea"]


@pytest.mark.parametrize(
    "value",
    [{}, {"text": ""}, {"text": " "}, {"text": 1}, {"text": "x" * 501}, {"text": "a", "b": 1}],
    ids=["none", "empty", "blank", "number", "long", "more"],
)
async def test_what_could_not_be_shown_is_no_memory(store: TenantMemoryStore, value: Any) -> None:
    with pytest.raises(Invalid, match="not valid"):
        await store.aput(("person", "memories"), "k", value)


async def test_each_change_is_audited_by_its_id(cells: Cells, tenant: TenantId) -> None:
    store = store_of(cells, tenant)
    await store.aput(MINE, "k", {"text": "secret"})
    await store.adelete(MINE, "k")
    await store.adelete(MINE, "never there")
    found = await rows(
        cells,
        "select action, resource, attributes from tenantry.audit_events order by created_at",
        tenant,
    )
    assert [row["action"] for row in found] == ["memory.remember", "memory.forget"]
    assert len({row["resource"] for row in found}) == 1
    assert "secret" not in str(found)


# -- what LangGraph says of a store


async def test_an_item_comes_back_as_it_was_put(store: TenantMemoryStore) -> None:
    value = {"text": "tea", "n": 1.5, "deep": {"list": [1, None, True]}, "ü": "ß"}
    await store.aput(MINE, "k", value)
    item = await store.aget(MINE, "k")
    assert item is not None
    assert (item.value, item.key, item.namespace) == (value, "k", MINE)
    await store.aput(MINE, "k", {"text": "milk"})
    again = await store.aget(MINE, "k")
    assert again is not None
    assert again.value == {"text": "milk"}
    assert again.created_at == item.created_at
    assert again.updated_at > item.updated_at


async def test_a_batch_reads_before_it_writes_and_the_last_write_counts(
    store: TenantMemoryStore,
) -> None:
    await store.aput(MINE, "k", {"n": 1})
    results = await store.abatch(
        [
            PutOp(MINE, "k", {"n": 2}),
            GetOp(MINE, "k"),
            PutOp(MINE, "k", {"n": 3}),
            SearchOp(MINE),
            ListNamespacesOp(),
            PutOp(MINE, "l", {}),
            PutOp(MINE, "l", None),
        ]
    )
    assert [type(each).__name__ for each in results] == [
        "NoneType",
        "Item",
        "NoneType",
        "list",
        "list",
        "NoneType",
        "NoneType",
    ]
    assert results[1].value == {"n": 1}
    assert keys(await store.asearch(MINE, filter={"n": 3})) == keys(await store.asearch(MINE))


async def test_nothing_expires(store: TenantMemoryStore) -> None:
    assert store.supports_ttl is False
    with pytest.raises(NotImplementedError):
        await store.aput(MINE, "k", {}, ttl=5)
    with pytest.raises(NotImplementedError):
        await store.abatch([PutOp(MINE, "k", {}, ttl=5)])


async def test_a_search_finds_by_meaning(store: TenantMemoryStore) -> None:
    for key, text in (("a", "aaab"), ("b", "bbba"), ("c", "cccc")):
        await store.aput(MINE, key, {"text": text})
    found = await store.asearch(("person",), query="aaaa")
    assert keys(found) == ["a", "b", "c"]
    assert [round(item.score or 0, 3) for item in found] == [0.949, 0.316, 0.0]


async def test_an_item_says_by_what_it_is_found(store: TenantMemoryStore) -> None:
    await store.aput(MINE, "fields", {"x": "aaa", "y": ["bbb", "zzz"]}, index=["y[*]"])
    await store.aput(MINE, "whole", {"q": "aaaa"})
    await store.aput(MINE, "hidden", {"text": "bbbb"}, index=False)
    found = await store.asearch(MINE, query="bz")
    assert (keys(found)[0], keys(found)[-1]) == ("fields", "hidden")
    assert found[0].score == pytest.approx(1)
    assert found[-1].score is None
    assert (await store.asearch(MINE, query="aq"))[0].key == "whole"


async def test_vectors_of_another_model_come_last(cells: Cells, tenant: TenantId) -> None:
    old, new = (store_of(cells, tenant, embedder=Letters(model)) for model in ("old", "new"))
    await old.aput(MINE, "old", {"text": "aaaa"})
    await new.aput(MINE, "new", {"text": "zzzz"})
    found = await new.asearch(MINE, query="aaaa")
    assert [(item.key, item.score) for item in found] == [("new", 0.0), ("old", None)]


async def test_one_batch_asks_the_model_once(cells: Cells, tenant: TenantId) -> None:
    embedder = Letters()
    store = store_of(cells, tenant, embedder=embedder)
    await store.abatch([PutOp(MINE, "k", {"text": "tea"}), SearchOp(MINE, query="tea")])
    assert embedder.embedded == ["tea"]


MATCHES = [
    ((), None, [("person", "a", "x"), ("person", "b", "x"), ("tenant", "a", "y")]),
    ((("prefix", ("person",)),), None, [("person", "a", "x"), ("person", "b", "x")]),
    ((("prefix", ("*", "a")),), None, [("person", "a", "x"), ("tenant", "a", "y")]),
    ((("suffix", ("x",)),), None, [("person", "a", "x"), ("person", "b", "x")]),
    ((("suffix", ("a", "*")),), None, [("person", "a", "x"), ("tenant", "a", "y")]),
    ((("prefix", ("person",)), ("suffix", ("b", "x"))), None, [("person", "b", "x")]),
    ((("prefix", ()),), 1, [("person",), ("tenant",)]),
    ((), 2, [("person", "a"), ("person", "b"), ("tenant", "a")]),
    ((("prefix", ("bob",)),), None, []),
    ((("prefix", ("person", "a", "x", "*")),), None, []),
]


@pytest.mark.parametrize(("said", "depth", "expected"), MATCHES)
async def test_namespaces_are_listed(
    store: TenantMemoryStore, said: Any, depth: int | None, expected: list[tuple[str, ...]]
) -> None:
    for namespace in (("person", "b", "x"), ("tenant", "a", "y"), ("person", "a", "x")):
        await store.aput(namespace, "k", {})
    conditions = tuple(MatchCondition(*each) for each in said)
    [found] = await store.abatch([ListNamespacesOp(conditions, depth)])
    assert found == expected
    [second] = await store.abatch([ListNamespacesOp(conditions, depth, limit=1, offset=1)])
    assert second == expected[1:2]


# -- from a thread


async def test_a_tool_that_blocks_uses_it_from_its_thread(store: TenantMemoryStore) -> None:
    await asyncio.to_thread(store.put, MINE, "k", {"text": "tea"})
    assert keys(await asyncio.to_thread(store.search, MINE, query="tea")) == ["k"]


async def test_on_the_loop_it_says_what_to_use_instead(store: TenantMemoryStore) -> None:
    with pytest.raises(RuntimeError, match="asynchronous"):
        store.get(MINE, "k")
