"""How far a stream came, what it may have cost, and whether it ended or merely stopped."""

from typing import Any

import orjson

from server.openai_wire.failures import BROKE_OFF, nonsense
from server.openai_wire.shapes import Json, vet_chunk
from server.openai_wire.transport import loads
from tenancy.errors import ModelFailed
from tenancy.quota import token_bound


class Progress:
    """How far a stream has come.

    `received` is the bytes of the answer in it, one at least for each chunk: no endpoint counts
    more tokens. `passed_on` says whether a reader has seen text of it.
    """

    def __init__(self) -> None:
        self.done = False
        self.passed_on = False
        self.received = 0
        self.usage: Json | None = None
        self._began = False
        self._finished = False

    def chunks(self, events: list[bytes]) -> list[Json]:
        """The chunks in `events`, up to the one that ends the stream."""
        chunks = []
        for event in events:
            if event.startswith(b"[DONE]"):
                self.done = True
                break
            chunks.append(self._chunk(event))
        return chunks

    def pass_on(self, chunk: Json) -> None:
        """Note that a reader is about to see the chunk."""
        if not self.passed_on:
            deltas = [choice["delta"] or {} for choice in chunk["choices"]]
            self.passed_on = any(delta.get("content") for delta in deltas)

    def _chunk(self, event: bytes) -> Json:
        chunk = vet_chunk(loads(event))
        self.usage = chunk.get("usage") or self.usage
        for choice in chunk["choices"]:
            self._began = True
            self.received += max(1, _size(choice["delta"] or {}))
            self._finished = self._finished or bool(choice.get("finish_reason"))
        return chunk

    def require_end(self) -> None:
        """Raise `ModelFailed` unless the stream came to an end: some servers send no [DONE]."""
        if not self.done and not self._finished:
            raise ModelFailed(BROKE_OFF)
        if not self._began:
            raise nonsense()


def _size(delta: Json) -> int:
    if len(delta) == 1 and isinstance(text := delta.get("content"), str):
        return token_bound(text)  # nearly every chunk
    return sum(_bytes(name, value) for name, value in delta.items() if value and name != "role")


def _bytes(name: str, value: Any) -> int:
    if isinstance(value, str):
        return token_bound(value)
    if name == "tool_calls":
        functions = [call["function"] for call in value]
        return sum(token_bound(text) for each in functions for text in each.values() if text)
    return len(orjson.dumps(value))
