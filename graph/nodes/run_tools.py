"""Do what the model asked for."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, InvalidToolCall, ToolCall, ToolMessage

from graph.approval import Approved, Rejected, approvals
from graph.budget import tool_calls_left
from graph.notes import with_notes
from graph.passages import numbered
from graph.ports import Turn
from graph.state import AgentState, NumberedPassage, Update
from tenancy.audit import Outcome
from tenancy.usage import Meter
from tools.gate import Gate, ToolOutcome
from tools.toolbox import Toolbox, Toolboxes

OUTCOMES = {"ok": Outcome.ALLOWED, "refused": Outcome.REFUSED}


async def run_tools(state: AgentState, turn: Turn, *, toolboxes: Toolboxes, gate: Gate) -> Update:
    """Run every requested tool through the gate, after a person's approval where one is needed."""
    asked = state["messages"][-1]
    if not isinstance(asked, AIMessage):
        return {}
    await turn.clear()
    toolbox = toolboxes.of(turn.tenant, turn.principal)
    decided = approvals(asked.tool_calls, toolbox)
    left = tool_calls_left(turn.tenant, state["messages"])
    outcomes = await _together(
        [_run(each, toolbox, gate, turn, over=n >= left) for n, each in enumerate(decided)]
    )
    messages: list[AnyMessage] = [_unreadable(call) for call in asked.invalid_tool_calls]
    passages = list(state["passages"])
    for position, outcome in enumerate(outcomes):
        # by position: a model may give the same id to two calls, and to calls of two rounds
        _record(turn, outcome, f"tool/{len(state['messages'])}/{position}")
        messages.append(_answer(outcome, passages))
    return {"messages": messages, "passages": passages}


async def _together(calls: Sequence[Coroutine[Any, Any, ToolOutcome]]) -> list[ToolOutcome]:
    """The outcomes in order; what ends the run ends its other calls too."""
    running = [asyncio.ensure_future(call) for call in calls]
    try:
        return await asyncio.gather(*running)
    finally:
        for each in running:
            each.cancel()


async def _run(
    decided: Approved | Rejected, toolbox: Toolbox, gate: Gate, turn: Turn, *, over: bool
) -> ToolOutcome:
    call = decided.call
    if isinstance(decided, Rejected):
        return _refused(call, f"A person rejected this call. {decided.reason}".strip())
    if over:
        return _refused(call, "The run's limit on tool calls is reached.")
    return await gate.run(
        call,
        toolbox,
        tenant_id=turn.principal.tenant_id,
        token=turn.token(),
        approved=decided.by_person,
    )


def _refused(call: ToolCall, why: str) -> ToolOutcome:
    message = ToolMessage(why, tool_call_id=call["id"] or "", name=call["name"], status="error")
    return ToolOutcome(message, "refused")


def _answer(outcome: ToolOutcome, passages: list[NumberedPassage]) -> ToolMessage:
    """The tool's message; passages it found move to the numbered ones that the prompt shows."""
    message = with_notes(outcome.message, status=outcome.status)
    if not outcome.passages:
        return message
    known = {passage["passage_id"]: passage["n"] for passage in passages}
    fresh = numbered(outcome.passages, after=passages)
    passages.extend(fresh)
    known |= {passage["passage_id"]: passage["n"] for passage in fresh}
    numbers = [known[str(passage.passage_id)] for passage in outcome.passages]
    listed = ", ".join(f"[{n}]" for n in numbers)
    return message.model_copy(update={"content": f"Found the passages {listed}."})


def _record(turn: Turn, outcome: ToolOutcome, part: str) -> None:
    name = outcome.message.name or ""
    turn.did(
        "tool.run",
        name,
        OUTCOMES.get(outcome.status, Outcome.FAILED),
        actors=outcome.actors,
        status=outcome.status,
    )
    if outcome.status != "refused":
        turn.used(Meter.TOOL_CALLS, 1, name, part)
    turn.used(Meter.EMBEDDING_TOKENS, outcome.embedding_tokens, outcome.embedding_model, part)


def _unreadable(call: InvalidToolCall) -> ToolMessage:
    return ToolMessage(
        "The arguments of this call are not valid JSON.",
        tool_call_id=call["id"] or "",
        name=call["name"] or "",
        status="error",
    )
