"""A model's answer as state can hold it, whatever the endpoint sent."""

from uuid import uuid4

import orjson
from langchain_core.messages import AIMessage, InvalidToolCall, ToolCall

from tenancy.text import clean

_OWN_ID = "lc_run-"  # how LangChain names a message of one call; its stream carries the same id
UNREADABLE = "The arguments cannot be read."


def sound(answer: AIMessage) -> AIMessage:
    """The answer without NUL and lone surrogates, under an id that no other message has.

    Some endpoints give every message the same id: the thread would take a second one for a
    correction of the first. A call whose arguments no store holds counts as unreadable.
    """
    whole, cut = _whole_calls(answer)
    readable = [call for call in whole if _is_writable(call)]
    broken = [_unreadable(call) for call in (*whole, *cut) if call not in readable]
    update = {
        "content": clean(answer.text),
        "id": answer.id if (answer.id or "").startswith(_OWN_ID) else str(uuid4()),
        "tool_calls": readable,
        "invalid_tool_calls": [*map(_sound_call, answer.invalid_tool_calls), *broken],
    }
    return answer.model_copy(update=update)


def without_calls(answer: AIMessage, instead: str) -> AIMessage:
    """The answer as the last word: its text, or `instead` where it only asked for tools."""
    update = {"content": answer.text or instead, "tool_calls": [], "invalid_tool_calls": []}
    return answer.model_copy(update=update)


def _whole_calls(answer: AIMessage) -> tuple[list[ToolCall], list[ToolCall]]:
    """The calls, and the one that the output limit cut off: LangChain guesses how it would end."""
    over_limit = answer.response_metadata.get("finish_reason") == "length"
    if not over_limit or answer.invalid_tool_calls:  # it was not guessed but called unreadable
        return answer.tool_calls, []
    return answer.tool_calls[:-1], answer.tool_calls[-1:]


def _is_writable(call: ToolCall) -> bool:
    """Strictly JSON: no lone surrogate, no endless nesting, no integer of more than 64 bits."""
    try:
        orjson.dumps(call)
    except TypeError:
        return False
    return True


def _unreadable(call: ToolCall) -> InvalidToolCall:
    return InvalidToolCall(
        type="invalid_tool_call",
        name=clean(call["name"]),
        args=None,
        id=clean(call["id"] or ""),
        error=UNREADABLE,
    )


def _sound_call(call: InvalidToolCall) -> InvalidToolCall:
    return InvalidToolCall(
        type="invalid_tool_call",
        name=clean(call["name"] or ""),
        args=clean(call["args"] or ""),
        id=clean(call["id"] or ""),
        error=UNREADABLE,
    )
