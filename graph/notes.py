"""What we note on a message: plain data beside its content that no model is sent."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from langchain_core.messages import BaseMessage

M = TypeVar("M", bound=BaseMessage)

_KEY = "tenantry"


def with_notes(message: M, **notes: Any) -> M:
    """`message` with `notes` and the time at which it was made."""
    stamped = {"created_at": datetime.now(UTC).isoformat(), **notes_of(message), **notes}
    kwargs = {**message.additional_kwargs, _KEY: stamped}
    return message.model_copy(update={"additional_kwargs": kwargs})


def notes_of(message: BaseMessage) -> dict[str, Any]:
    """The notes on `message`; empty for one that came from elsewhere."""
    notes = message.additional_kwargs.get(_KEY)
    return dict(notes) if isinstance(notes, dict) else {}


def searched_for(notes: Mapping[str, Any]) -> dict[str, Any]:
    """What was looked up in the place of the question; nothing where it stood as it was."""
    query = notes.get("searched_for")
    return {"searched_for": query} if query else {}
