"""HTML to text: what a reader would see, one block a line, headings as Markdown writes them."""

import re
from io import StringIO

from knowledge.tags import Kind, tokens
from tenancy.errors import Invalid

_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
# fmt: off
_PARAGRAPHS = frozenset((
    "address", "article", "aside", "blockquote", "body", "dd", "details", "div", "dl", "dt",
    "fieldset", "figcaption", "figure", "footer", "form", "header", "hr", "main", "ol", "p", "pre",
    "section", "summary", "table", "ul",
))
# fmt: on
_LINES = frozenset(("br", "li", "tr", "option", "caption"))
_CELLS = frozenset(("td", "th"))
_UNSEEN = frozenset(("nav", "noscript", "script", "style", "svg", "template"))
_EMPTY = frozenset(("br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"))
_ENDED_BY_THE_NEXT = frozenset(("dd", "dt", "li", "option", "p", "td", "th", "tr"))
_MAX_UNSEEN = 1000  # depth of hidden elements we keep count of


class _Page:
    """What has been read of a page so far."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.title = ""
        self._unseen: list[str] = []
        self._in_title = False
        self._verbatim = False
        self._cells = 0  # of the row being read: inside one, a block is only a space

    def hide(self, tag: str) -> None:
        self._end_the_last(tag)
        if tag not in _EMPTY and len(self._unseen) < _MAX_UNSEEN:
            self._unseen.append(tag)

    def open(self, tag: str) -> None:
        self._end_the_last(tag)
        if tag in _UNSEEN or tag in self._unseen:
            self.hide(tag)
        if self._unseen:
            return
        self._in_title = tag == "title"
        self._verbatim = self._verbatim or tag == "pre"
        if tag in _CELLS:
            self.pieces.append(" | " if self._cells else "")
            self._cells += 1
        else:
            self._break(tag)
            self.pieces.append("- " if tag == "li" else _HEADINGS.get(tag, ""))

    def close(self, tag: str) -> None:
        if tag in self._unseen:
            while self._unseen.pop() != tag:
                pass
        elif not self._unseen:
            self._verbatim = self._verbatim and tag != "pre"
            self._in_title = False
            if tag == "tr":
                self._cells = 0
            elif tag not in _LINES:
                self._break(tag)

    def text(self, text: str) -> None:
        if self._unseen:
            return
        if self._in_title:
            self.title = self.title or text
        elif self._verbatim:
            self.pieces.append(text)
        else:
            self.pieces.append(re.sub(r"\s+", " ", text.lstrip() if self._starts_line() else text))

    def _end_the_last(self, tag: str) -> None:
        if tag in _ENDED_BY_THE_NEXT and self._unseen[-1:] == [tag]:
            self._unseen.pop()

    def _starts_line(self) -> bool:
        return not self.pieces or self.pieces[-1].endswith(("\n", "- ", "# ", "| "))

    def _break(self, tag: str) -> None:
        if tag in ("tr", "table"):
            self._cells = 0
        if tag in _PARAGRAPHS or tag in _HEADINGS:
            self.pieces.append(" " if self._cells else "\n\n")
        elif tag in _LINES:
            self.pieces.append(" " if self._cells else "\n")


def read_html(page: str) -> tuple[str, str | None]:
    """The page's text and its `<title>`; raises `Invalid` where it cannot be read."""
    read = _Page()
    take = {
        Kind.OPEN: read.open,
        Kind.HIDE: read.hide,
        Kind.CLOSE: read.close,
        Kind.TEXT: read.text,
    }
    try:
        for kind, text in tokens(page):
            take[kind](text)
    except ValueError as broken:  # a character reference of thousands of digits
        raise Invalid("file", "is not HTML that can be read") from broken
    return _tidy("".join(read.pieces)), read.title or None


def _tidy(text: str) -> str:
    lines = [re.sub(r"(?<=\S)[ \t]+", " ", line.rstrip()) for line in StringIO(text)]
    # one blank line between blocks: a second one, and any before the first, goes
    pairs = zip(lines, ["", *lines], strict=False)
    return "\n".join(line for line, before in pairs if line or before).rstrip()
