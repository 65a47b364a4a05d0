"""HTML to text: what a reader would see, one block a line, its structure as Markdown writes it."""

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


class _Table:
    """The table being read: with a first row of headers it becomes one of Markdown."""

    def __init__(self, pieces: list[str]) -> None:
        self._pieces = pieces
        self.begin()

    def begin(self) -> None:
        """It begins, or the page goes on after it."""
        self.cells = 0  # of the row being read: inside one, a block is only a space
        self.is_headed = False
        self._headers = 0
        self._is_first = True
        self._start = 0

    def cell(self, tag: str) -> None:
        """A cell begins, and with the first one a row."""
        if not self.cells:
            self._start = len(self._pieces)
        self._pieces.append(" | " if self.cells else "")
        self.cells += 1
        self._headers += tag == "th"

    def end_row(self) -> None:
        """The row ends, if there is one."""
        if not self.cells:
            return
        opens = self._is_first and self._headers == self.cells > 1
        self.is_headed = self.is_headed or opens
        said = "".join(self._pieces[self._start :]).strip()
        if self.is_headed:
            said = f"| {said} |" if said.strip(" |") else ""
            said += f"\n|{' --- |' * self.cells}" * opens
        self._pieces[self._start :] = [said]
        self.cells = self._headers = 0
        self._is_first = False


class _Page:
    """What has been read of a page so far."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.title = ""
        self._unseen: list[str] = []
        self._in_title = False
        self._verbatim = False
        self._code: int | None = None  # the piece that opens it, once it says something
        self._table = _Table(self.pieces)

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
            self._table.cell(tag)
        else:
            self._break(tag)
            if opening := "- " if tag == "li" else _HEADINGS.get(tag):
                self.pieces.append(opening)

    def close(self, tag: str) -> None:
        if tag in self._unseen:
            while self._unseen.pop() != tag:
                pass
        elif not self._unseen:
            if tag == "pre":
                self._end_code()
            self._in_title = False
            if tag == "tr":
                self._table.end_row()
            elif tag not in _LINES:
                self._break(tag)

    def text(self, text: str) -> None:
        if self._unseen:
            return
        if self._in_title:
            self.title = self.title or text
        elif self._verbatim and not self._table.cells:
            self._add_code(text)
        else:
            said = text.replace("|", "/") if self._table.is_headed else text
            self.pieces.append(re.sub(r"\s+", " ", said.lstrip() if self._starts_line() else said))

    def end(self) -> None:
        """The page ends, whatever is open."""
        self._table.end_row()
        self._end_code()

    def _add_code(self, text: str) -> None:
        if self._code is None and text.strip():
            self._code = len(self.pieces)
            self.pieces.append("")
            text = text.lstrip("\n")
        self.pieces.append(text)

    def _end_code(self) -> None:
        self._verbatim = False
        if self._code is None:
            return
        ticks = re.findall("`+", "".join(self.pieces[self._code :]))
        fence = "`" * max([3, *(len(run) + 1 for run in ticks)])
        self.pieces[self._code] = f"{fence}\n"
        self.pieces.append(f"\n{fence}")
        self._code = None

    def _end_the_last(self, tag: str) -> None:
        if tag in _ENDED_BY_THE_NEXT and self._unseen[-1:] == [tag]:
            self._unseen.pop()

    def _starts_line(self) -> bool:
        return not self.pieces or self.pieces[-1].endswith(("\n", "- ", "# ", "| "))

    def _break(self, tag: str) -> None:
        if tag in ("tr", "table"):
            self._table.end_row()
        if tag == "table":
            self._table.begin()
        if tag in _PARAGRAPHS or tag in _HEADINGS:
            self.pieces.append(" " if self._table.cells else "\n\n")
        elif tag in _LINES:
            self.pieces.append(" " if self._table.cells else "\n")


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
    read.end()
    return _tidy("".join(read.pieces)), read.title or None


def _tidy(text: str) -> str:
    lines = [re.sub(r"(?<=\S)[ \t]+", " ", line.rstrip()) for line in StringIO(text)]
    # one blank line between blocks: a second one, and any before the first, goes
    pairs = zip(lines, ["", *lines], strict=False)
    return "\n".join(line for line, before in pairs if line or before).rstrip()
