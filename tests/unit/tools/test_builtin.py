from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool

from tenancy.document import Found
from tenancy.errors import Forbidden, IsolationBreach
from tenancy.ids import TenantId
from tenancy.search_filter import SearchFilter
from tests.unit.tools.makers import ACME, call, gate, passage, principal, tenant, token
from tools.builtin import built_ins, clock
from tools.catalogue import Catalogue
from tools.memory import MEMORY_TOOLS, memory_tools
from tools.toolbox import Toolboxes

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@dataclass
class Shelf:
    """A search that remembers who asked."""

    found: Found
    asked: list[tuple[TenantId, int, SearchFilter | None]] = field(default_factory=list)

    async def search(
        self, tenant_id: TenantId, query: str, limit: int, within: SearchFilter | None = None
    ) -> Found:
        self.asked.append((tenant_id, limit, within))
        return self.found


@dataclass
class Diary:
    """A keeper that remembers who asked; it refuses what is said to be too much."""

    kept: list[tuple[str, str, str | None]] = field(default_factory=list)

    async def remember(self, user: Mapping[str, Any], text: str, thread_id: str | None) -> None:
        if text == "too much":
            raise Forbidden("Memory is off.")
        self.kept.append((user["subject_id"], text, thread_id))

    async def forget(self, user: Mapping[str, Any], named: str, thread_id: str | None) -> bool:
        return (user["subject_id"], named, thread_id) in self.kept


def current_time(zone: str) -> str:
    (tool,) = clock(lambda: NOON)({"tenant_id": None, "configuration": {}})
    return tool.invoke({"timezone": zone} if zone else {})


def test_the_time_is_utc_unless_a_zone_is_named() -> None:
    assert current_time("") == "Monday 2026-11-23 12:00 UTC (UTC+0000)"
    assert current_time("Asia/Tokyo") == "Monday 2026-11-23 21:00 JST (UTC+0900)"


@pytest.mark.parametrize("zone", ["Mars/Base", "../../etc/passwd", "America", "/etc/passwd", "\0"])
def test_a_bad_zone_gets_a_helpful_answer(zone: str) -> None:
    assert "Name one like Europe/Paris" in current_time(zone)


def test_the_real_clock_is_aware() -> None:
    (tool,) = clock()({"tenant_id": None, "configuration": {}})
    assert "UTC" in tool.invoke({})


async def search_as(name: str, shelf: Shelf, *, search: Any = None, **args: str):
    boxes = Toolboxes(Catalogue.discover(built_ins(shelf, Diary()), []))
    box = boxes.of(replace(tenant(name), preferences={"search": search}), principal(name))
    return await gate().run(
        call("search_documents", **args), box, tenant_id=TenantId(name), token=token(name)
    )


async def test_a_search_is_made_for_the_tenant_it_was_built_for() -> None:
    shelf = Shelf(Found((), "minilm", 4))
    await search_as("acme", shelf, query="returns", tenant_id="globex")
    await search_as("globex", shelf, query="returns")
    assert [asked[0] for asked in shelf.asked] == ["acme", "globex"]


@pytest.mark.parametrize(
    ("setting", "limit", "within"),
    [
        (None, 5, None),
        ({"limit": 2}, 2, None),
        ({"limit": 0}, 5, None),
        ({"filter": {"media_types": ["text/plain"]}}, 5, SearchFilter(media_types=["text/plain"])),
    ],
    ids=str,
)
async def test_a_search_looks_where_the_assistant_does(
    setting: Any, limit: int, within: SearchFilter | None
) -> None:
    shelf = Shelf(Found((), "minilm", 4))
    asked = {"query": "returns", "filter": "{}", "limit": "50", "config": "{}"}
    await search_as("acme", shelf, search=setting, **asked)
    assert shelf.asked == [("acme", limit, within)]


async def test_a_search_brings_readable_text_passages_and_what_it_consumed() -> None:
    here = passage(ACME)
    outcome = await search_as("acme", Shelf(Found([here], "minilm", 4)), query="shipping")
    assert outcome.message.content == "Shipping\nShips in 3 days."
    assert outcome.passages == (here,)
    assert (outcome.embedding_model, outcome.embedding_tokens) == ("minilm", 4)


async def test_a_search_that_finds_nothing_still_counts() -> None:
    outcome = await search_as("acme", Shelf(Found((), "minilm", 4)), query="shipping")
    assert outcome.message.content == "Nothing in the documents matches."
    assert outcome.embedding_tokens == 4


async def test_without_a_tenant_nothing_is_searched() -> None:
    shelf = Shelf(Found((), "minilm", 4))
    (tool,) = built_ins(shelf, Diary())[1]({"tenant_id": None, "configuration": {}})
    await tool.ainvoke({"query": "anything"})
    assert shelf.asked == []


def memory_tool(name: str, diary: Diary, tenant_id: str | None = "acme") -> BaseTool:
    made = memory_tools(diary)({"tenant_id": tenant_id, "configuration": {}})
    return next(tool for tool in made if tool.name == name)


def of_run(tenant: str = "acme", subject: str = "alice") -> RunnableConfig:
    user = {"tenant_id": tenant, "subject_id": subject}
    return {"configurable": {"langgraph_auth_user": user, "thread_id": "t"}}


async def test_what_is_remembered_is_of_the_person_whose_run_it_is() -> None:
    diary = Diary()
    remember, forget = (memory_tool(name, diary) for name in ("remember", "forget"))
    said = await remember.ainvoke({"text": "I like tea", "subject_id": "bob"}, of_run())
    assert said == "Remembered."
    assert diary.kept == [("alice", "I like tea", "t")]
    assert await forget.ainvoke({"memory": "I like tea"}, of_run()) == "Forgotten."
    told = await forget.ainvoke({"memory": "I like tea"}, of_run(subject="bob"))
    assert told == "Nothing like that is remembered of this person."


async def test_a_refusal_is_told_to_the_model() -> None:
    told = await memory_tool("remember", Diary()).ainvoke({"text": "too much"}, of_run())
    assert told == "Not remembered. Memory is off."


@pytest.mark.parametrize(("tenant", "config"), [(None, of_run()), ("acme", {})])
async def test_without_a_tenant_or_a_person_nothing_is_kept(
    tenant: str | None, config: RunnableConfig
) -> None:
    diary = Diary()
    told = await memory_tool("remember", diary, tenant).ainvoke({"text": "I like tea"}, config)
    assert told == "Not remembered. Memory is not available here."
    await memory_tool("forget", diary, tenant).ainvoke({"memory": "I like tea"}, config)
    assert diary.kept == []


async def test_a_tool_of_one_tenant_keeps_nothing_of_anothers_run() -> None:
    with pytest.raises(IsolationBreach):
        await memory_tool("remember", Diary()).ainvoke({"text": "x"}, of_run("globex"))


def test_memory_tools_are_there_where_the_plan_has_memory() -> None:
    boxes = Toolboxes(Catalogue.discover(built_ins(Shelf(Found((), "", 0)), Diary()), []))
    having = tenant("acme")
    without = replace(having, plan=replace(having.plan, memories=0))
    assert not MEMORY_TOOLS & {*boxes.of(without, principal("acme")).names()}
    assert {*boxes.of(having, principal("acme")).names()} >= MEMORY_TOOLS
