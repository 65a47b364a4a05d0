"""The whole agent on one screen."""

from dataclasses import dataclass
from functools import partial

from langgraph.graph import END, START, StateGraph

from graph.guard import guarded
from graph.nodes.authenticate import authenticate
from graph.nodes.check_quota import check_quota
from graph.nodes.respond import respond
from graph.nodes.retrieve import retrieve
from graph.nodes.run_tools import run_tools
from graph.nodes.select_tools import select_tools
from graph.nodes.settle import settle
from graph.ports import Memories, Models, Passages, Turns
from graph.routes import after_respond
from graph.state import AgentState, InputState, Options, OutputState
from tenancy.durability import Durability
from tools.gate import Gate
from tools.toolbox import Toolboxes


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything the agent touches."""

    turns: Turns
    toolboxes: Toolboxes
    gate: Gate
    passages: Passages
    models: Models
    memories: Memories


Agent = StateGraph[AgentState, Options, InputState, OutputState]


def build_agent(ports: Ports) -> Agent:
    """The agent, uncompiled: the server gives it a checkpointer, Studio brings its own."""
    turns, toolboxes, gate = ports.turns, ports.toolboxes, ports.gate
    answer = partial(respond, models=ports.models, toolboxes=toolboxes, memories=ports.memories)
    act = partial(run_tools, toolboxes=toolboxes, gate=gate)
    look_up = partial(retrieve, passages=ports.passages, models=ports.models)
    choose = partial(select_tools, toolboxes=toolboxes)
    admit = partial(check_quota, models=ports.models)
    guard = partial(guarded, turns=turns, models=ports.models)

    free, effect = {"durability": Durability.FREE}, {"durability": Durability.EFFECT}
    closing = {"durability": Durability.CLOSING}
    graph: Agent = StateGraph(
        AgentState, Options, input_schema=InputState, output_schema=OutputState
    )
    graph.add_node("authenticate", guard(authenticate, admits=False), metadata=free)
    graph.add_node("check_quota", guard(admit, admits=False), metadata=free)
    graph.add_node("select_tools", guard(choose), metadata=free)
    graph.add_node("retrieve", guard(look_up), metadata=free)
    graph.add_node("respond", guard(answer), metadata=effect)
    graph.add_node("run_tools", guard(act), metadata=effect)
    graph.add_node("settle", guard(settle), metadata=closing)

    graph.add_edge(START, "authenticate")
    graph.add_edge("authenticate", "check_quota")
    graph.add_edge("check_quota", "select_tools")
    graph.add_edge("select_tools", "retrieve")
    graph.add_edge("retrieve", "respond")
    graph.add_conditional_edges("respond", after_respond)
    graph.add_edge("run_tools", "respond")
    graph.add_edge("settle", END)
    return graph
