"""What a turn looks up: as the assistant says, and no more than that where it says nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage

from graph.nodes.retrieve import retrieve
from tenancy.document import Found
from tenancy.search_filter import SearchFilter
from tests.unit.graph.answering import Answering, saying
from tests.unit.graph.test_reranking import passages
from tests.unit.graph.turn import ACME, RecordingTurn

THREAD = [HumanMessage("A desk?"), AIMessage("Yes."), HumanMessage("And a chair?")]


@dataclass
class Shelf:
    """A search that remembers what it was asked, and has forty passages."""

    asked: list[tuple[str, int, SearchFilter | None]] = field(default_factory=list)

    async def search(
        self, tenant_id: str, query: str, limit: int, within: SearchFilter | None = None
    ) -> Found:
        self.asked.append((query, limit, within))
        return Found(passages(40)[:limit], "minilm", 4)


async def look_up(
    said: str, search: Mapping[str, Any] | None = None, **state: Any
) -> tuple[Any, Shelf, RecordingTurn, Answering]:
    shelf, models = Shelf(), Answering(saying(said))
    turn = RecordingTurn(tenant=replace(ACME, preferences={"search": search}))
    values: Any = {"messages": THREAD, "passages": [], **state}
    return await retrieve(values, turn, passages=shelf, models=models), shelf, turn, models


async def test_where_nobody_says_how_it_is_one_search_and_nothing_else() -> None:
    update, shelf, turn, models = await look_up("unasked")
    assert shelf.asked == [("And a chair?", 5, None)]
    assert (turn.holds, turn.actions, models.prompts) == ([], [], [])
    assert update.keys() == {"passages"}
    assert len(update["passages"]) == 5


async def test_what_is_rewritten_is_looked_up_and_said() -> None:
    update, shelf, _, _ = await look_up("A chair?", {"rewrite": True, "limit": 3})
    assert shelf.asked == [("A chair?", 3, None)]
    assert update["searched_for"] == "A chair?"


async def test_what_the_turn_before_looked_up_is_not_said_again() -> None:
    for limit in (0, 5):
        update, _, _, _ = await look_up("unasked", {"limit": limit}, searched_for="A desk?")
        assert update["searched_for"] == ""


async def test_the_best_of_more_candidates_are_kept() -> None:
    update, shelf, _, _ = await look_up("7, 8", {"rerank": True, "limit": 3})
    assert shelf.asked == [("And a chair?", 12, None)]
    assert [each["title"] for each in update["passages"]] == ["title 7", "title 8", "title 1"]
    assert [each["n"] for each in update["passages"]] == [1, 2, 3]


async def test_where_nothing_is_looked_up_no_model_is_asked() -> None:
    says = {"limit": 0, "rewrite": True, "rerank": True}
    update, shelf, _, models = await look_up("A chair?", says)
    assert (update, shelf.asked, models.prompts) == ({"passages": []}, [], [])
