"""HTML cut into tags and text, in one pass.

Not `html.parser`: before Python 3.11.14 it takes quadratic time over unclosed comments
(CVE-2025-6069), and two megabytes of them held a core for longer than we cared to wait. Here what
is never closed ends with the page, as in a browser, so that no character is looked at twice.
"""

import re
from collections.abc import Iterator
from enum import Enum, auto
from html import unescape

_TAG = re.compile(r"""<(/?)([a-z][^\s/>]*+)(?:=\s*+(?:"[^"]*+"|'[^']*+')|[^>])*+>""", re.IGNORECASE)
_RAW = {
    name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE)
    for name in ("script", "style", "textarea", "title", "iframe", "noframes", "xmp")
}
_ESCAPED = ("textarea", "title")
_HIDDEN = re.compile(
    r"""\shidden(?=[\s/=>])
    |\sstyle\s*=\s*(?:"[^"]*|'[^']*)(?<![\w-])(?:display\s*:\s*none|visibility\s*:\s*hidden
        |(?:font-size|opacity)\s*:\s*0(?![.\d]))""",
    re.IGNORECASE | re.VERBOSE,
)


class Kind(Enum):
    """What a token is; its text is a tag's name in lower case, or text as a reader sees it."""

    OPEN = auto()
    HIDE = auto()  # the tag of an element that the page itself does not show
    CLOSE = auto()
    TEXT = auto()


Token = tuple[Kind, str]


def tokens(page: str) -> Iterator[Token]:
    """The tags and texts of `page`, in order, comments and declarations left out."""
    at = 0
    while 0 <= at < len(page):
        start = page.find("<", at)
        if start != at:
            yield Kind.TEXT, unescape(page[at : start if start >= 0 else None])
        if start < 0:
            return
        if tag := _TAG.match(page, start):
            name = tag[2].lower()
            yield _kind(tag), name
            at = tag.end()
            if name in _RAW and not tag[1]:
                end = _RAW[name].search(page, at)
                raw = page[at : end.start() if end else None]
                yield Kind.TEXT, unescape(raw) if name in _ESCAPED else raw
                at = end.start() if end else len(page)
        elif (after := _after(page, start)) == start:
            yield Kind.TEXT, "<"
            at = start + 1
        else:
            at = after


def _kind(tag: re.Match[str]) -> Kind:
    if tag[1]:
        return Kind.CLOSE
    return Kind.HIDE if _HIDDEN.search(tag[0]) else Kind.OPEN


def _after(page: str, start: int) -> int:
    """Where the comment or declaration at `start` ends: -1 for never, `start` when it is none."""
    if page.startswith("<!--", start):
        end = page.find("-->", start + 2)
        return end + 3 if end >= 0 else -1
    if re.match(r"<[!?/a-z]", page[start : start + 2], re.IGNORECASE):
        return page.find(">", start) + 1 or -1
    return start
