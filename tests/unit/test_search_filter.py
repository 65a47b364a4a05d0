"""What documents may be told, and what a filter may ask of them."""

from typing import Any

import pytest

from tenancy.errors import Invalid
from tenancy.search_filter import MAX_METADATA, Condition, SearchFilter, parse_metadata


@pytest.mark.parametrize(
    "given",
    [{}, {"a": "b"}, {"a": 1, "b": 1.5, "c": True, "d": ""}, {"ключ": "ä" * 256}, {"$where": "1"}],
)
def test_names_and_scalars_are_metadata(given: dict[str, Any]) -> None:
    assert parse_metadata(given) == given


@pytest.mark.parametrize(
    "given",
    [
        None,
        [],
        "text",
        {"a": None},
        {"a": {}},
        {"a": []},
        {"a": "x" * 257},
        {"a": "\0"},
        {"a": "\ud800"},
        {"": 1},
        {"x" * 65: 1},
        {"a\0": 1},
        {"a": float("nan")},
        {"a": float("inf")},
        {"a": 2**53 + 1},
        {str(n): n for n in range(MAX_METADATA + 1)},
    ],
    ids=repr,
)
def test_anything_else_is_refused(given: Any) -> None:
    with pytest.raises(Invalid):
        parse_metadata(given)


def test_a_filter_that_asks_nothing_is_empty() -> None:
    assert SearchFilter().is_empty
    assert not SearchFilter(media_types=["text/plain"]).is_empty
    assert not SearchFilter(metadata=[Condition("a", present=False)]).is_empty
