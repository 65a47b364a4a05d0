"""Which passages an answer cites."""

import re
from collections.abc import Iterator, Sequence

from typing_extensions import TypedDict

_MARK = re.compile(r"\[\s*([0-9]{1,6}(?:\s*[,;]\s*[0-9]{1,6})*)\s*\]")


class Citation(TypedDict):
    """A passage as an answer cites it; `n` is the number the answer gives it."""

    n: int
    document_id: str
    passage_id: str
    title: str


def citations(answer: str, passages: Sequence[Citation]) -> list[Citation]:
    """The `passages` that marks such as `[1]` and `[2, 3]` name, in order of first appearance.

    A number that no passage has is passed over.
    """
    known = {passage["n"]: passage for passage in passages}
    return [_citation(known[n]) for n in dict.fromkeys(_numbers(answer)) if n in known]


def _numbers(answer: str) -> Iterator[int]:
    for mark in _MARK.finditer(answer):
        yield from (int(number) for number in re.split(r"[,;]", mark[1]))


def _citation(passage: Citation) -> Citation:
    return Citation(
        n=passage["n"],
        document_id=passage["document_id"],
        passage_id=passage["passage_id"],
        title=passage["title"],
    )
