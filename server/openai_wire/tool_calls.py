"""Tool calls of a stream: held until they are whole, since what is half may look whole."""

from typing import Any

import orjson

from server.openai_wire.shapes import Json

UNREADABLE = "not valid JSON"  # no prefix of it is, so nobody completes it


class HeldCalls:
    """Takes the pieces of tool calls out of a stream's chunks and gives back whole calls.

    langchain-openai completes arguments that broke off: the tool would run with a guess.
    """

    def __init__(self) -> None:
        self._calls: dict[int, Json] = {}

    def pass_on(self, chunk: Json) -> Json:
        """The chunk without the pieces of calls, or, where it ends the answer, with the calls."""
        for choice in chunk["choices"]:
            delta = choice["delta"] or {}
            for piece in delta.pop("tool_calls", None) or ():
                self._add(piece)
            if choice.get("finish_reason") and self._calls:
                choice["delta"] = {**delta, "tool_calls": self._whole()}
        return chunk

    def rest(self) -> list[Json]:
        """A chunk of the calls whose stream ended without saying why it finished."""
        if not self._calls:
            return []
        return [{"choices": [{"index": 0, "delta": {"tool_calls": self._whole()}}]}]

    def _add(self, piece: Json) -> None:
        call = self._calls.setdefault(piece["index"], {"index": piece["index"], "function": {}})
        call["id"] = call.get("id") or piece.get("id")
        call["type"] = "function"
        for name in ("name", "arguments"):
            if (text := piece["function"].get(name)) is not None:
                call["function"][name] = call["function"].get(name, "") + text

    def _whole(self) -> list[Json]:
        calls, self._calls = list(self._calls.values()), {}
        for call in calls:
            arguments = call["function"].get("arguments") or "{}"  # a tool without arguments
            call["function"]["arguments"] = arguments if _is_object(arguments) else UNREADABLE
        return calls


def _is_object(text: str) -> bool:
    try:
        value: Any = orjson.loads(text)
    except ValueError:  # also a lone surrogate
        return False
    return isinstance(value, dict)
