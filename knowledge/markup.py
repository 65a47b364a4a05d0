"""HTML to text: what a reader would see, one block a line, headings as Markdown writes them."""

import re
from html.parser import HTMLParser

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
_MAX_UNSEEN = 1000  # depth of hidden elements we keep count of
_STEP = 1 << 16


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.title: list[str] = []
        self._unseen: list[str] = []
        self._in_title = False
        self._has_title = False
        self._verbatim = False
        self._cells = 0  # of the row being read: inside one, a block is only a space

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _UNSEEN and len(self._unseen) < _MAX_UNSEEN:
            self._unseen.append(tag)
        if self._unseen:
            return
        self._in_title = tag == "title" and not self._has_title
        self._verbatim = self._verbatim or tag == "pre"
        if tag in _CELLS:
            self.pieces.append(" | " if self._cells else "")
            self._cells += 1
        else:
            self._break(tag)
            self.pieces.append("- " if tag == "li" else _HEADINGS.get(tag, ""))

    def handle_endtag(self, tag: str) -> None:
        if tag in self._unseen:
            while self._unseen.pop() != tag:
                pass
        elif not self._unseen:
            self._verbatim = self._verbatim and tag != "pre"
            self._has_title = self._has_title or self._in_title
            self._in_title = False
            if tag == "tr":
                self._cells = 0
            elif tag not in _LINES:
                self._break(tag)

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title.append(data)
        elif not self._unseen:
            self.pieces.append(data if self._verbatim else re.sub(r"\s+", " ", data))

    def unknown_decl(self, data: str) -> None:
        """`<![CDATA[` and its kind say nothing in HTML."""

    def _break(self, tag: str) -> None:
        if tag in ("tr", "table"):
            self._cells = 0
        if tag in _PARAGRAPHS or tag in _HEADINGS:
            self.pieces.append(" " if self._cells else "\n\n")
        elif tag in _LINES:
            self.pieces.append(" " if self._cells else "\n")


def read_html(page: str) -> tuple[str, str | None]:
    """The page's text and its `<title>`; raises `Invalid` where it cannot be read."""
    reader = _Reader()
    try:
        for start in range(0, len(page), _STEP):
            reader.feed(page[start : start + _STEP])
        reader.close()
    except (AssertionError, ValueError) as broken:  # what html.parser raises for broken markup
        raise Invalid("file", "is not HTML that can be read") from broken
    return _tidy("".join(reader.pieces)), "".join(reader.title) or None


def _tidy(text: str) -> str:
    lines = (re.sub(r"(?<=\S)[ \t]+", " ", line.rstrip()) for line in text.split("\n"))
    return re.sub(
        r"\n{3,}", "\n\n", "\n".join(line if line.strip() else "" for line in lines)
    ).strip("\n")
