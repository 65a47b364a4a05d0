"""Passages cut into sentences an answer may quote, with the heading each of them stands under."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import unescape

MAX_SENTENCE = 400  # characters quoted of one: more is a paragraph
WRAPPED = 60  # a plain line this long was probably wrapped, and goes on in the next
LONGEST_TITLE = 8  # words
SENTENCE_ENDS = ".!?"
NO_TITLE = set(".!?:;,|0123456789")

QUOTED = r"""(?:"[^"]*"|'[^']*')"""  # XML's writers choose the quote by what is inside
PASSAGE = re.compile(rf"""<passage\b((?:[^<>"']|{QUOTED})*+)>(.*?)</passage\s*>""", re.S)
ATTRIBUTE = re.compile(rf"(\w+)\s*=\s*({QUOTED})")
HEADING = re.compile(r"\s*#{1,6}\s+(.*?)[\s#]*$")
ITEM = re.compile(r"\s*(?:[-*+•]|\d{1,3}[.)])\s+(?=\S)")
RULE = re.compile(r"[\s|:=*_-]*$")  # under a heading, between the rows of a table, or across
FENCE = re.compile(r"\s*(?:```|~~~)")
LINK = re.compile(r"!?\[([^\]]*)\]\([^)\s]*\)")
EMPHASIS = re.compile(r"(\*\*|__|`)(?=\S)(.+?)(?<=\S)\1")
LABEL = re.compile(r"[^.!?:]{1,40}:\s")
ENDS = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?![a-z])|(?<=[。！？])")
ABBREVIATED = re.compile(r"(?:\b(?:e\.g|i\.e|etc|vs|approx|incl|no|nr|dr|mr|mrs|ms|st)\.)$", re.I)


@dataclass(frozen=True, slots=True)
class Quotable:
    """A sentence of passage `number`; `context` is the heading or the line that leads to it."""

    number: str
    text: str
    context: str = ""

    @property
    def meaning(self) -> str:
        """The sentence as it is to be understood: a price means little without its heading."""
        return f"{self.context}: {self.text}" if self.context else self.text


def passages_of(text: str) -> list[tuple[str, str]]:
    """Number and text of each `<passage n="1" title="…">…</passage>` in `text`, unescaped."""
    found = []
    for position, (attributes, body) in enumerate(PASSAGE.findall(text), 1):
        quoted = dict(ATTRIBUTE.findall(attributes))
        found.append((quoted["n"][1:-1] if "n" in quoted else str(position), unescape(body)))
    return found


def quotables(passages: Iterable[tuple[str, str]]) -> list[Quotable]:
    """Every sentence of the passages once, in their order."""
    seen: dict[str, Quotable] = {}
    for number, text in passages:
        for quotable in _of_passage(number, text):
            seen.setdefault(quotable.text.casefold(), quotable)
    return list(seen.values())


def _of_passage(number: str, text: str) -> Iterator[Quotable]:
    heading = lead = ""
    lines = list(_unwrapped(text.splitlines()))
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        bare = _bare(line)
        if _is_heading(line, bare, following):
            heading, lead = bare, ""
        elif bare.endswith(":"):
            lead = bare.rstrip(": ")  # of a list, or of a table: its first row
        else:
            lead = lead if ITEM.match(line) or "|" in line else ""
            for sentence in _sentences(bare):
                yield Quotable(number, sentence, ", ".join(filter(None, (heading, lead))))


def _is_heading(line: str, bare: str, following: str) -> bool:
    if HEADING.match(line) or (" > " in bare and bare[-1] not in SENTENCE_ENDS):
        return True  # of its own, or the path of headings that a passage begins with
    return bool(_is_title(bare) and following and not _is_title(following))


def _is_title(line: str) -> bool:
    # A line that says nothing to the end, above one that does.
    return 0 < len(line.split()) <= LONGEST_TITLE and not NO_TITLE & set(line)


def _unwrapped(lines: Iterable[str]) -> Iterator[str]:
    pending = ""
    for line in lines:
        if FENCE.match(line) or RULE.match(line):
            yield from _given(f"{pending}:" if "|" in line and "|" in pending else pending)
            pending = ""
        elif pending and _goes_on(pending, line):
            pending = f"{pending} {line.strip()}"
        else:
            yield from _given(pending)
            pending = line
    yield from _given(pending)


def _given(line: str) -> Iterator[str]:
    if line:
        yield line


def _goes_on(line: str, following: str) -> bool:
    if any(mark.match(following) for mark in (HEADING, ITEM)) or "|" in following:
        return False
    if HEADING.match(line) or line.rstrip().endswith(":"):
        return False
    if following.lstrip()[:1].islower() or line.rstrip().endswith((",", ";")):
        return True
    return len(line) >= WRAPPED and not LABEL.match(following)


def _bare(line: str) -> str:
    if match := HEADING.match(line):
        return _bare(match[1])
    text = ITEM.sub("", line.strip().lstrip(">").strip(), count=1)
    if text.startswith("|") or text.count("|") > 1:
        text = ": ".join(cell.strip() for cell in text.strip("|").split("|") if cell.strip())
    return EMPHASIS.sub(r"\2", LINK.sub(r"\1", text)).strip()


def _sentences(text: str) -> Iterator[str]:
    pending = ""
    for piece in ENDS.split(text):
        pending = f"{pending} {piece}".strip()
        if ABBREVIATED.search(pending):
            continue
        if _is_quotable(pending):
            yield pending[:MAX_SENTENCE]
        pending = ""
    if _is_quotable(pending):
        yield pending[:MAX_SENTENCE]


def _is_quotable(text: str) -> bool:
    return len(re.findall(r"\w+", text)) >= 2
