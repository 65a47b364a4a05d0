"""Where running text may be cut: between paragraphs, lines, sentences and words."""

import re
from collections.abc import Iterator

from knowledge.pieces import OVERLAP_CHARACTERS, PIECE_CHARACTERS, Span

_SENTENCE = re.compile(r"[.!?][\"'”’)\]]*\s+|[。！？]")


def paragraphs(text: str, start: int, end: int) -> Iterator[Span]:
    """The paragraphs between `start` and `end`, each with the blank lines after it."""
    begin = start
    while begin < end:
        at = text.find("\n\n", begin, end)
        after = end if at < 0 else _skip(text, at, end)
        yield begin, after
        begin = after


def lines(text: str, start: int, end: int) -> Iterator[Span]:
    """The lines between `start` and `end`, each with its ending."""
    while start < end:
        after = text.find("\n", start, end) + 1 or end
        yield start, after
        start = after


def small(text: str, start: int, end: int, limit: int = PIECE_CHARACTERS) -> Iterator[Span]:
    """The span, or its lines, or where a line is longer than `limit` its sentences."""
    if end - start <= limit:
        yield start, end
        return
    for line in lines(text, start, end):
        yield from _sentences(text, *line, limit)


def _sentences(text: str, start: int, end: int, limit: int) -> Iterator[Span]:
    while end - start > limit:
        found = _SENTENCE.search(text, start, start + limit)
        after = found.end() if found else _words(text, start, min(limit, OVERLAP_CHARACTERS))
        yield start, after
        start = after
    if start < end:
        yield from _rest(text, start, end)


def _rest(text: str, start: int, end: int) -> Iterator[Span]:
    for found in _SENTENCE.finditer(text, start, end):
        yield start, found.end()
        start = found.end()
    if start < end:
        yield start, end


def _words(text: str, start: int, limit: int) -> int:
    """Where the last word ends that begins within `limit` characters, or the limit."""
    at = text.rfind(" ", start + 1, start + limit)
    return at + 1 if at >= 0 else start + limit


def _skip(text: str, at: int, end: int) -> int:
    while at < end and text[at] in "\n \t":
        at += 1
    return at if text[at - 1] == "\n" or at == end else text.rfind("\n", 0, at) + 1
