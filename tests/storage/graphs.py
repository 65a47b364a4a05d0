"""Small graphs, and one run of them as the runner does it."""

import operator
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from typing_extensions import TypedDict

from storage.checkpointer import TenantPostgresSaver
from storage.durability import durability_rules
from storage.threads import PostgresThreads
from storage.turn import Ending, Lease, TurnRecord
from tenancy.durability import Durability
from tenancy.ids import ThreadId
from tenancy.principal import Principal
from tenancy.usage import Tokens
from tests.storage.makers import new_run, new_thread, principal

Graph = CompiledStateGraph[Any, Any, Any, Any]
Work = Callable[[Any], Awaitable[dict[str, Any] | None]]
FREE, PAID = Durability.FREE, Durability.PAID
EFFECT, CLOSING = Durability.EFFECT, Durability.CLOSING


class State(TypedDict):
    done: Annotated[list[str], operator.add]


def node(name: str, work: Work | None) -> Work:
    async def run(state: State) -> dict[str, Any]:
        update = await work(state) if work else None
        return {"done": [name]} if update is None else update

    return run


def chain(*nodes: tuple[str, Durability], **work: Work) -> Graph:
    """Nodes in a row; `work` is what one of them does besides saying that it ran."""
    graph = StateGraph(State)
    before = START
    for name, kind in nodes:
        graph.add_node(name, node(name, work.get(name)), metadata={"durability": kind})
        graph.add_edge(before, name)
        before = name
    graph.add_edge(before, END)
    return graph.compile()


def fan(kind: Durability, **work: Work) -> Graph:
    """`left` and `right` at once, then `join`."""
    graph = StateGraph(State)
    graph.add_node("first", node("first", work.get("first")), metadata={"durability": FREE})
    graph.add_node("join", node("join", work.get("join")), metadata={"durability": FREE})
    graph.add_edge(START, "first")
    for name in ("left", "right"):
        graph.add_node(name, node(name, work.get(name)), metadata={"durability": kind})
        graph.add_edge("first", name)
    graph.add_edge(["left", "right"], "join")
    graph.add_edge("join", END)
    return graph.compile()


@dataclass
class Turn:
    """One run: its lease, its saver, and what it leaves behind."""

    lease: Lease
    saver: TenantPostgresSaver
    record: TurnRecord
    graph: Graph

    @property
    def config(self) -> dict[str, Any]:
        return {
            "run_id": self.lease.run_id,
            "configurable": {"thread_id": str(self.lease.thread_id)},
        }

    async def run(self, given: Any = "question") -> Any:
        """The graph to its end, an interrupt or an error; its last commit is the caller's."""
        graph = self.graph.copy(update={"checkpointer": self.saver})
        question = {"done": [given]} if isinstance(given, str) else given
        return await graph.ainvoke(question, self.config, durability="sync")

    async def end(self, status: str = "success") -> None:
        """The run's last commit."""
        self.record.ending = Ending(status, Tokens(), {"status": status})
        await self.saver.flush()


async def open_turn(
    threads: PostgresThreads,
    saver: TenantPostgresSaver,
    graph: Graph,
    *,
    thread_id: ThreadId | None = None,
    who: Principal | None = None,
    admitted: bool = True,
) -> Turn:
    """A run that was opened, on a new thread unless one is named."""
    lease = await threads.open_run(
        who or principal(),
        run_id=new_run(),
        thread_id=thread_id or new_thread(),
        new_thread=thread_id is None,
        idempotency=None,
    )
    assert isinstance(lease, Lease)
    record = TurnRecord()
    clone = saver.for_run(lease, durability_rules(graph), record)
    if admitted:
        await clone.admit()
    return Turn(lease, clone, record, graph)
