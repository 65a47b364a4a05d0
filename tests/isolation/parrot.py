"""A model whose answer depends on all it was told, and on nothing else.

It says back its last message with a digest of the whole request. A message that begins with a word
of `ORDERS` makes it call a tool or fail first.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import orjson

from tests.support.model_replies import Json, Reply, last_user_text

ORDERS: dict[str, Callable[[str], Reply]] = {
    "find": lambda words: Reply.tool_call("search_documents", {"query": words}),
    "order": lambda words: Reply.tool_call("order_status", {"order_id": words}),
    "time": lambda words: Reply.tool_call("current_time", {"timezone": words}),
    "both": lambda words: Reply.tool_calls(
        ("search_documents", {"query": words}), ("order_status", {"order_id": "A-1"})
    ),
    "fail": lambda _: Reply.error(500),
    "cut": lambda _: Reply.truncated_stream(),
    "nonsense": lambda _: Reply.raw(200, b"{"),
}
SAID = 200  # characters that it says back
PASSAGE = "<passage n="


def parrot(request: Json) -> Reply:
    """What the model answers to this request."""
    said = request["messages"]
    order, _, words = last_user_text(request).partition(" ")
    if said[-1]["role"] == "user" and order in ORDERS:
        return ORDERS[order](words)
    whole = orjson.dumps(request)
    cited = " [1]" if PASSAGE in _text(said[0]) else ""
    answer = f"{sha256(whole).hexdigest()} {_text(said[-1])[:SAID]}{cited}"
    return Reply.text(answer, usage=(len(whole), len(answer)))


def tenant_of(request: Json) -> str | None:
    """The tenant whose prompt this is, by its first message."""
    for line in _text(request["messages"][0]).splitlines():
        if line.startswith("tenant_id: "):
            return line.removeprefix("tenant_id: ")
    return None


def _text(message: Json) -> str:
    content: Any = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
