"""Which passages an answer cites, and which it only seems to."""

import re
from collections.abc import Container, Iterator, Sequence
from typing import NotRequired

from typing_extensions import TypedDict

_MARK = re.compile(r"\[\s*([0-9]{1,6}(?:\s*[,;]\s*[0-9]{1,6})*)\s*\]")

# What decides about a mark: code, where brackets are no marks; the end of inline code that nobody
# closed; a mark with the blanks before it, but no link's text and none inside other brackets,
# which would close to a mark of their own.
_INNER = r"[\s0-9,;]{0,64}"
_TOKENS = re.compile(
    rf"(?P<ticks>`+)|(?P<gap>\n[ \t]{{0,32}}\n)"
    rf"|(?P<lead>[ \t]{{0,32}}){_MARK.pattern}(?!\(|{_INNER}\])"
)
# The end of a piece that the next one may turn into such a token.
_OPEN = re.compile(rf"(?:`{{1,32}}|\n[ \t]{{0,32}}|[ \t]{{0,32}}(?:\[{_INNER}(?:\]{_INNER})?)?)\Z")
_MAX_NUMBER = 999  # a higher one is a year or a code, and no model counts passages so far
_FENCE = "```"


class Citation(TypedDict):
    """A passage as an answer cites it; `n` is the number the answer gives it.

    `corpus_id` is there where the passage is of a shared corpus.
    """

    n: int
    document_id: str
    passage_id: str
    title: str
    corpus_id: NotRequired[str]


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
    cited = Citation(
        n=passage["n"],
        document_id=passage["document_id"],
        passage_id=passage["passage_id"],
        title=passage["title"],
    )
    if "corpus_id" in passage:
        cited["corpus_id"] = passage["corpus_id"]
    return cited


class KnownMarks:
    """Takes from an answer, piece by piece, the marks of numbers that no passage has.

    A mark in code and the text of a link are left, and so are numbers above 999.
    """

    def __init__(self, known: Container[int]) -> None:
        self.known = known
        self._held = ""
        self._code = ""  # the backticks that opened the code that we are in

    def feed(self, text: str) -> str:
        """What can be said of the answer by now; the rest is held back for its next piece."""
        text = self._held + text
        open_end = _OPEN.search(text)
        decided = open_end.start() if open_end else len(text)
        self._held = text[decided:]
        return _TOKENS.sub(self._replaced, text[:decided])

    def end(self) -> str:
        """The rest."""
        rest, self._held = self._held, ""
        return _TOKENS.sub(self._replaced, rest)

    def _replaced(self, token: re.Match[str]) -> str:
        if ticks := token["ticks"]:
            self._code = "" if ticks == self._code else self._code or ticks
        elif token["gap"]:
            self._code = self._code if self._code.startswith(_FENCE) else ""
        elif not self._code:
            return self._mark(token)
        return token[0]

    def _mark(self, token: re.Match[str]) -> str:
        numbers = [*_numbers(token[0])]
        kept = [n for n in numbers if n in self.known or n > _MAX_NUMBER]
        if kept == numbers:
            return token[0]
        return f"{token['lead']}[{', '.join(map(str, kept))}]" if kept else ""


def with_known_marks(answer: str, passages: Sequence[Citation]) -> str:
    """`answer` without marks of numbers that none of the `passages` has; itself if only those."""
    marks = KnownMarks({passage["n"] for passage in passages})
    said = marks.feed(answer) + marks.end()
    return said if said.strip() else answer
