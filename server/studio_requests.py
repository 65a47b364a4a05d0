"""What a client of Studio asks of a run: plainly, as a debugger, or in vain."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from graph.state import Options
from tenancy.assistant import DEFAULT
from tenancy.errors import Forbidden, NotFound

CHECKPOINT = frozenset({"checkpoint_id", "checkpoint_map"})
FROM_CLIENTS = CHECKPOINT | {"thread_id", "checkpoint_ns", "__event_streaming_v2"}
# LangGraph writes these itself, over whatever a client may have sent under the same name.
FROM_LANGGRAPH = frozenset(
    {
        "langgraph_auth_user",
        "langgraph_auth_user_id",
        "langgraph_auth_permissions",
        "langgraph_request_id",
        "__request_start_time_ms__",
        "__after_seconds__",
        "__context_provided__",
        "__otel_traceparent__",
        "__otel_tracestate__",
    }
)
OPTIONS = frozenset(Options.__annotations__)
CONFIG = frozenset({"configurable", "metadata", "tags", "recursion_limit"})
COMMANDS = frozenset({"resume", "goto", "update"})
QUESTIONS = ("human", "user")

Asked = Mapping[str, Any]


def refuse_smuggled(asked: Asked) -> None:
    """Raise `Forbidden` for what nobody may ask for, `NotFound` for an assistant that is none.

    `context` repeats `configurable` as the client sent it, before LangGraph wrote into it.
    """
    config, context = asked.get("config") or {}, asked.get("context") or {}
    configurable = config.get("configurable") or {}
    _only(config, CONFIG, "config")
    _only(context, FROM_CLIENTS | OPTIONS, "configurable")
    _only(configurable, FROM_CLIENTS | FROM_LANGGRAPH | OPTIONS, "configurable")
    _only(asked.get("command") or {}, COMMANDS, "command")
    if configurable.get("checkpoint_ns"):
        raise Forbidden("A run starts in no other namespace than the thread's own.")
    if asked.get("webhook"):
        raise Forbidden("Webhooks are not served.")
    if configurable.get("assistant", DEFAULT) != DEFAULT:
        raise NotFound("No such assistant.")


def debugging(asked: Asked) -> Iterator[str]:
    """What of the request needs `threads:debug`."""
    configurable, command = asked["config"]["configurable"], asked.get("command") or {}
    if any(configurable.get(key) for key in CHECKPOINT):
        yield "fork"
    yield from (key for key in ("goto", "update") if command.get(key) is not None)
    if asked.get("interrupt_before") or asked.get("interrupt_after"):
        yield "breakpoint"
    if not _asks(asked.get("input")):
        yield "messages"


def _only(given: Mapping[str, Any], known: Collection[str], where: str) -> None:
    if strange := sorted(key for key, value in given.items() if key not in known and value):
        raise Forbidden(f"A client may not set {strange[0][:40]!r} in {where}.")


def _asks(given: Any) -> bool:
    """Whether the input is only what a person says: another role would rewrite the thread."""
    if given is None:
        return True
    said = given.get("messages", []) if isinstance(given, dict) else [given]
    return all(_is_question(each) for each in (said if isinstance(said, list) else [said]))


def _is_question(message: Any) -> bool:
    if not isinstance(message, dict):
        return isinstance(message, str)
    named = [message[key] for key in ("type", "role") if key in message]
    return bool(named) and all(name in QUESTIONS for name in named)
