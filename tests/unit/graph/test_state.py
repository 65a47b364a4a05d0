"""State: what a client may send, and what never changes."""

import pytest
from langchain_core.messages import HumanMessage
from langgraph.graph import END, START, StateGraph

from graph.state import AgentState, InputState, Options, OutputState, write_once
from tenancy.errors import TenantMismatch


def test_a_thread_never_changes_tenant() -> None:
    with pytest.raises(TenantMismatch):
        write_once("acme", "globex")


def test_a_tenant_is_stamped_once_and_again() -> None:
    assert write_once("", "acme") == "acme"
    assert write_once("acme", "acme") == "acme"


async def test_a_tenant_in_the_clients_input_never_arrives() -> None:
    seen: list[str | None] = []

    async def look(state: AgentState) -> dict[str, str]:
        seen.append(state.get("tenant_id"))
        return {"tenant_id": "acme"}

    graph = StateGraph(AgentState, Options, input_schema=InputState, output_schema=OutputState)
    graph.add_node("look", look)
    graph.add_edge(START, "look")
    graph.add_edge("look", END)
    forged = {"messages": [HumanMessage("hi")], "tenant_id": "globex"}
    result = await graph.compile().ainvoke(forged)
    assert not seen[0]
    assert result["tenant_id"] == "acme"
