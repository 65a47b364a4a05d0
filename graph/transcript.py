"""What was said, for a model that is asked about it: framed, so that no text ends its own place."""

from collections.abc import Sequence
from xml.sax.saxutils import escape

from langchain_core.messages import BaseMessage, HumanMessage

from graph.prompts import is_answer


def transcript(turn: Sequence[BaseMessage], most: int) -> str:
    """The messages of a turn that people read, each of at most `most` characters."""
    return "\n".join(_line(message, most) for message in turn if is_read(message))


def is_read(message: BaseMessage) -> bool:
    """Whether people read the message: not the traffic with tools."""
    return isinstance(message, HumanMessage) or is_answer(message)


def _line(message: BaseMessage, most: int) -> str:
    who = "user" if isinstance(message, HumanMessage) else "assistant"
    return f"<{who}>{escape(message.text[:most])}</{who}>"
