"""The lines of a Markdown text: which are headings, which are code, and the first heading."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*\Z")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_MAX_HEADING = 1000


@dataclass(frozen=True, slots=True)
class Line:
    """Where a line stands, its ending included; `level` and `name` are those of a heading."""

    start: int
    end: int
    level: int | None = None
    name: str = ""
    is_code: bool = False
    opens_fence: bool = False


def lines_of(text: str, start: int = 0, end: int | None = None) -> Iterator[Line]:
    """Every line from `start` to `end`; what is fenced is code, its fences included."""
    end = len(text) if end is None else end
    fence = ""
    while start < end:
        after = text.find("\n", start, end) + 1 or end
        mark = _FENCE.match(text, start, after)
        if fence:
            yield Line(start, after, is_code=True)
            if mark and mark[1].startswith(fence):
                fence = ""
        elif mark:
            fence = mark[1]
            yield Line(start, after, is_code=True, opens_fence=True)
        else:
            yield _plain(text, start, after)
        start = after


def first_heading(text: str) -> str | None:
    """The first heading that says something."""
    return next((line.name for line in lines_of(text) if line.name), None)


def _plain(text: str, start: int, end: int) -> Line:
    if end - start > _MAX_HEADING:
        return Line(start, end)
    match = _HEADING.match(text[start:end].removesuffix("\n"))
    if match is None:
        return Line(start, end)
    return Line(start, end, len(match[1]), (match[2] or "").strip())
