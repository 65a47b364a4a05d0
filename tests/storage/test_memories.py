"""Memories on a real database: of one person, of the tenant, and of nobody else."""

import asyncio
from uuid import uuid4

import pytest

from storage.cells import Cells
from storage.memories import PostgresMemories
from tenancy.errors import Conflict, NotFound, QuotaExceeded
from tenancy.ids import SubjectId, TenantId
from tenancy.memory import Memory, NewMemory
from tenancy.page import Cursor
from tests.storage.makers import GLOBEX, audit_event

ALICE, BOB = SubjectId("alice"), SubjectId("bob")
EAST, NORTH, WEST = (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)
MODEL = "test-model"


@pytest.fixture(scope="module")
def memories(cells: Cells) -> PostgresMemories:
    return PostgresMemories(cells)


@pytest.fixture
def tenant() -> TenantId:
    """A tenant of the test's own: rows need no record in the control tables."""
    return TenantId(f"tenant-{uuid4().hex[:8]}")


async def put(
    memories: PostgresMemories,
    tenant: TenantId,
    who: SubjectId | None,
    text: str,
    vector: tuple[float, ...] = EAST,
    *,
    most: int = 100,
) -> Memory:
    new = NewMemory(text, MODEL, vector)
    return await memories.put(
        tenant, who, new, most=most, thread_id=None, audit=audit_event("memory.remember")
    )


async def recalled(
    memories: PostgresMemories,
    tenant: TenantId,
    who: SubjectId,
    vector: tuple[float, ...] | None = None,
    limit: int = 9,
) -> list[str]:
    found = await memories.recall(tenant, who, vector, embedding_model=MODEL, limit=limit)
    return [memory.text for memory in found]


async def listed(memories: PostgresMemories, tenant: TenantId, who: SubjectId) -> list[str]:
    return [memory.text for memory in await memories.page(tenant, who, None, 50)]


async def test_the_nearest_come_first(memories: PostgresMemories, tenant: TenantId) -> None:
    for text, vector in (("east", EAST), ("north", NORTH), ("west", WEST)):
        await put(memories, tenant, ALICE, text, vector)
    assert await recalled(memories, tenant, ALICE, NORTH, 1) == ["north"]
    assert await recalled(memories, tenant, ALICE, WEST) == ["west", "north", "east"]


async def test_vectors_of_two_models_are_not_compared(
    memories: PostgresMemories, tenant: TenantId
) -> None:
    await put(memories, tenant, ALICE, "east")
    other = NewMemory("north by another", "another-model", NORTH)
    await memories.put(tenant, ALICE, other, most=9, thread_id=None, audit=audit_event())
    assert await recalled(memories, tenant, ALICE, NORTH) == ["east", "north by another"]


async def test_without_a_question_the_latest_come_first(
    memories: PostgresMemories, tenant: TenantId
) -> None:
    for text in ("first", "second", "third"):
        await put(memories, tenant, ALICE, text)
    assert await recalled(memories, tenant, ALICE, None, 2) == ["third", "second"]


async def test_vectors_of_another_model_or_size_come_last(
    memories: PostgresMemories, tenant: TenantId
) -> None:
    await put(memories, tenant, ALICE, "two", WEST)
    await put(memories, tenant, ALICE, "three", (1.0, 0.0, 0.0))
    assert await recalled(memories, tenant, ALICE, EAST) == ["two", "three"]


async def test_nobody_sees_another_persons(memories: PostgresMemories, tenant: TenantId) -> None:
    hers = await put(memories, tenant, ALICE, "hers")
    await put(memories, tenant, None, "everyone's")
    assert await recalled(memories, tenant, BOB) == ["everyone's"]
    assert await listed(memories, tenant, BOB) == ["everyone's"]
    new, event = NewMemory("his", MODEL, EAST), audit_event()
    with pytest.raises(NotFound):
        await memories.get(tenant, BOB, hers.memory_id)
    with pytest.raises(NotFound):
        await memories.change(tenant, BOB, hers.memory_id, new, audit=event)
    with pytest.raises(NotFound):
        await memories.delete(tenant, BOB, hers.memory_id, event)
    for named in ("hers", str(hers.memory_id)):
        assert not await memories.forget(tenant, BOB, named, event)
    await memories.delete_own(tenant, BOB, event)
    assert await listed(memories, tenant, ALICE) == ["everyone's", "hers"]


async def test_nobody_sees_another_tenants(memories: PostgresMemories, tenant: TenantId) -> None:
    hers = await put(memories, tenant, ALICE, "hers")
    await put(memories, tenant, None, "everyone's")
    assert await recalled(memories, GLOBEX, ALICE) == []
    with pytest.raises(NotFound):
        await memories.get(GLOBEX, ALICE, hers.memory_id)


async def test_what_says_the_same_is_kept_once(
    memories: PostgresMemories, tenant: TenantId
) -> None:
    first = await put(memories, tenant, ALICE, "I like tea")
    again = await put(memories, tenant, ALICE, "i  like TEA ")
    assert (again.memory_id, again.created_at) == (first.memory_id, first.created_at)
    assert again.updated_at > first.updated_at
    await put(memories, tenant, BOB, "I like tea")
    assert len(await listed(memories, tenant, ALICE)) == 1


async def test_at_once_nobody_remembers_more_than_the_plan_says(
    memories: PostgresMemories, tenant: TenantId
) -> None:
    puts = (put(memories, tenant, ALICE, f"fact {n}", most=3) for n in range(8))
    done = await asyncio.gather(*puts, return_exceptions=True)
    assert sum(isinstance(each, QuotaExceeded) for each in done) == 5
    assert len(await listed(memories, tenant, ALICE)) == 3
    kept = (await listed(memories, tenant, ALICE))[0]
    await put(memories, tenant, ALICE, kept, most=3)
    await put(memories, tenant, BOB, "his own", most=3)


async def test_a_changed_memory_says_something_else(
    memories: PostgresMemories, tenant: TenantId
) -> None:
    memory = await put(memories, tenant, ALICE, "I like tea")
    await put(memories, tenant, ALICE, "I like milk")
    new = NewMemory("I like coffee", MODEL, NORTH)
    changed = await memories.change(tenant, ALICE, memory.memory_id, new, audit=audit_event())
    assert changed.text == "I like coffee"
    taken = NewMemory("I LIKE milk", MODEL, NORTH)
    with pytest.raises(Conflict):
        await memories.change(tenant, ALICE, memory.memory_id, taken, audit=audit_event())


async def test_one_forgets_by_id_or_by_text(memories: PostgresMemories, tenant: TenantId) -> None:
    memory = await put(memories, tenant, ALICE, "I like tea")
    await put(memories, tenant, ALICE, "I like milk")
    assert await memories.forget(tenant, ALICE, str(memory.memory_id), audit_event())
    assert await memories.forget(tenant, ALICE, " i like  milk", audit_event())
    assert not await memories.forget(tenant, ALICE, "I like milk", audit_event())
    assert await listed(memories, tenant, ALICE) == []


async def test_a_person_who_switched_it_off_recalls_nothing_and_keeps_all(
    memories: PostgresMemories, tenant: TenantId
) -> None:
    await put(memories, tenant, ALICE, "hers")
    assert await memories.enabled(tenant, ALICE)
    await memories.switch(tenant, ALICE, False, audit_event())
    assert not await memories.enabled(tenant, ALICE)
    assert await memories.enabled(tenant, BOB)
    assert await recalled(memories, tenant, ALICE) == []
    assert await listed(memories, tenant, ALICE) == ["hers"]
    await memories.switch(tenant, ALICE, True, audit_event())
    assert await recalled(memories, tenant, ALICE) == ["hers"]


async def test_deleting_all_of_ones_own_leaves_the_tenants(
    memories: PostgresMemories, tenant: TenantId
) -> None:
    await put(memories, tenant, ALICE, "hers")
    await put(memories, tenant, None, "everyone's")
    await memories.delete_own(tenant, ALICE, audit_event())
    assert await listed(memories, tenant, ALICE) == ["everyone's"]


async def test_pages_follow_one_another(memories: PostgresMemories, tenant: TenantId) -> None:
    for text in "abc":
        await put(memories, tenant, ALICE, text)
    [last] = await memories.page(tenant, ALICE, None, 1)
    cursor = Cursor(last.created_at, last.memory_id)
    rest = await memories.page(tenant, ALICE, cursor, 5)
    assert [last.text, *(memory.text for memory in rest)] == ["c", "b", "a"]
