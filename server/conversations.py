"""What was said in a thread: as people read it, up to where, and as a document."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid5

from langchain_core.messages import AnyMessage, HumanMessage
from langgraph.checkpoint.base import CheckpointTuple

from graph.notes import notes_of, searched_for
from graph.prompts import is_answer
from storage.threads import Memory, Run, Thread
from tenancy.errors import Invalid, require_own
from tenancy.ids import TenantId
from tenancy.usage import NAMESPACE, Tokens

NO_STEP = 0
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def said_in(memory: CheckpointTuple | None) -> list[AnyMessage]:
    """Every message of a thread, the traffic with tools included."""
    return list(memory.checkpoint["channel_values"].get("messages", [])) if memory else []


def is_read(message: AnyMessage) -> bool:
    """Whether a person reads it: questions and answers, not the traffic with tools."""
    return isinstance(message, HumanMessage) or is_answer(message)


def id_of(message: AnyMessage) -> str:
    """A message's id as people are told it: a UUID, without what LangChain puts around it."""
    found = _UUID.search(message.id or "")
    return found[0] if found else str(uuid5(NAMESPACE, message.id or ""))


def shown(said: Sequence[AnyMessage]) -> Iterator[dict[str, Any]]:
    """The messages that a person reads, as CONTRACT has them."""
    for message in filter(is_read, said):
        notes = notes_of(message)
        item = {
            "id": id_of(message),
            "role": "user" if isinstance(message, HumanMessage) else "assistant",
            "content": message.text,
            "citations": notes.get("citations", []),
            "created_at": _instant(notes.get("created_at")),
        }
        yield item | searched_for(notes)


def up_to(said: Sequence[AnyMessage], message_id: str | None) -> list[AnyMessage]:
    """The conversation up to a message that a person reads, that one included, or all of it.

    Raises `Invalid` for a message that is not there.
    """
    if message_id is None:
        return list(said)
    for place, message in enumerate(said):
        if message_id in (id_of(message), message.id) and is_read(message):
            return list(said[: place + 1])
    raise Invalid("after", "is the id of no message of this thread")


def remembered(
    tenant_id: TenantId, memory: CheckpointTuple | None, said: Sequence[AnyMessage]
) -> Memory:
    """What another thread of the tenant begins with, to go on from `said`.

    Raises `IsolationBreach` for the memory of another tenant.
    """
    if memory is None:
        return Memory({}, "")
    owner = memory.checkpoint["channel_values"].get("tenant_id", tenant_id)
    require_own(tenant_id, [owner], "checkpoint")
    values = {"messages": list(said), "tenant_id": tenant_id}
    step = memory.metadata.get("step", NO_STEP)
    return Memory(values, "\n".join(m.text for m in said if is_read(m)), step)


def exported(
    thread: Mapping[str, Any], said: Sequence[AnyMessage], runs: Sequence[Run]
) -> dict[str, Any]:
    """The whole conversation: messages with their citations, and what each run took."""
    total = sum((run.tokens for run in runs), Tokens())
    return {
        **thread,
        "messages": list(shown(said)),
        "runs": [_run(run) for run in runs],
        "usage": _usage(total),
    }


def _run(run: Run) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "status": run.status,
        "created_at": run.created_at.astimezone(UTC),
        "finished_at": run.finished_at and run.finished_at.astimezone(UTC),
        "usage": _usage(run.tokens),
        **run.assistant.mention(),
    }


def _usage(tokens: Tokens) -> dict[str, int]:
    return {"input_tokens": tokens.input_tokens, "output_tokens": tokens.output_tokens}


def as_markdown(thread: Thread, said: Sequence[AnyMessage], runs: Sequence[Run]) -> str:
    """The conversation for a person to read, with the sources of each answer below it."""
    tokens = sum(run.tokens.total for run in runs)
    parts = [f"# {_line(thread.title) or 'Untitled'}", f"{_line(thread.owner)}, {tokens} tokens"]
    for message in shown(said):
        who = thread.owner if message["role"] == "user" else "Assistant"
        parts += [f"## {_line(who)}{_when(message['created_at'])}", message["content"]]
        sources = [f"- [{c['n']}] {_line(c['title'])}" for c in message["citations"]]
        parts += ["\n".join(sources)] if sources else []
    return "\n\n".join(parts) + "\n"


def _line(text: str) -> str:
    return " ".join(text.split())


def _instant(said: str | None) -> datetime | None:
    return datetime.fromisoformat(said) if said else None


def _when(instant: datetime | None) -> str:
    return f" · {instant:%Y-%m-%d %H:%M} UTC" if instant else ""
