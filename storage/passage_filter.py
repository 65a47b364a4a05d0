"""A caller's filter on passages, built anew from what is known to be harmless."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

Filter = dict[str, Any]

COMPARISONS = frozenset({"$eq", "$ne", "$lt", "$lte", "$gt", "$gte"})
LISTS = frozenset({"$in", "$nin"})


def parse_filter(filter: object) -> Filter:
    """The caller's filter built anew from its known parts; raises `ValueError` for any other."""
    if not isinstance(filter, dict) or not filter:
        raise ValueError("A filter is a dictionary that is not empty.")
    return {"$and": [_clause(key, value) for key, value in filter.items()]}


def _clause(key: object, value: Any) -> Filter:
    if key in ("$and", "$or"):
        return {str(key): [parse_filter(part) for part in _listed(value)]}
    if key == "$not":
        return {"$not": parse_filter(value)}
    if not isinstance(key, str) or key not in FIELDS:
        raise ValueError(f"Passages are filtered on {', '.join(FIELDS)}: not on {key!r}.")
    return {key: _condition(FIELDS[key], value)}


def _condition(parse: Callable[[Any], Any], value: Any) -> Any:
    if not isinstance(value, dict):
        return parse(value)
    if len(value) != 1:
        raise ValueError("A condition has one operator.")
    [(operator, operand)] = value.items()
    if operator in COMPARISONS:
        return {operator: parse(operand)}
    if operator in LISTS:
        return {operator: [parse(each) for each in _listed(operand)]}
    raise ValueError(f"An operator is one of {', '.join(sorted(COMPARISONS | LISTS))}.")


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("A list that is not empty is needed here.")
    return list(value)


def _document_id(value: object) -> str:
    return str(UUID(str(value)))


def _ordinal(value: object) -> int:
    if type(value) is not int:  # True is an int to isinstance
        raise ValueError("An ordinal is an integer.")
    return value


FIELDS: Mapping[str, Callable[[Any], Any]] = {"document_id": _document_id, "ordinal": _ordinal}
