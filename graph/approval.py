"""Some tools wait for a person: the run is interrupted, and goes on with their decisions.

The interrupt's value and the answer to it have the shape that agent-chat-ui shows and sends:
`action_requests` with `review_configs`, answered by `{"decisions": [{"type": …}, …]}`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import ToolCall
from langgraph.types import interrupt

from tools.gate import needs_approval
from tools.toolbox import Toolbox

DECISIONS = ["approve", "edit", "reject"]


@dataclass(frozen=True, slots=True)
class Approved:
    """A call that may run."""

    call: ToolCall
    by_person: bool = False


@dataclass(frozen=True, slots=True)
class Rejected:
    """A call that a person rejected."""

    call: ToolCall
    reason: str = ""


def approvals(calls: Sequence[ToolCall], toolbox: Toolbox) -> list[Approved | Rejected]:
    """What may run of `calls`, in their order; interrupts the run when a person must decide."""
    waiting = [needs_approval(call, toolbox) for call in calls]
    asked = [call for call, waits in zip(calls, waiting, strict=True) if waits]
    if not asked:
        return [Approved(call) for call in calls]
    decisions = iter(_decisions(interrupt(_request(asked)), len(asked)))
    return [  # by position: a model may give two calls the same id
        _decide(call, next(decisions)) if waits else Approved(call)
        for call, waits in zip(calls, waiting, strict=True)
    ]


def _request(calls: Sequence[ToolCall]) -> dict[str, Any]:
    return {
        "action_requests": [
            {"name": call["name"], "args": call["args"], "description": f"Run {call['name']}?"}
            for call in calls
        ],
        "review_configs": [
            {"action_name": call["name"], "allowed_decisions": DECISIONS} for call in calls
        ],
    }


def _decisions(answer: object, wanted: int) -> list[Mapping[str, Any]]:
    """The person's decisions; one that is missing or makes no sense is a rejection."""
    said = answer.get("decisions") if isinstance(answer, Mapping) else None
    decisions = (
        [each for each in said if isinstance(each, Mapping)] if isinstance(said, list) else []
    )
    return [*decisions, *([{"type": "reject"}] * wanted)][:wanted]


def _decide(call: ToolCall, decision: Mapping[str, Any]) -> Approved | Rejected:
    if decision.get("type") == "approve":
        return Approved(call, by_person=True)
    edited = decision.get("edited_action")
    if decision.get("type") == "edit" and isinstance(edited, Mapping):
        args = edited.get("args")
        if isinstance(args, dict) and edited.get("name") in (None, call["name"]):
            return Approved(ToolCall(**{**call, "args": args}), by_person=True)
    return Rejected(call, str(decision.get("message", ""))[:500])
