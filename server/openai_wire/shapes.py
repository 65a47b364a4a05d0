"""What an answer must look like before langchain-openai may trust it."""

from typing import Any

from openai.types.completion_usage import CompletionTokensDetails, PromptTokensDetails

from server.openai_wire.failures import nonsense

Json = dict[str, Any]
COUNTED = ("prompt_tokens", "completion_tokens")
MAX_TOKENS = 10**9  # a count beyond it is no count
DETAILS: dict[str, Json] = {
    "prompt_tokens_details": dict.fromkeys(PromptTokensDetails.model_fields),
    "completion_tokens_details": dict.fromkeys(CompletionTokensDetails.model_fields),
}
SERVICE_FIELDS = ("system_fingerprint", "service_tier")


def vet_completion(answer: Any) -> Json:
    """The completion as the OpenAI SDK would hand it over; raises `ModelFailed` for nonsense."""
    if not isinstance(answer, dict) or answer.get("error") or not _choices(answer):
        raise nonsense()
    for choice in answer["choices"]:
        _vet_message(choice.get("message"))
        _complete_message(choice["message"])
        choice.setdefault("logprobs", None)
    for name in SERVICE_FIELDS:
        answer.setdefault(name, None)
    answer["usage"] = _usage(answer)
    return answer


def vet_chunk(chunk: Any) -> Json:
    """A chunk of a streamed completion; raises `ModelFailed` for nonsense."""
    if not isinstance(chunk, dict) or chunk.get("error"):
        raise nonsense()
    chunk["choices"] = _choices(chunk)
    for choice in chunk["choices"]:
        delta = choice.setdefault("delta", {})
        if delta is not None:
            _vet_message(delta)
    if "usage" in chunk:
        chunk["usage"] = _usage(chunk)
    return chunk


def _choices(answer: Json) -> list[Json]:
    choices = answer.get("choices") or []
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise nonsense()
    return choices


def _complete_message(message: Json) -> None:
    message["role"] = "assistant"
    for call in message.get("tool_calls") or ():
        function = call["function"]
        if function.get("name") is None:
            raise nonsense()
        function["arguments"] = function.get("arguments") or "{}"  # a tool without arguments


def _vet_message(message: Any) -> None:
    if not isinstance(message, dict):
        raise nonsense()
    content, role = message.get("content"), message.get("role")
    if not isinstance(content, str | None) or role not in {None, "assistant"}:
        raise nonsense()
    calls = message.get("tool_calls")
    if calls:
        _vet_tool_calls(calls)


def _vet_tool_calls(calls: Any) -> None:
    if not isinstance(calls, list):
        raise nonsense()
    for position, call in enumerate(calls):
        if not isinstance(call, dict) or not isinstance(call.get("function"), dict):
            raise nonsense()
        texts = (call.get("id"), *(call["function"].get(name) for name in ("name", "arguments")))
        if not all(isinstance(text, str | None) for text in texts):
            raise nonsense()
        if not isinstance(call.get("index"), int):
            call["index"] = position  # without one langchain-openai would drop the call


def _usage(answer: Json) -> Json | None:
    usage = answer.get("usage")
    if not isinstance(usage, dict) or not all(_is_count(usage.get(name)) for name in COUNTED):
        return None  # missing or unusable: the caller estimates
    usable = {name: value for name, value in usage.items() if _is_usable(name, value)}
    for name, absent in DETAILS.items():  # the SDK names what is absent
        details = usable.get(name)
        usable[name] = None if details is None else absent | details
    return usable


def _is_usable(name: str, value: Any) -> bool:
    if name.endswith("_tokens"):
        return _is_count(value)
    if not name.endswith("_details"):
        return True
    return isinstance(value, dict) and all(
        figure is None or _is_count(figure) for figure in value.values()
    )


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_TOKENS
