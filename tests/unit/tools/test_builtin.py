from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from tenancy.document import Found
from tenancy.ids import TenantId
from tests.unit.tools.makers import ACME, call, gate, passage, principal, tenant, token
from tools.builtin import built_ins, clock
from tools.catalogue import Catalogue
from tools.toolbox import Toolboxes

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@dataclass
class Shelf:
    """A search that remembers who asked."""

    found: Found
    asked: list[tuple[TenantId, str, int]] = field(default_factory=list)

    async def search(self, tenant_id: TenantId, query: str, limit: int) -> Found:
        self.asked.append((tenant_id, query, limit))
        return self.found


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


async def search_as(name: str, shelf: Shelf, **args: str):
    boxes = Toolboxes(Catalogue.discover(built_ins(shelf), []))
    box = boxes.of(tenant(name), principal(name))
    return await gate().run(
        call("search_documents", **args), box, tenant_id=TenantId(name), token=token(name)
    )


async def test_a_search_is_made_for_the_tenant_it_was_built_for() -> None:
    shelf = Shelf(Found((), "minilm", 4))
    await search_as("acme", shelf, query="returns", tenant_id="globex")
    await search_as("globex", shelf, query="returns")
    assert [asked[0] for asked in shelf.asked] == ["acme", "globex"]


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
    (tool,) = built_ins(shelf)[1]({"tenant_id": None, "configuration": {}})
    await tool.ainvoke({"query": "anything"})
    assert shelf.asked == []
