"""Values of a store: what may be kept, and the text by which it is found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from langgraph.store.base import ListNamespacesOp, PutOp, SearchOp, get_text_at_path

from storage.store_names import Labels
from tenancy.errors import Invalid
from tenancy.memory import MAX_CHARACTERS, SHOWN
from tenancy.text import clean

MAX_VALUE_BYTES = 16_384  # a record, not a document
INDEXED_CHARACTERS = 1000  # as much as MiniLM reads
TEXT = "text"  # the field by which an item is found, unless it says another


def dumped(value: Any, field: str = "value") -> str:
    """The JSON of a value; raises `Invalid` for what has none, or too much."""
    try:
        text = orjson.dumps(value)
    except TypeError:
        raise Invalid(field, "must be JSON") from None
    if len(text) > MAX_VALUE_BYTES:
        raise Invalid(field, f"must have at most {MAX_VALUE_BYTES:,} bytes as JSON")
    return text.decode()


@dataclass(frozen=True, slots=True)
class NewItem:
    """A value that may be kept, and the text by which it is found, if it is to be."""

    value: str
    text: str | None


def new_item(labels: Labels, op: PutOp) -> NewItem:
    """What an operation puts; raises `Invalid` for what no store keeps, or no model is shown."""
    value = dict(op.value or {})
    if labels == SHOWN and not _is_memory(value):
        most = f"1 to {MAX_CHARACTERS} characters"
        raise Invalid("value", f"of a memory has one field, {TEXT!r}, with {most}")
    return NewItem(dumped(value), _indexed(value, op.index))


def _is_memory(value: Mapping[str, Any]) -> bool:
    text = value.get(TEXT)
    if set(value) != {TEXT} or not isinstance(text, str):
        return False
    return bool(text.strip()) and len(text) <= MAX_CHARACTERS


def _indexed(value: Mapping[str, Any], index: Sequence[str] | Literal[False] | None) -> str | None:
    """One text of the fields named; of none named, `text`, or else all of it."""
    if index is False:
        return None
    paths = [TEXT if isinstance(value.get(TEXT), str) else "$"] if index is None else index
    texts = [text for path in paths for text in get_text_at_path(value, path)]
    return clean("\n".join(texts)).strip()[:INDEXED_CHARACTERS] or None


def asked_for(op: SearchOp) -> str:
    """What a search asks for, as it is embedded."""
    return clean(op.query or "").strip()[:INDEXED_CHARACTERS]


def window_of(op: SearchOp | ListNamespacesOp) -> dict[str, int]:
    """How much of what is found is wanted; raises `Invalid`."""
    if op.limit < 0 or op.offset < 0:
        raise Invalid("limit", "and offset must not be negative")
    return {"limit": op.limit, "offset": op.offset}
