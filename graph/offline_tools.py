"""Which tool the offline model would call: rarely, and only with arguments it can read off."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from langchain_core.messages import ToolCall
from langchain_core.messages.tool import tool_call

from graph.offline_words import stems

Schema = Mapping[str, Any]

EXPLICIT = re.compile(r"\s*/(\w+)\s*(\{.*\})?\s*$", re.S)
REFERENCE = re.compile(r"#?[A-Za-z]{0,8}[-_/]?\d{3,}[\w-]*")  # A-1001, INV-2024-17, 20931
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
QUERIES = {"query", "question", "q"}
STATEMENT = "text"  # what is asked is none
MAX_WORD = 64
# A pattern comes from a plugin and runs in our loop: nothing that can backtrack for long.
MAX_PATTERN, MAX_REPEATS = 100, 4
RISKY_PATTERN = re.compile(r"\)[*+?{]|\\[1-9]|\(\?")


def pick_tool(question: str, tools: Sequence[Schema]) -> ToolCall | None:
    """The call that the question plainly asks for, or spells out as `/tool {"json": "args"}`."""
    functions = [tool["function"] for tool in tools]
    explicit = _spelled_out(question, functions)
    if explicit is not None:
        return explicit
    best = max(functions, key=lambda function: _score(question, function), default=None)
    if best is None or not _score(question, best):
        return None
    return _call(best["name"], _arguments(question, best)[0])


def _spelled_out(question: str, functions: Iterable[Schema]) -> ToolCall | None:
    match = EXPLICIT.match(question)
    if match is None or match[1] not in {function["name"] for function in functions}:
        return None
    try:
        arguments = json.loads(match[2] or "{}")
    except ValueError:
        return None
    return _call(match[1], arguments)


def _call(name: str, arguments: dict[str, Any]) -> ToolCall:
    return tool_call(name=name, args=arguments, id=f"call_{uuid4().hex[:12]}")


def _score(question: str, function: Schema) -> int:
    """How plainly the question asks for the function; 0: it does not."""
    arguments, read_off = _arguments(question, function)
    if not set(_parameters(function).get("required", ())) <= arguments.keys():
        return 0
    asked, name = set(stems(question)), set(stems(function["name"].replace("_", " ")))
    described = set(stems(function.get("description", "")))
    if not read_off and not name <= asked:  # nothing but its name speaks for it: all of it, then
        return 0
    return 2 * len(asked & name) + len(asked & described)


def _arguments(question: str, function: Schema) -> tuple[dict[str, Any], bool]:
    """Arguments for the function, and whether one was read off the question rather than copied."""
    arguments: dict[str, Any] = {}
    read_off = False
    for name, schema in _parameters(function).get("properties", {}).items():
        value = _value(question, name, schema)
        if value is not None:
            arguments[name], read_off = value, True
        elif _is_free(name, question) and schema.get("type") == "string":
            arguments[name] = question
    return arguments, read_off


def _is_free(name: str, question: str) -> bool:
    return name in QUERIES or (name == STATEMENT and not question.rstrip().endswith("?"))


def _parameters(function: Schema) -> Schema:
    parameters: Schema = function.get("parameters") or {}
    return parameters


def _value(question: str, name: str, schema: Schema) -> Any:
    words = [word.strip("?!.,;:()[]\"'") for word in question.split()]
    if "enum" in schema:
        spoken = {word.casefold() for word in words}
        return next((value for value in schema["enum"] if str(value).casefold() in spoken), None)
    if schema.get("type") in {"integer", "number"}:
        return _number(words, whole=schema["type"] == "integer")
    if schema.get("pattern"):
        return _matching(words, schema["pattern"])
    if name.endswith(("_id", "_number", "_no")):
        return next((word for word in words if REFERENCE.fullmatch(word)), None)
    return None


def _number(words: Iterable[str], *, whole: bool) -> int | float | None:
    written = next((word for word in words if NUMBER.fullmatch(word)), None)
    if written is None or (whole and "." in written):
        return None
    return int(written) if whole else float(written)


def _matching(words: Iterable[str], pattern: str) -> str | None:
    bare = pattern.removeprefix("^").removesuffix("$")
    repeats = sum(bare.count(mark) for mark in "*+{?")
    if len(bare) > MAX_PATTERN or repeats > MAX_REPEATS or RISKY_PATTERN.search(bare):
        return None
    try:
        wanted = re.compile(bare)
    except re.error:
        return None
    short = (word for word in words if 0 < len(word) <= MAX_WORD)
    return next((word for word in short if wanted.fullmatch(word)), None)
