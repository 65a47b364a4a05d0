"""A store's filter as a list of conditions: each names a field, an operator and a JSON value."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tenancy.errors import Invalid

EQUALS = "$eq"
EQUALITIES = frozenset({EQUALS, "$ne"})
ORDERS = frozenset({"$gt", "$gte", "$lt", "$lte"})


class Condition(NamedTuple):
    """What must hold of a field; one that an item lacks is null."""

    field: str
    operator: str
    operand: Any


def conditions_of(filter: Mapping[str, Any] | None) -> list[Condition]:
    """The conditions of a filter, all of which must hold; raises `Invalid`."""
    return [each for field, said in (filter or {}).items() for each in _conditions(field, said)]


def _conditions(field: str, said: Any) -> Iterator[Condition]:
    if not _has_operators(said):
        yield Condition(field, EQUALS, said)
        return
    for operator, operand in said.items():
        _require_known(operator, operand)
        yield Condition(field, operator, operand)


def _has_operators(said: Any) -> bool:
    return isinstance(said, Mapping) and any(str(key).startswith("$") for key in said)


def _require_known(operator: str, operand: Any) -> None:
    if operator not in EQUALITIES | ORDERS:
        known = ", ".join(sorted(EQUALITIES | ORDERS))
        raise Invalid("filter", f"an operator is one of {known}")
    if operator in ORDERS and not _has_order(operand):
        raise Invalid("filter", f"{operator} compares numbers or texts")


def _has_order(operand: Any) -> bool:
    return isinstance(operand, str | int | float) and not isinstance(operand, bool)
