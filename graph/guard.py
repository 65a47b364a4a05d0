"""Every node is guarded: resume, fork, goto and regenerate enter the graph in its middle."""

from collections.abc import Awaitable
from typing import Protocol
from uuid import UUID

from langgraph.runtime import Runtime

from graph.budget import first_claims
from graph.identity import principal_of
from graph.ports import Models, Turn, Turns
from graph.state import AgentState, Options, Update
from tenancy.errors import NotAuthenticated, require_own
from tenancy.ids import RunId, ThreadId


class Node(Protocol):
    """A node as we write it: the state, the turn, and its ports bound beforehand."""

    async def __call__(self, state: AgentState, turn: Turn) -> Update:
        """Return the keys of the state that change."""
        ...


class GuardedNode(Protocol):
    """A node as LangGraph calls it."""

    def __call__(self, state: AgentState, *, runtime: Runtime[Options]) -> Awaitable[Update]:
        """Check, then run the node."""
        ...


def guarded(node: Node, turns: Turns, models: Models, *, admits: bool = True) -> GuardedNode:
    """`node` behind the checks: a verified principal, its tenant's thread, an admitted run.

    `admits=False` is for the nodes that come before admission.
    """

    async def run(state: AgentState, *, runtime: Runtime[Options]) -> Update:
        principal = principal_of(runtime)
        if stamped := state.get("tenant_id"):
            require_own(principal.tenant_id, [stamped], "state")
        turn = await turns.enter(principal, *_run_and_thread(runtime))
        if admits and not turn.admitted:
            await turn.admit(*first_claims(state, turn.tenant, models))
        return await node(state, turn)

    return run


def _run_and_thread(runtime: Runtime[Options]) -> tuple[RunId, ThreadId | None]:
    """Usage ids derive from the run's id: without one nothing may run."""
    now = runtime.execution_info
    if now is None or now.run_id is None:
        raise NotAuthenticated("The run has no id.")
    thread_id = None if now.thread_id is None else ThreadId(UUID(now.thread_id))
    return RunId(UUID(now.run_id)), thread_id
