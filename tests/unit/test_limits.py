"""Limits on top of a plan: what may be said, what holds, and where it comes from."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenancy.errors import Invalid
from tenancy.ids import SubjectId
from tenancy.limits import (
    USER_LIMITS,
    Limits,
    Source,
    limits_of_user,
    parse_limits,
    parse_user_limits,
    require_narrower,
    text_of,
)
from tenancy.plan import FIELDS, FREE, LISTS, MAX_LIMIT, PRO, UNLIMITED, change_plan, parse_field
from tenancy.price import Price, minor_units, parse_model, parse_price, price_document

ANN = SubjectId("ann")
figures = st.one_of(st.just(UNLIMITED), st.integers(0, MAX_LIMIT))


def as_number(figure: int) -> float:
    return float("inf") if figure == UNLIMITED else figure


# -- what may be said


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        ({"tokens_per_day": " 5 "}, {"tokens_per_day": "5"}),
        ({"tokens_per_day": "1_000"}, {"tokens_per_day": "1000"}),
        ({"tokens_per_day": "-1"}, {"tokens_per_day": "-1"}),
        ({"tokens_per_day": ""}, {"tokens_per_day": ""}),
        ({"models": "a , b,"}, {"models": "a,b"}),
        ({"degrade": ","}, {"degrade": ","}),
        ({"degrade": ""}, {"degrade": ""}),
        ({"cheaper_model": " small "}, {"cheaper_model": "small"}),
        ({"cheaper_model": " "}, {"cheaper_model": " "}),
    ],
)
def test_a_limit_is_stored_in_one_spelling(said: dict[str, str], stored: dict[str, str]) -> None:
    assert parse_limits(said) == stored
    assert parse_limits(parse_limits(said)) == stored


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("colour", "5", "is no field of a plan"),
        ("colour", "", "is no field of a plan"),
        ("plan_id", "pro", "is no field of a plan"),
        ("tokens_per_day", "many", "whole number"),
        ("tokens_per_day", "1.5", "whole number"),
        ("tokens_per_day", "9" * 5000, "whole number"),
        ("tokens_per_day", "-2", "must be 0 to"),
        ("tokens_per_day", str(MAX_LIMIT + 1), "must be 0 to"),
        ("weight", "0", "must be 1 to"),
        ("burst", "-1", "must be 1 to"),
        ("degrade", "pray", "must list steps"),
        ("models", "a\0b", "must name things"),
        ("cheaper_model", "x" * 129, "must name things"),
    ],
)
def test_what_is_no_limit_is_refused_by_name(name: str, text: str, says: str) -> None:
    with pytest.raises(Invalid) as raised:
        parse_limits({name: text})
    assert raised.value.field == name
    assert says in raised.value.message


@pytest.mark.parametrize("name", USER_LIMITS)
def test_a_users_limit_has_its_name_with_and_without_the_prefix(name: str) -> None:
    assert parse_user_limits({name: "7"}) == {name: "7"}
    assert parse_user_limits({name.removeprefix("user_"): "7"}) == {name: "7"}


@pytest.mark.parametrize("name", ["weight", "user_weight", "models", "documents", "user_", ""])
def test_what_no_user_has_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="not valid") as raised:
        parse_user_limits({name: "1"})
    assert raised.value.field == name


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("plan", [FREE, PRO], ids=["free", "pro"])
def test_a_value_is_read_back_from_its_text(plan: object, name: str) -> None:
    value = getattr(plan, name)
    assert text_of(value)
    assert parse_field(name, text_of(value)) == value


def test_an_empty_list_has_a_text() -> None:
    assert all(parse_field(name, text_of(())) == () for name in LISTS)


# -- what holds


def test_the_nearest_says_what_holds() -> None:
    own = {"user_tokens_per_day": "500", "weight": "3"}
    limits = Limits(change_plan(PRO, own), own, {ANN: {"user_tokens_per_day": "9"}})
    names = ("user_tokens_per_day", "weight", "burst")

    def shown(subject: SubjectId | None) -> list[tuple[object, Source]]:
        found = {each.field: each for each in limits.effective(subject)}
        return [(found[name].value, found[name].source) for name in names]

    of_all = [(500, Source.TENANT), (3, Source.TENANT), (60, Source.PLAN)]
    assert shown(None) == shown(SubjectId("bob")) == of_all
    assert shown(ANN) == [(9, Source.USER), *of_all[1:]]


def test_every_field_is_shown_once() -> None:
    assert tuple(each.field for each in Limits(FREE, {}, {}).effective()) == FIELDS


@given(plan=figures, given_=st.none() | figures, narrowed=figures)
def test_what_an_admin_says_only_narrows(plan: int, given_: int | None, narrowed: int) -> None:
    bought = replace(FREE, user_tokens_per_day=plan)
    given_limits = {} if given_ is None else {"user_tokens_per_day": str(given_)}
    without = change_plan(bought, given_limits).user_tokens_per_day
    said = {"user_tokens_per_day": str(narrowed)}
    holds = change_plan(bought, limits_of_user(bought, given_limits, said)).user_tokens_per_day
    assert as_number(holds) == min(as_number(without), as_number(narrowed))


@given(most=figures, said=figures)
def test_more_than_there_is_cannot_be_said(most: int, said: int) -> None:
    plan, wanted = replace(FREE, user_money_per_day=most), {"user_money_per_day": str(said)}
    if as_number(said) <= as_number(most):
        require_narrower(plan, {}, wanted)
    else:
        with pytest.raises(Invalid) as raised:
            require_narrower(plan, {}, wanted)
        assert raised.value.message == f"must be at most {most}, as the tenant has it"


def test_what_is_taken_back_is_never_too_much() -> None:
    require_narrower(replace(FREE, user_money_per_day=1), {}, {"user_money_per_day": ""})


# -- money


@pytest.mark.parametrize(
    ("text", "shown"), [("15", "15"), ("7.50", "7.5"), ("0", "0"), ("1e9", "1000000000")]
)
def test_a_price_is_shown_as_it_is_said(text: str, shown: str) -> None:
    price = Price("m", parse_price("input", text), 0)
    assert price_document(price) == {"model": "m", "input": shown, "output": "0"}


@pytest.mark.parametrize(
    ("micros", "shown"),
    [(0, "0"), (1, "0.000001"), (1_500_000, "1.5"), (10**15, "1000000000")],
)
def test_an_amount_is_shown_in_minor_units(micros: int, shown: str) -> None:
    assert minor_units(micros) == shown


def test_a_models_name_is_stripped() -> None:
    assert parse_model("model", " gpt ") == "gpt"


@pytest.mark.parametrize("name", ["", " ", "a\0", "\ud800", "x" * 129, None, 5])
def test_what_names_no_model_is_refused(name: object) -> None:
    with pytest.raises(Invalid):
        parse_model("model", name)
