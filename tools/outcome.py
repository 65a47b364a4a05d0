"""What becomes of a call: an answer for the model, and what the engine keeps beside it."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from langchain_core.messages import ToolCall, ToolMessage

from tenancy.component import ActorChain
from tenancy.document import Found, Passage
from tenancy.errors import require_own
from tenancy.ids import TenantId
from tenancy.text import clean

Status = Literal["ok", "refused", "error", "timeout"]

MAX_CHARACTERS = 16_000  # about 4,000 tokens: a tool may not fill the model's context alone
MAX_NAME = 64
CUT = "\n[cut]"
TENANT_KEY = "tenant_id"
HOLDERS = ("passages", "metadata")  # of our own `Found`, and of LangChain's `Document`
MAX_PARTS = 10_000  # about 5 ms


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """How a call ended. `message` answers the model; its text is untrusted, like any tool's.

    `embedding_tokens` of `embedding_model` were consumed by a search, 0 by anything else.
    `actors` is who acted; None where the call did not reach the tool.
    """

    message: ToolMessage
    status: Status
    passages: Sequence[Passage] = ()
    embedding_model: str = ""
    embedding_tokens: int = 0
    actors: ActorChain | None = None


def outcome_of(call: ToolCall, said: Any, tenant_id: TenantId) -> ToolOutcome:
    """The outcome of what a tool said; raises `IsolationBreach` over a foreign thing."""
    if not isinstance(said, ToolMessage):  # a Command would let a plugin write the graph's state
        return failed(call, "error", f"The tool `{call['name']}` gave no usable answer.")
    passages = _passages(said.artifact)
    require_own(tenant_id, (passage.tenant_id for passage in passages), "tool")
    require_own(tenant_id, owners_in(said.artifact), "tool")
    found = said.artifact if isinstance(said.artifact, Found) else Found((), "", 0)
    return ToolOutcome(
        _message(call, str(said.text), failed=said.status == "error"),
        "error" if said.status == "error" else "ok",
        passages,
        found.embedding_model,
        found.embedding_tokens,
    )


def _passages(artifact: Any) -> tuple[Passage, ...]:
    pieces = artifact.passages if isinstance(artifact, Found) else artifact
    if not isinstance(pieces, list | tuple):
        return ()
    return tuple(piece for piece in pieces if isinstance(piece, Passage))


def owners_in(artifact: Any) -> Iterator[str]:
    """Every `tenant_id` that an artifact's parts name: members, attributes, LangChain metadata.

    Of a huge artifact the first parts; what the engine uses of it is checked whole beside this.
    """
    waiting = deque([artifact])
    for _ in range(MAX_PARTS):
        if not waiting:
            return
        part = waiting.popleft()
        if isinstance(part, dict):
            waiting.extend(part.values())
            owner = part.get(TENANT_KEY)
        elif isinstance(part, list | tuple | set | frozenset):
            waiting.extend(part)
            continue
        else:
            owner = getattr(part, TENANT_KEY, None)
            waiting.extend(filter(None, (getattr(part, name, None) for name in HOLDERS)))
        if owner is not None:
            yield str(owner)


def failed(call: ToolCall, status: Status, text: str) -> ToolOutcome:
    """The outcome of a call that gave nothing but a reason."""
    return ToolOutcome(_message(call, text, failed=True), status)


def _message(call: ToolCall, text: str, *, failed: bool) -> ToolMessage:
    # Made anew: a tool's own message could carry another call's id, or things for the state.
    return ToolMessage(
        capped(text),
        name=capped(call["name"], MAX_NAME),
        tool_call_id=call["id"] or "",
        status="error" if failed else "success",
    )


def capped(text: str, limit: int = MAX_CHARACTERS) -> str:
    """Text that may enter state, at most `limit` characters of it."""
    sound = clean(text)
    return sound if len(sound) <= limit else sound[: limit - len(CUT)] + CUT
