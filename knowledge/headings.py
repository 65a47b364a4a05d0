"""Headings of a Markdown text: the sections they open, and the first of them."""

import re
from collections.abc import Iterator
from io import StringIO

_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*\Z")
_FENCE = re.compile(r" {0,3}(```|~~~)")

Section = tuple[tuple[str, ...], str]


def sections(text: str) -> Iterator[Section]:
    """The path of headings above each stretch of text, and that text; stretches may be empty."""
    path: list[tuple[int, str]] = []
    body: list[str] = []
    for heading, line in _lines(text):
        if heading is None:
            body.append(line)
            continue
        yield _names(path), "\n".join(body)
        level, name = heading
        path, body = [*(h for h in path if h[0] < level), (level, name)], []
    yield _names(path), "\n".join(body)


def first_heading(text: str) -> str | None:
    """The first heading that says something."""
    return next((h[1] for h, _ in _lines(text) if h and h[1]), None)


def _lines(text: str) -> Iterator[tuple[tuple[int, str] | None, str]]:
    fence = None
    for ended in StringIO(text):  # line by line: a list of millions holds the interpreter
        line = ended.removesuffix("\n")
        if mark := _FENCE.match(line):
            fence = mark[1] if fence is None else None if fence == mark[1] else fence
        match = None if fence or len(line) > 1000 else _HEADING.match(line)
        yield match and (len(match[1]), (match[2] or "").strip()), line


def _names(path: list[tuple[int, str]]) -> tuple[str, ...]:
    return tuple(name for _, name in path if name)
