"""What the scripted model server may be told to answer, and its shape on the wire."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Json = dict[str, Any]
DEFAULT_TEXT = "The scripted model has nothing to add."
SHARED = {"created": 1700000000, "system_fingerprint": "fp_scripted", "service_tier": "default"}
PIECE = 7  # characters of a tool call's arguments in one delta: they always come in several


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of the server, in both forms: whole, and as a stream."""

    content: str | None = DEFAULT_TEXT
    calls: tuple[tuple[str, str], ...] = ()
    refused: str | None = None
    finish_reason: str = "stop"
    usage: tuple[int, int] | None = None  # None: the server's figures
    without_usage: bool = False
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None  # sent as it is
    content_type: str = "application/json"
    delay_seconds: float = 0
    pause_seconds: float = 0  # before each chunk of a stream, and before its end
    silent_after: int | None = None  # a stream stops talking after so many chunks
    cut_after: int | None = None  # a stream loses its connection after so many chunks
    echoes: bool = False

    @classmethod
    def text(
        cls, text: str, *, usage: tuple[int, int] | None = None, finish_reason: str = "stop"
    ) -> "Reply":
        """Plain text; `usage` is (prompt tokens, completion tokens)."""
        return cls(text, usage=usage, finish_reason=finish_reason)

    @classmethod
    def tool_call(cls, name: str, args: Mapping[str, Any] | str = "{}", **more: Any) -> "Reply":
        """A call of one tool; a string is sent as the arguments, JSON or not."""
        return cls.tool_calls((name, args), **more)

    @classmethod
    def tool_calls(
        cls,
        *calls: tuple[str, Mapping[str, Any] | str],
        text: str | None = None,
        usage: tuple[int, int] | None = None,
    ) -> "Reply":
        """Several calls at once."""
        written = tuple(
            (name, args if isinstance(args, str) else json.dumps(args)) for name, args in calls
        )
        return cls(text, calls=written, finish_reason="tool_calls", usage=usage)

    @classmethod
    def refusal(cls, text: str) -> "Reply":
        """The model declines."""
        return cls(None, refused=text)

    @classmethod
    def echo(cls) -> "Reply":
        """The text of the last user message."""
        return cls(echoes=True)

    @classmethod
    def error(
        cls, status: int, *, retry: bool = False, retry_after: float | None = None
    ) -> "Reply":
        """An error as OpenAI words it. Unless `retry`, a header tells clients not to try again."""
        headers = {} if retry else {"x-should-retry": "false"}
        if retry_after is not None:
            headers["retry-after"] = str(retry_after)
        fault = {"message": f"scripted {status}", "type": "scripted", "param": None, "code": None}
        body = json.dumps({"error": fault}).encode()
        return cls(status=status, headers=headers, body=body)

    @classmethod
    def raw(cls, status: int, body: bytes | str, content_type: str = "application/json") -> "Reply":
        """Any body at all."""
        sent = body.encode() if isinstance(body, str) else body
        headers = {"x-should-retry": "false"}
        return cls(status=status, body=sent, content_type=content_type, headers=headers)

    @classmethod
    def slow(cls, seconds: float, reply: "Reply | None" = None) -> "Reply":
        """A reply that lets one wait for its first byte."""
        return replace(reply or cls(), delay_seconds=seconds)

    @classmethod
    def paced(cls, seconds: float, reply: "Reply | None" = None) -> "Reply":
        """A reply whose stream pauses before each chunk, and before the end of its body."""
        return replace(reply or cls(), pause_seconds=seconds)

    @classmethod
    def hang(cls, *, after: int = 0) -> "Reply":
        """Silence: at once, or in a stream after so many chunks."""
        return cls(silent_after=after)

    @classmethod
    def truncated_stream(cls, *, after: int = 2) -> "Reply":
        """A connection that is lost after so many chunks, or in the middle of a whole answer."""
        return cls(cut_after=after)


def completion(reply: Reply, request: Json, number: int, usage: tuple[int, int]) -> Json:
    """The whole answer."""
    message: Json = {"role": "assistant", "content": reply.content, "refusal": reply.refused}
    if reply.calls:
        message["tool_calls"] = [_call(number, *call) for call in enumerate(reply.calls)]
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": reply.finish_reason,
    }
    answer = _envelope("chat.completion", request, number) | {"choices": [choice]}
    return answer if reply.without_usage else answer | {"usage": _usage(usage)}


def chunks(reply: Reply, request: Json, number: int, usage: tuple[int, int]) -> Iterator[Json]:
    """The answer as a stream, usage in the last chunk only and only when it was asked for."""
    asked = bool((request.get("stream_options") or {}).get("include_usage"))
    envelope = _envelope("chat.completion.chunk", request, number)
    envelope |= {"usage": None} if asked else {}
    for delta in _deltas(reply, number):
        yield envelope | {"choices": [_choice(delta, None)]}
    yield envelope | {"choices": [_choice({}, reply.finish_reason)]}
    if asked and not reply.without_usage:
        yield envelope | {"choices": [], "usage": _usage(usage)}


def last_user_text(request: Json) -> str:
    """The text of the last user message."""
    for message in reversed(request.get("messages", [])):
        if message["role"] == "user":
            content = message["content"]
            return content if isinstance(content, str) else "".join(p["text"] for p in content)
    return ""


def _deltas(reply: Reply, number: int) -> Iterator[Json]:
    yield {"role": "assistant", "content": "" if reply.content is not None else None}
    if reply.refused is not None:
        yield {"refusal": reply.refused}
    for word in re.findall(r"\S+\s*|\s+", reply.content or ""):
        yield {"content": word}
    for index, call in enumerate(reply.calls):
        yield from _call_deltas(number, index, call)


def _call_deltas(number: int, index: int, call: tuple[str, str]) -> Iterator[Json]:
    whole = _call(number, index, call)
    arguments = whole["function"]["arguments"]
    whole["function"]["arguments"] = ""
    yield {"tool_calls": [{"index": index, **whole}]}
    for start in range(0, len(arguments), PIECE):
        piece = {"arguments": arguments[start : start + PIECE]}
        yield {"tool_calls": [{"index": index, "function": piece}]}


def _call(number: int, index: int, call: tuple[str, str]) -> Json:
    name, arguments = call
    function = {"name": name, "arguments": arguments}
    return {"id": f"call_{number}_{index}", "type": "function", "function": function}


def _choice(delta: Json, finish_reason: str | None) -> Json:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _envelope(kind: str, request: Json, number: int) -> Json:
    return {"id": f"chatcmpl-{number}", "object": kind, "model": request.get("model"), **SHARED}


def _usage(usage: tuple[int, int]) -> Json:
    prompt, output = usage
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }
