"""How an assistant looks things up: where, how much, and with how much help of a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tenancy.errors import Invalid
from tenancy.filter_form import parse_filter
from tenancy.search_filter import SearchFilter

MAX_PASSAGES = 20
KEYS = ("limit", "filter", "rewrite", "rerank")


@dataclass(frozen=True, slots=True)
class SearchSetting:
    """`limit` is None where nobody says one; `within` is which documents are looked into.

    `rewrite` has a model say what a follow-up question asks for, `rerank` the order of what is
    found.
    """

    limit: int | None = None
    within: SearchFilter | None = None
    rewrite: bool = False
    rerank: bool = False

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> "SearchSetting":
        """The setting as it is stored."""
        within = said.get("filter")
        return cls(
            limit=said.get("limit"),
            within=parse_filter(within) if within else None,
            rewrite=said.get("rewrite", False),
            rerank=said.get("rerank", False),
        )


UNSAID = SearchSetting()


def parse_search(name: str, value: object) -> dict[str, Any]:
    """The setting as one source says it, to be stored; null says nothing. Raises `Invalid`."""
    if not isinstance(value, dict) or not set(value) <= set(KEYS):
        raise Invalid(name, f"must be an object of {', '.join(KEYS)}")
    said = {key: each for key, each in value.items() if each is not None}
    _check_limit(name, said.get("limit", 0))
    parse_filter(said.get("filter", {}), f"{name}.filter")
    for key in ("rewrite", "rerank"):
        if not isinstance(said.get(key, False), bool):
            raise Invalid(f"{name}.{key}", "must be true or false")
    return said


def _check_limit(name: str, limit: object) -> None:
    if isinstance(limit, bool) or not isinstance(limit, int) or not 0 <= limit <= MAX_PASSAGES:
        raise Invalid(f"{name}.limit", f"must be a number from 0 to {MAX_PASSAGES}")
