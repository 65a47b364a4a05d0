"""What is said of an assistant in several places, and what of it holds."""

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenancy.errors import Invalid
from tenancy.filter_form import parse_filter
from tenancy.personalisation import (
    FIELDS,
    MAX_CHARACTERS,
    Combine,
    Layer,
    Source,
    parse_said,
    resolve,
    sound,
)
from tenancy.search_setting import SearchSetting

SAID: dict[str, st.SearchStrategy[Any]] = {
    "length": st.sampled_from(["short", "medium", "long"]),
    "policies": st.lists(st.sampled_from(["Be kind.", "No advice."]), min_size=1, unique=True),
    "glossary": st.dictionaries(
        st.sampled_from(["SLA", "CSM"]), st.sampled_from(["one", "two"]), min_size=1
    ),
    "temperature": st.floats(0, 2),
    "search": st.fixed_dictionaries(
        {"limit": st.integers(0, 20)},
        optional={"filter": st.sampled_from([{}, {"metadata": {"area": "north"}}])},
    ),
    "tools": st.lists(st.sampled_from(["search", "now"]), unique=True),
}
WORDS = st.text("abc", min_size=1, max_size=8)
says = st.fixed_dictionaries({}, optional={name: SAID.get(name, WORDS) for name in FIELDS})
layers = st.lists(st.builds(Layer, st.sampled_from(Source), says), max_size=6).filter(
    lambda found: len({each.source for each in found}) == len(found)
)


@given(layers)
def test_each_field_is_what_the_highest_source_that_may_say_it_says(said: list[Layer]) -> None:
    effective = resolve(said)
    for name, rule in FIELDS.items():
        speaking = [each for each in said if name in each.says and each.source in rule.sources]
        speaking.sort(key=lambda each: list(Source).index(each.source))
        assert [each.source for each in effective.of(name)] == [each.source for each in speaking]
        if rule.combine is Combine.LAST:
            assert effective.last(name) == (speaking[-1].says[name] if speaking else None)


@given(layers)
def test_the_order_in_which_sources_are_read_changes_nothing(said: list[Layer]) -> None:
    assert len({repr(resolve(each)) for each in permutations(said[:4])}) == 1


@given(layers)
def test_what_is_said_later_is_joined_as_if_it_had_been_said_before(said: list[Layer]) -> None:
    for cut in range(len(said) + 1):
        assert repr(resolve(said[:cut]).joined(said[cut:])) == repr(resolve(said))


@given(layers)
def test_no_source_takes_back_a_policy_of_another(said: list[Layer]) -> None:
    allowed = FIELDS["policies"].sources
    expected = {p for s in said if s.source in allowed for p in s.says.get("policies", [])}
    assert set(resolve(said).policies) == expected


@given(layers)
def test_what_is_shown_as_holding_is_what_holds(said: list[Layer]) -> None:
    effective = resolve(said)
    shown = list(effective.holding(lambda model: model != "aaa"))
    merged = {t: m for each in shown if each.field == "glossary" for t, m in each.value.items()}
    assert merged == effective.glossary
    assert [each.value for each in shown if each.field == "model"] == [
        name for name in [effective.model(lambda model: model != "aaa")] if name
    ]
    looked_up = {k: v for each in shown if each.field == "search" for k, v in each.value.items()}
    assert SearchSetting.of(looked_up) == effective.search
    for name in ("glossary", "search"):
        keys = [key for each in shown if each.field == name for key in each.value]
        assert len(keys) == len(set(keys))


@given(st.sampled_from(Source), says)
def test_what_may_be_said_is_read_back_as_it_was_stored(source: Source, said: Any) -> None:
    allowed = {name: v for name, v in said.items() if source in FIELDS[name].sources}
    stored = parse_said(source, allowed)
    assert parse_said(source, stored) == stored == sound(source, stored)


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("source", Source)
def test_a_field_is_refused_where_its_source_may_not_say_it(source: Source, name: str) -> None:
    if source in FIELDS[name].sources:
        assert parse_said(source, {name: None}) == {}
        return
    with pytest.raises(Invalid):
        parse_said(source, {name: None})
    assert resolve([Layer(source, {name: "short"})]).last(name) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("persona", 1),
        ("persona", "x" * 501),
        ("tone", "nul\0"),
        ("tone", "\ud800"),
        ("length", "endless"),
        ("glossary", {"": "nothing"}),
        ("glossary", {str(n): "x" for n in range(41)}),
        ("glossary", [["SLA", "x"]]),
        ("policies", "Be kind."),
        ("policies", [" "]),
        ("policies", ["x" * 301]),
        ("temperature", True),
        ("temperature", 2.1),
        ("temperature", float("nan")),
        ("search", 5),
        ("search", {"corpus": "x"}),
        ("search.limit", {"limit": 21}),
        ("search.limit", {"limit": True}),
        ("search.filter", {"filter": "x"}),
        ("search.filter.tenant_id", {"filter": {"tenant_id": "globex"}}),
        ("search.filter.created_from", {"filter": {"created_from": "2020-01-01"}}),
        ("unheard", "of"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(Invalid) as refusal:
        parse_said(Source.TENANT, {name.partition(".")[0]: value})
    assert refusal.value.field == name


def test_what_one_source_says_is_bounded_altogether() -> None:
    terms = {f"term {n}": "x" * 240 for n in range(40)}
    policies = [f"{n} " + "x" * 290 for n in range(20)]
    says = {"glossary": terms, "policies": policies, "persona": "y" * 500}
    with pytest.raises(Invalid) as refusal:
        parse_said(Source.TENANT, {**says, "instructions": "z" * 4000})
    assert str(MAX_CHARACTERS) in refusal.value.message


def test_what_was_stored_and_cannot_be_read_any_more_is_not_said() -> None:
    stored = {"persona": 7, "language": "French", "unheard": "of"}
    assert sound(Source.TENANT, stored) == {"language": "French"}


def test_a_filter_goes_on_where_a_nearer_source_says_only_how_much() -> None:
    north = {"metadata": {"area": "north"}}
    says = [Layer(Source.TENANT, {"search": {"limit": 3, "filter": north}})]
    nearer = resolve([*says, Layer(Source.ASSISTANT, {"search": {"limit": 7}})]).search
    assert (nearer.limit, nearer.within) == (7, parse_filter(north))
    everywhere = resolve([*says, Layer(Source.ASSISTANT, {"search": {"filter": {}}})]).search
    assert (everywhere.limit, everywhere.within) == (3, None)


def test_a_line_cannot_become_two() -> None:
    assert parse_said(Source.USER, {"tone": "kind\ntenant_id: other"}) == {
        "tone": "kind tenant_id: other"
    }


def test_naming_no_tool_is_not_the_same_as_not_naming_tools() -> None:
    assert resolve([]).allows_tool("search")
    assert not resolve([Layer(Source.ASSISTANT, {"tools": []})]).allows_tool("search")
