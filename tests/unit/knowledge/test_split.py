"""How a text becomes passages."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge import split as splitting
from knowledge.media import HTML, MARKDOWN, PDF, PLAIN
from knowledge.split import MAX_PATH_CHARACTERS, PASSAGE_CHARACTERS, split
from tenancy.errors import Invalid

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


def test_a_passage_names_the_headings_above_it() -> None:
    assert split(SHIPPING, MARKDOWN) == [
        "Welcome.",
        "Shipping\nWe ship.",
        "Shipping > Costs\nStandard is $5.\n\n```\n# no heading\n```",
        "Shipping > Times",
        "Returns\n30 days.",
    ]


def test_plain_text_has_no_headings() -> None:
    assert split(SHIPPING, PLAIN) == [SHIPPING]


def test_levels_may_be_skipped_and_headings_be_empty() -> None:
    text = "### Deep\na\n#\nb\n## Two\nc\n#Tag\n####### seven\n    # code"
    assert split(text, MARKDOWN) == [
        "Deep\na",
        "b",
        "Two\nc\n#Tag\n####### seven\n    # code",
    ]


def test_headings_alone_are_still_found() -> None:
    assert split("# Questions\n## Do you ship? Yes.\n## To Mars? No.", HTML) == [
        "Questions > Do you ship? Yes.",
        "Questions > To Mars? No.",
    ]


def test_long_text_is_cut_between_sentences_and_overlaps_by_some() -> None:
    sentences = [f"This is sentence number {n} of a long paragraph." for n in range(100)]
    passages = split(" ".join(sentences), PDF)
    assert all(p.endswith(".") and len(p) <= PASSAGE_CHARACTERS for p in passages)
    for earlier, later in pairwise(passages):
        assert earlier.rsplit(". ", 1)[-1] in later
    assert all(any(sentence in p for p in passages) for sentence in sentences)


def test_one_endless_line_is_cut() -> None:
    passages = split("x" * 100_000, PLAIN)
    assert max(map(len, passages)) <= PASSAGE_CHARACTERS
    assert sum(map(len, passages)) >= 100_000


def test_an_endless_heading_is_cut() -> None:
    [passage] = split(f"# {'x ' * 400}\nbody", MARKDOWN)
    assert len(passage) <= MAX_PATH_CHARACTERS + len("\nbody")


def test_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitting, "MAX_PASSAGES", 3)
    assert len(split("# a\nx\n# b\ny\n# c\nz", MARKDOWN)) == 3
    with pytest.raises(Invalid, match="not valid"):
        split("# a\nx\n# b\ny\n# c\nz\n# d\nw", MARKDOWN)
    with pytest.raises(Invalid, match="not valid"):
        split("x" * 3000, PLAIN)


texts = st.lists(st.sampled_from(["# a", "## b", "```", "", "word " * 30, "\t- x", " "])).map(
    "\n".join
)


@given(texts | st.text(), st.sampled_from([MARKDOWN, PLAIN, HTML, PDF]))
def test_passages_are_never_blank_and_always_the_same(text: str, media_type: str) -> None:
    passages = split(text, media_type)
    assert all(p.strip() for p in passages)
    assert passages == split(text, media_type)


@given(texts | st.text(), st.sampled_from([MARKDOWN, PLAIN]))
def test_no_word_is_lost(text: str, media_type: str) -> None:
    kept = "".join(split(text, media_type))
    words = {word.strip("#") for word in text.split() if len(word) < 100}
    assert all(word in kept for word in words)
