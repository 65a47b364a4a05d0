"""A search filter as JSON says it: at `POST /v1/search`, and as an assistant stores it."""

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from tenancy.errors import Invalid
from tenancy.ids import DocumentId
from tenancy.search_filter import MAX_METADATA, Condition, SearchFilter, check_name, check_scalar
from tenancy.text import is_carriable

T = TypeVar("T")

MAX_DOCUMENTS = 100
MAX_MEDIA_TYPES = 20
MAX_MEDIA_TYPE_CHARACTERS = 200
MAX_VALUES = 50
FIELDS = ("document_ids", "media_types", "created_from", "created_before", "metadata")
FORMS = f'must be text, a number, true, false, {{"in": [1 to {MAX_VALUES}]}} or {{"exists": true}}'


def parse_filter(said: Any, field: str = "filter") -> SearchFilter:
    """What a document must be; null says nothing. Raises `Invalid` by the name of what is wrong."""
    _require_object(said, field, FIELDS)
    given = {name: value for name, value in said.items() if value is not None}

    def read(name: str, parse: Callable[[Any, str], T]) -> T | None:
        return parse(given[name], f"{field}.{name}") if name in given else None

    return SearchFilter(
        document_ids=read("document_ids", _document_ids),
        media_types=read("media_types", _media_types),
        created_from=read("created_from", _instant),
        created_before=read("created_before", _instant),
        metadata=read("metadata", _conditions) or (),
    )


def _require_object(said: Any, field: str, known: Collection[str]) -> None:
    if not isinstance(said, dict):
        raise Invalid(field, "must be an object")
    for name in said:
        if name not in known:
            raise Invalid(f"{field}.{name}", f"is unknown; one of {', '.join(known)}")


def _document_ids(said: Any, field: str) -> list[DocumentId]:
    return [DocumentId(_uuid(each, field)) for each in _listed(said, field, MAX_DOCUMENTS)]


def _media_types(said: Any, field: str) -> list[str]:
    for each in _listed(said, field, MAX_MEDIA_TYPES):
        fits = isinstance(each, str) and len(each) <= MAX_MEDIA_TYPE_CHARACTERS
        if not fits or not is_carriable(each):
            most = MAX_MEDIA_TYPE_CHARACTERS
            raise Invalid(field, f"must name media types of at most {most} characters")
    return [*said]


def _instant(said: Any, field: str) -> datetime:
    reason = "must be a time of RFC 3339 with an offset"
    if not isinstance(said, str) or not said.isprintable():  # Python takes NUL between its parts
        raise Invalid(field, reason)
    try:
        instant = datetime.fromisoformat(said.upper())  # RFC 3339 takes a small t and z
    except ValueError:
        raise Invalid(field, reason) from None
    if instant.tzinfo is None:
        raise Invalid(field, reason)
    return instant


def _conditions(said: Any, field: str) -> list[Condition]:
    if not isinstance(said, dict) or len(said) > MAX_METADATA:
        raise Invalid(field, f"must be an object of at most {MAX_METADATA} names")
    return [_condition(name, wanted, field) for name, wanted in said.items()]


def _condition(name: Any, wanted: Any, field: str) -> Condition:
    check_name(name, field)
    if isinstance(wanted, dict) and set(wanted) == {"exists"}:
        return _presence(name, wanted["exists"], f"{field}.{name}")
    listed = isinstance(wanted, dict) and set(wanted) == {"in"}
    values = wanted["in"] if listed else [wanted]
    if not isinstance(values, list) or not 1 <= len(values) <= MAX_VALUES:
        raise Invalid(f"{field}.{name}", FORMS)
    for value in values:
        if not isinstance(value, str | int | float):  # and so no bool either
            raise Invalid(f"{field}.{name}", FORMS)
        check_scalar(value, f"{field}.{name}")
    return Condition(name, any_of=values)


def _presence(name: str, wanted: Any, field: str) -> Condition:
    if not isinstance(wanted, bool):
        raise Invalid(field, FORMS)
    return Condition(name, present=wanted)


def _uuid(said: Any, field: str) -> UUID:
    try:
        return UUID(said)
    except (AttributeError, TypeError, ValueError):
        raise Invalid(field, "must hold ids of documents") from None


def _listed(said: Any, field: str, most: int) -> list[Any]:
    if not isinstance(said, list) or not 1 <= len(said) <= most:
        raise Invalid(field, f"must be a list of 1 to {most}")
    return said
