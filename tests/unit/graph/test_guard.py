"""Every node is guarded, wherever a run enters the graph."""

from typing import Any
from uuid import uuid4

import pytest
from langchain_core.messages import HumanMessage
from langgraph.graph import END, START, StateGraph

from graph.agent import Ports, build_agent
from graph.guard import guarded
from graph.identity import USER_KEY, VerifiedUser, principal_of
from graph.ports import Turn
from graph.state import AgentState, Options, Update
from tenancy.errors import IsolationBreach, NotAuthenticated
from tests.unit.graph.turn import OneTurn, RecordingTurn, principal


class _Models:
    default = "test"

    def get(self, name: str) -> Any:
        raise AssertionError(name)


async def _node(state: AgentState, turn: Turn) -> Update:
    return {"tools": ["ran"]}


def _graph(turn: RecordingTurn, *, admits: bool = True) -> Any:
    graph = StateGraph(AgentState, Options)
    graph.add_node("node", guarded(_node, OneTurn(turn), _Models(), admits=admits))
    graph.add_edge(START, "node")
    graph.add_edge("node", END)
    return graph.compile()


def _config(**configurable: object) -> dict[str, object]:
    return {"run_id": uuid4(), "configurable": configurable}


STATE = {"messages": [HumanMessage("hi")]}


async def test_without_a_verified_user_nothing_runs() -> None:
    with pytest.raises(NotAuthenticated):
        await _graph(RecordingTurn()).ainvoke(STATE, _config(tenant_id="acme"))


async def test_without_a_run_id_nothing_runs() -> None:
    user = VerifiedUser(principal())
    with pytest.raises(NotAuthenticated):
        await _graph(RecordingTurn()).ainvoke(STATE, {"configurable": {USER_KEY: user}})


async def test_a_state_of_another_tenant_is_refused() -> None:
    user = VerifiedUser(principal("globex"))
    with pytest.raises(IsolationBreach):
        await _graph(RecordingTurn()).ainvoke(
            {**STATE, "tenant_id": "acme"}, _config(**{USER_KEY: user})
        )


async def test_a_run_that_enters_behind_admission_is_admitted_by_the_guard() -> None:
    turn = RecordingTurn()
    await _graph(turn).ainvoke(STATE, _config(**{USER_KEY: VerifiedUser(principal())}))
    assert len(turn.admissions) == 1


async def test_a_node_before_admission_is_not_admitted_by_the_guard() -> None:
    turn = RecordingTurn()
    graph = _graph(turn, admits=False)
    await graph.ainvoke(STATE, _config(**{USER_KEY: VerifiedUser(principal())}))
    assert turn.admissions == []


class _Runtime:
    def __init__(self, user: object) -> None:
        self.server_info = type("Info", (), {"user": user})()


def test_a_principal_survives_the_way_through_a_server_of_mappings() -> None:
    claims = VerifiedUser(principal()).claims()
    assert principal_of(_Runtime(claims)) == principal()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "damage",
    [
        {"tenant_id": "ACME"},
        {"tenant_id": ["acme"]},
        {"tenant_id": ""},
        {"role": "root"},
        {"subject_id": ""},
        {"subject_id": None},
        {"permissions": None},
    ],
)
def test_a_user_with_odd_claims_is_nobody(damage: dict[str, object]) -> None:
    claims = {**VerifiedUser(principal()).claims(), **damage}
    with pytest.raises(NotAuthenticated):
        principal_of(_Runtime(claims))  # type: ignore[arg-type]


def test_every_node_of_the_agent_is_guarded() -> None:
    nothing: Any = None
    agent = build_agent(Ports(OneTurn(RecordingTurn()), *[nothing] * 5))
    names = {name: node.runnable.afunc.__qualname__ for name, node in agent.nodes.items()}
    assert len(names) == 7
    assert set(names.values()) == {"guarded.<locals>.run"}


def test_two_tenants_may_have_a_subject_of_the_same_name() -> None:
    users = [VerifiedUser(principal(tenant)) for tenant in ("acme", "globex")]
    assert users[0].identity != users[1].identity
