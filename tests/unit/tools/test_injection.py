"""What the gate gives a tool beside the model's arguments, within a graph as it runs there."""

import threading
from typing import Annotated, Any

import pytest
from langchain_core.tools import BaseTool, tool
from langgraph.config import get_store
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import InjectedStore, ToolRuntime
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from typing_extensions import TypedDict

from tests.unit.tools.makers import ACME, call, gate, token, toolbox
from tools.outcome import ToolOutcome

PLACE = ("person", "notes")
Store = Annotated[BaseStore, InjectedStore()]


class State(TypedDict):
    """A graph's state that no tool is shown."""

    secret: str


async def run_in_graph(tool_: BaseTool, store: BaseStore, /, **args: Any) -> ToolOutcome:
    """One call of the tool, by a node of a graph with a store."""
    outcomes: list[ToolOutcome] = []

    async def node(state: State) -> None:
        asked = call(tool_.name, **args)
        outcomes.append(await gate().run(asked, toolbox(tool_), tenant_id=ACME, token=token()))

    graph = StateGraph(State)
    graph.add_node("act", node)
    graph.add_edge(START, "act")
    await graph.compile(store=store).ainvoke({"secret": "hidden"})
    return outcomes[0]


@tool
async def by_argument(text: str, store: Store) -> str:
    """Keep a text."""
    await store.aput(PLACE, "k", {"text": text})
    return "kept"


@tool
async def by_runtime(text: str, runtime: ToolRuntime) -> str:
    """Keep a text."""
    assert runtime.store is not None
    await runtime.store.aput(PLACE, "k", {"text": text})
    return f"kept {runtime.tool_call_id} {runtime.state} {runtime.config['callbacks']}"


@tool
async def by_asking(text: str) -> str:
    """Keep a text."""
    await get_store().aput(PLACE, "k", {"text": text})
    return "kept"


@tool
def in_a_thread(text: str, store: Store, runtime: ToolRuntime[Any, Any]) -> str:
    """Keep a text."""
    assert threading.current_thread() is not threading.main_thread()
    assert runtime.store is store is get_store()
    store.put(PLACE, "k", {"text": text})
    return "kept"


@pytest.mark.parametrize(
    "tool_", [by_argument, by_runtime, by_asking, in_a_thread], ids=lambda each: each.name
)
async def test_a_tool_is_given_the_graphs_store(tool_: BaseTool) -> None:
    store = InMemoryStore()
    outcome = await run_in_graph(tool_, store, text="tea")
    assert outcome.status == "ok", outcome.message
    item = store.get(PLACE, "k")
    assert item is not None
    assert item.value == {"text": "tea"}


async def test_a_runtime_shows_its_call_and_nothing_of_the_thread() -> None:
    outcome = await run_in_graph(by_runtime, InMemoryStore(), text="tea")
    assert outcome.message.content == "kept call-1 {} []"


async def test_a_model_cannot_give_a_store_of_its_own() -> None:
    store = InMemoryStore()
    forged = {"text": "tea", "store": "mine", "runtime": {"store": "mine"}}
    outcome = await run_in_graph(in_a_thread, store, **forged)
    assert outcome.status == "ok", outcome.message
    assert store.get(PLACE, "k") is not None


async def test_no_model_is_shown_what_the_gate_gives() -> None:
    box = toolbox(by_argument, by_runtime, in_a_thread)
    for schema in box.schemas(box.names()):
        assert list(schema["function"]["parameters"]["properties"]) == ["text"]


async def test_outside_of_a_graph_there_is_no_store() -> None:
    asked = call(by_argument.name, text="tea")
    outcome = await gate().run(asked, toolbox(by_argument), tenant_id=ACME, token=token())
    assert outcome.status == "error"
    assert "RuntimeError" in str(outcome.message.content)
