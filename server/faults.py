"""Which fields of a request are at fault, in our words and without the values they held."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi.exceptions import RequestValidationError

MAX_FIELD_CHARACTERS = 128  # a JSON key may be as long as the body
SOURCES = {"body", "query", "path", "header", "cookie"}

# pydantic's own sentences quote the value in the first two cases.
MESSAGES: Mapping[str, str] = {
    "uuid_parsing": "must be a UUID",
    "union_tag_invalid": "is of no known kind",
    "json_invalid": "is not valid JSON",
    "missing": "is required",
    "extra_forbidden": "is not a known field",
}
NO_FILE = "Expected UploadFile"  # FastAPI's own words, which name our classes
PREFIXES = ("Value error, ", "Assertion failed, ")


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field and what is wrong with it."""

    field: str
    message: str


def faults_of(error: RequestValidationError) -> tuple[FieldError, ...]:
    """The faults that FastAPI found, in its order."""
    return tuple(
        FieldError(_field(fault["type"], fault["loc"]), _message(fault)) for fault in error.errors()
    )


def readable(text: str) -> str:
    """The text without lone surrogates: JSON may bring them, UTF-8 cannot carry them."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _field(kind: str, location: Sequence[str | int]) -> str:
    source, *path = location or ("body",)
    if kind == "json_invalid" or not path:
        return str(source)
    named = path if source in SOURCES else [source, *path]
    return ".".join(map(str, named))[:MAX_FIELD_CHARACTERS]


def _message(fault: Mapping[str, Any]) -> str:
    if fault["type"] == "too_long" and isinstance(fault["input"], str):  # pydantic counts "items"
        return f"must have at most {fault['ctx']['max_length']} characters"
    message = MESSAGES.get(fault["type"], fault["msg"])
    if NO_FILE in message:
        return "must be a file"
    for prefix in PREFIXES:
        message = message.removeprefix(prefix)
    return str(message)
