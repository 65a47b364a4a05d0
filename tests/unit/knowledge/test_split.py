"""How a text becomes passages."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge import split as splitter
from knowledge.media import HTML, MARKDOWN, PDF, PLAIN
from knowledge.pieces import MAX_PATH_CHARACTERS, PIECE_CHARACTERS
from knowledge.split import split
from tenancy.errors import Invalid

TABLE = "| Item | Price |\n|---|---|\n"
SHIPPING = """Welcome.

# Shipping

We ship.

## Costs ##

Standard is $5.

```
# no heading
```

## Times

# Returns
30 days."""


def texts(text: str, media_type: str) -> list[str]:
    return [piece.text for piece in split(text, media_type)]


def test_a_passage_names_the_headings_above_it() -> None:
    assert texts(SHIPPING, MARKDOWN) == [
        "Welcome.",
        "Shipping\nWe ship.",
        "Shipping > Costs\nStandard is $5.\n\n```\n# no heading\n```",
        "Shipping\nTimes",
        "Returns\n30 days.",
    ]


def test_plain_text_has_no_headings() -> None:
    assert texts(SHIPPING, PLAIN) == [SHIPPING]


def test_levels_may_be_skipped_and_headings_be_empty() -> None:
    text = "### Deep\na\n#\nb\n## Two\nc\n#Tag\n####### seven\n    # code"
    assert texts(text, MARKDOWN) == [
        "Deep\na",
        "b",
        "Two\nc\n#Tag\n####### seven\n    # code",
    ]


def test_headings_alone_are_still_found() -> None:
    assert texts("# Questions\n## Do you ship? Yes.\n## To Mars? No.", HTML) == [
        "Questions\nDo you ship? Yes.\n## To Mars? No."
    ]


def test_long_text_is_cut_between_sentences_and_overlaps_by_some() -> None:
    sentences = [f"This is sentence number {n} of a long paragraph." for n in range(100)]
    passages = texts(" ".join(sentences), PDF)
    assert all(p.endswith(".") and len(p) <= PIECE_CHARACTERS for p in passages)
    for earlier, later in pairwise(passages):
        assert earlier.rsplit(". ", 1)[-1] in later
    assert all(any(sentence in p for p in passages) for sentence in sentences)


def test_one_endless_line_is_cut() -> None:
    passages = texts("x" * 100_000, PLAIN)
    assert max(map(len, passages)) <= PIECE_CHARACTERS
    assert sum(map(len, passages)) >= 100_000


def test_an_endless_heading_is_cut() -> None:
    [passage] = texts(f"# {'x ' * 400}\nbody", MARKDOWN)
    assert len(passage) <= MAX_PATH_CHARACTERS + len("\nbody")


def test_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitter, "MAX_PASSAGES", 3)
    assert len(split("# a\nx\n# b\ny\n# c\nz", MARKDOWN)) == 3
    with pytest.raises(Invalid, match="not valid"):
        split("# a\nx\n# b\ny\n# c\nz\n# d\nw", MARKDOWN)
    with pytest.raises(Invalid, match="not valid"):
        split("x" * 3000, PLAIN)


documents = st.lists(
    st.sampled_from(
        [
            "# a",
            "## b",
            "```",
            "",
            "word " * 30,
            "\t- x",
            " ",
            TABLE,
            "| x | 1 |\n" * 60,
            "- item\n  more",
        ]
    )
).map("\n".join)


@given(documents | st.text(), st.sampled_from([MARKDOWN, PLAIN, HTML, PDF]))
def test_passages_are_never_blank_and_always_the_same(text: str, media_type: str) -> None:
    passages = texts(text, media_type)
    assert all(p.strip() for p in passages)
    assert passages == texts(text, media_type)


@given(documents | st.text(), st.sampled_from([MARKDOWN, PLAIN]))
def test_no_word_is_lost(text: str, media_type: str) -> None:
    kept = "".join(texts(text, media_type))
    words = {word.strip("#") for word in text.split() if len(word) < 100}
    assert all(word in kept for word in words)


@given(documents | st.text(), st.sampled_from([MARKDOWN, PLAIN, HTML]))
def test_a_passage_ends_with_the_documents_own_text(text: str, media_type: str) -> None:
    for piece in split(text, media_type):
        body = text[piece.start : piece.end]
        assert body.strip()
        assert piece.text.endswith(body)
        assert all(name in text for name in piece.path)


def test_code_that_fits_is_never_torn() -> None:
    code = "```python\n" + "\n\n".join(f"def f{n}():\n    return {n}" for n in range(20)) + "\n```"
    text = f"# Code\n\n{'Before. ' * 60}\n\n{code}\n\n{'After. ' * 60}"
    assert sum(code in passage for passage in texts(text, MARKDOWN)) == 1


def test_a_table_that_is_cut_repeats_its_header() -> None:
    rows = "".join(f"| thing number {n} | {n} euros |\n" for n in range(120))
    passages = texts(f"# Prices\n\n{TABLE}{rows}", MARKDOWN)
    assert len(passages) > 3
    assert all(p.startswith(f"Prices\n{TABLE.rstrip()}") for p in passages)
    assert all(len(p) <= PIECE_CHARACTERS + MAX_PATH_CHARACTERS + len(TABLE) for p in passages)


def test_list_items_are_not_torn() -> None:
    items = [f"- item {n} says\n  something in two lines of its own" for n in range(60)]
    passages = texts("\n".join(items), MARKDOWN)
    assert len(passages) > 2
    assert all(any(item in p for p in passages) for item in items)


def test_no_passage_goes_from_one_page_to_the_next() -> None:
    pages = ["First page.", "Second page. " * 100, "Third."]
    text, starts = "\n\n".join(pages), [0, 13, 13 + len(pages[1]) + 2]
    pieces = split(text, PDF, pages=starts)
    found = [piece.page for piece in pieces]
    assert found == [1, *[2] * (len(found) - 2), 3]
    assert all(piece.text in pages[(piece.page or 0) - 1] for piece in pieces)


def test_a_file_without_pages_has_none() -> None:
    assert [piece.page for piece in split("Text.", PLAIN)] == [None]
