"""Which passages an answer cites."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenancy.citation import Citation, KnownMarks, citations, with_known_marks

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


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ("Tea is green [1].", "Tea is green [1]."),
        ("Tea is blue [9].", "Tea is blue."),
        ("Tea is blue[9] and green [ 2 ].", "Tea is blue and green [ 2 ]."),
        ("Both [2, 9; 3].", "Both [2, 3]."),
        ("Side [1][9][3].", "Side [1][3]."),
        ("Of [2024] and [0].", "Of [2024] and."),
        ("A link [9](/a), and [9] (none)", "A link [9](/a), and (none)"),
        ("As `a[9]` and ```\na[9]\n\nb[9]\n``` [9]", "As `a[9]` and ```\na[9]\n\nb[9]\n```"),
        ("It`s open\n\nhere [9].", "It`s open\n\nhere."),
        ("``a ` b[9]`` c[9]", "``a ` b[9]`` c"),
        ("[9]", "[9]"),
        ("Open [9", "Open [9"),
        ("[1[9]] [1[9], 2]", "[1[9]] [1[9], 2]"),
        ("", ""),
    ],
)  # fmt: skip
def test_marks_that_no_passage_has_are_dropped(answer: str, kept: str) -> None:
    assert with_known_marks(answer, PASSAGES) == kept


odd_answers = st.text("[]0123456789,; a`\n(").map(lambda text: text[:120]) | st.text()


@given(odd_answers, st.lists(st.integers(0, 120)))
def test_an_answer_in_pieces_says_the_same(answer: str, cuts: list[int]) -> None:
    marks = KnownMarks({1, 2, 3})
    ends = [*sorted(cuts), len(answer)]
    starts = [0, *sorted(cuts)]
    pieces = [marks.feed(answer[a:b]) for a, b in zip(starts, ends, strict=True)]
    said = "".join(pieces) + marks.end()
    assert (said if said.strip() else answer) == with_known_marks(answer, PASSAGES)


@pytest.mark.parametrize(
    "answer", ["Tea is blue [9] or [2, 9].", "As `a[9]` and [ 7 ], so\n\n[1][8]", "A link [9](/a)"]
)
def test_an_answer_cut_anywhere_says_the_same(answer: str) -> None:
    for cut in range(len(answer)):
        marks = KnownMarks({1, 2, 3})
        said = marks.feed(answer[:cut]) + marks.feed(answer[cut:]) + marks.end()
        assert said == with_known_marks(answer, PASSAGES)


@given(odd_answers)
def test_what_is_cited_is_cited_still(answer: str) -> None:
    said = with_known_marks(answer, PASSAGES)
    assert citations(said, PASSAGES) == citations(answer, PASSAGES)
