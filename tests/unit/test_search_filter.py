"""What documents may be told, and what a filter may ask of them."""

import json
from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import ValidationError

from server.routes.filters import FilterBody
from tenancy.errors import Invalid
from tenancy.filter_form import parse_filter
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
        {"a": -(10**400)},
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


def test_an_instant_with_what_no_store_holds_is_refused() -> None:
    for between in ("\0", "\ud800"):
        with pytest.raises(Invalid) as refusal:
            parse_filter({"created_from": f"2020-01-01{between}00:00:00+00:00"})
        assert refusal.value.field == "filter.created_from"


SCALARS = st.one_of(
    st.sampled_from(["north", "", "x" * 256, "x" * 257, "\0", "\ud800", 1, 2.5, 2**53, 2**53 + 1]),
    st.booleans(),
    st.none(),
    st.just([]),
)
WANTED = st.one_of(
    SCALARS,
    st.fixed_dictionaries({"in": st.lists(SCALARS, max_size=3)}),
    st.fixed_dictionaries({"in": st.just(["x"] * 51)}),
    st.fixed_dictionaries({"exists": SCALARS}),
    st.just({"in": ["x"], "exists": True}),
    st.just({}),
)
NAMES = st.sampled_from(["area", "a' or 'x'='x", "", "x" * 64, "x" * 65, "a\0"])
IDS = st.sampled_from(["6f1c1c7e-6f0f-4a0e-9f0d-0c6d0d0c0b0a", "x", 1])
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "document_ids": st.one_of(st.none(), st.lists(IDS, max_size=2), IDS),
        "media_types": st.one_of(
            st.none(), st.lists(st.sampled_from(["text/plain", "x" * 201, "\0", 1]), max_size=21)
        ),
        "created_from": st.sampled_from(
            [None, "2020-01-01T00:00:00Z", "2020-01-01T00:00:00+01:00", "2020-01-01T00:00:00", "x"]
        ),
        "metadata": st.one_of(st.none(), st.dictionaries(NAMES, WANTED, max_size=3), SCALARS),
        "tenant_id": st.just("globex"),
    },
)


def as_http_reads_it(said: Any) -> Any:
    try:
        return FilterBody.model_validate_json(json.dumps(said)).parsed()
    except (Invalid, ValidationError):
        return None


@for_all(FILTERS)
def test_a_filter_that_is_stored_is_read_as_one_that_is_sent(said: Any) -> None:
    try:
        read = parse_filter(said)
    except Invalid:
        read = None
    assert read == as_http_reads_it(said)
