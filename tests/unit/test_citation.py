"""Which passages an answer cites."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenancy.citation import Citation, citations

PASSAGES = [
    Citation(n=n, document_id=f"d{n}", passage_id=f"p{n}", title=f"Title {n}") for n in (1, 2, 3)
]


@pytest.mark.parametrize(
    ("answer", "numbers"),
    [
        ("No marks.", []),
        ("Returns take 30 days [1].", [1]),
        ("Both [2, 3], and [1].", [2, 3, 1]),
        ("Side by side [3][1] and again [3].", [3, 1]),
        ("Spaced [ 1 ; 2 ].", [1, 2]),
        ("Out of range [0] [4] [99, 2] [-1].", [2]),
        ("No marks: [], [a], [1.5], [1 2], [x1], (1), 1], [2", []),
        (f"Long [{'9' * 5000}] and [1{',1' * 5000}]", [1]),
        ("Before a word [1]st, and as a link [2](https://example.com)", [1, 2]),
        ("[[3]]", [3]),
        ("[001]", [1]),
        ("[١]", []),
    ],
)
def test_marks_name_passages_in_order_of_first_appearance(answer: str, numbers: list[int]) -> None:
    assert [each["n"] for each in citations(answer, PASSAGES)] == numbers


def test_a_citation_has_what_clients_are_promised_and_no_more() -> None:
    passage = {**PASSAGES[0], "text": "secret sauce"}
    assert citations("[1]", [passage]) == [PASSAGES[0]]


@given(st.text("[]0123456789,; a") | st.text())
def test_no_answer_is_too_odd(answer: str) -> None:
    assert all(each in PASSAGES for each in citations(answer, PASSAGES))
