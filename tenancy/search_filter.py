"""Which documents a search looks into, and what a tenant may say about its documents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any

from tenancy.errors import Invalid
from tenancy.ids import DocumentId

Scalar = str | int | float | bool
Metadata = Mapping[str, Scalar]

MAX_METADATA = 16  # names of a document
MAX_NAME_CHARACTERS = 64
MAX_VALUE_CHARACTERS = 256
MAX_NUMBER = 2**53  # what every JSON reader takes exactly


@dataclass(frozen=True, slots=True)
class Condition:
    """On one name of a document's metadata: it has one of the values, or is there, or is not."""

    name: str
    any_of: Sequence[Scalar] | None = None
    present: bool | None = None


@dataclass(frozen=True, slots=True)
class SearchFilter:
    """What a document must be for its passages to be found; None and () let everything through."""

    document_ids: Sequence[DocumentId] | None = None
    media_types: Sequence[str] | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None
    metadata: Sequence[Condition] = ()

    @property
    def is_empty(self) -> bool:
        """Whether it lets everything through."""
        return self == SearchFilter()


def parse_metadata(given: Any, field: str = "metadata") -> Metadata:
    """Names and scalars, as they may be stored; raises `Invalid` for anything else."""
    if not isinstance(given, dict) or len(given) > MAX_METADATA:
        raise Invalid(field, f"must be an object of at most {MAX_METADATA} names")
    for name, value in given.items():
        check_name(name, field)
        check_scalar(value, f"{field}.{name}")
    return given


def check_name(name: Any, field: str) -> None:
    """Raise `Invalid` for what no metadata can be called."""
    if not isinstance(name, str):
        raise Invalid(field, "must have texts for names")
    _check_text(name, MAX_NAME_CHARACTERS, field)


def check_scalar(value: Any, field: str) -> None:
    """Raise `Invalid` for what metadata cannot hold."""
    if isinstance(value, str):
        _check_text(value, MAX_VALUE_CHARACTERS, field, least=0)
    elif not isinstance(value, int | float):  # and so no bool either
        raise Invalid(field, "must be text, a number, true or false")
    elif abs(value) > MAX_NUMBER or not isfinite(value):  # this order: not every int is a float
        raise Invalid(field, "is too large a number")


def _check_text(text: str, most: int, field: str, least: int = 1) -> None:
    if not least <= len(text) <= most:
        raise Invalid(field, f"must have {least} to {most} characters")
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise Invalid(field, "must not contain NUL or a lone surrogate")
