"""Text that arrived together travels on together: each chunk costs, whatever its length."""

from collections.abc import Iterable
from typing import Any

from server.openai_wire.shapes import Json


def coalesced(chunks: Iterable[Json]) -> list[Json]:
    """The same stream in fewer chunks: neighbours that are plain text of one choice are one."""
    merged: list[Json] = []
    for chunk in chunks:
        last, text = _text_choice(merged[-1]) if merged else None, _text_choice(chunk)
        if last is None or text is None or last.get("index") != text.get("index"):
            merged.append(chunk)
        else:
            last["delta"]["content"] += text["delta"]["content"]
    return merged


def _text_choice(chunk: Json) -> dict[str, Any] | None:
    choices = chunk["choices"]
    if len(choices) != 1 or chunk.get("usage"):
        return None
    choice: dict[str, Any] = choices[0]
    if choice.get("finish_reason") or choice.get("logprobs"):
        return None
    return choice if _is_text(choice["delta"]) else None


def _is_text(delta: Json | None) -> bool:
    if not delta or not isinstance(delta.get("content"), str):
        return False
    return not any(value for name, value in delta.items() if name not in {"content", "role"})
