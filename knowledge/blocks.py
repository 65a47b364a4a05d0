"""Markdown as atoms: sections with their headings, code, tables, list items and paragraphs."""

import re
from collections.abc import Iterator
from dataclasses import replace
from enum import Enum, auto

from knowledge.headings import Line, lines_of
from knowledge.pieces import MAX_HEADER_CHARACTERS, PIECE_CHARACTERS, Atom, Path, Span
from knowledge.prose import lines, paragraphs, small

_ROW = re.compile(r"\s{0,3}\|.*\|\s*\Z")
_RULE = re.compile(r"\s{0,3}\|?(?:\s*:?-+:?\s*\|)+(?:\s*:?-+:?\s*)?\|?\s*\Z")
_ITEM = re.compile(r"\s*(?:[-*+•]|\d{1,9}[.)])\s+\S")


class Kind(Enum):
    """What a block is."""

    PROSE = auto()
    CODE = auto()
    TABLE = auto()
    ITEM = auto()


Block = tuple[Kind, int, int]


def markdown_atoms(text: str) -> Iterator[Atom]:
    """The atoms of a Markdown text in order, each under the headings above it."""
    for path, heading, body in _sections(text):
        if heading and not text[body[0] : body[1]].strip():
            yield Atom(*heading, path[:-1])
        for kind, start, end in _blocks(text, *body):
            for atom in _cut(text, kind, start, end):
                yield replace(atom, path=path)


def _sections(text: str) -> Iterator[tuple[Path, Span | None, Span]]:
    """The path of each section, where its own heading stands, and its body.

    A heading has no place of its own where a deeper one follows at once: that one names it.
    """
    path: list[tuple[int, str]] = []
    heading: Span | None = None
    start = 0
    for line in lines_of(text):
        if line.level is None:
            continue
        is_parent = bool(path) and line.level > path[-1][0] and bool(line.name)
        yield _names(path), None if is_parent else heading, (start, line.start)
        path = [*(h for h in path if h[0] < line.level), (line.level, line.name)]
        heading, start = _place(text, line), line.end
    yield _names(path), heading, (start, len(text))


def _names(path: list[tuple[int, str]]) -> Path:
    return tuple(name for _, name in path if name)


def _place(text: str, line: Line) -> Span | None:
    at = text.find(line.name, line.start, line.end)
    return (at, at + len(line.name)) if line.name else None


def _blocks(text: str, start: int, end: int) -> Iterator[Block]:
    """The blocks of a section: neighbouring lines of one kind, a list's item by item."""
    kind, begin, blank = Kind.PROSE, start, True
    for line in lines_of(text, start, end):
        next_kind = _kind(text, line, kind, blank)
        opens = next_kind is not kind or line.opens_fence or _opens_item(text, line, next_kind)
        if opens and begin < line.start:
            yield kind, begin, line.start
            begin = line.start
        kind = next_kind
        blank = not text[line.start : line.end].strip()
    if begin < end:
        yield kind, begin, end


def _kind(text: str, line: Line, before: Kind, blank: bool) -> Kind:
    if line.is_code:
        return Kind.CODE
    said = text[line.start : min(line.end, line.start + 1000)]
    if not said.strip():
        return Kind.PROSE if before in (Kind.CODE, Kind.TABLE) else before
    if _ROW.match(said) or (before is Kind.TABLE and not blank and "|" in said):
        return Kind.TABLE
    if _ITEM.match(said):
        return Kind.ITEM
    is_inside = before is Kind.ITEM and (not blank or said[0] in " \t")
    return Kind.ITEM if is_inside else Kind.PROSE


def _opens_item(text: str, line: Line, kind: Kind) -> bool:
    return kind is Kind.ITEM and bool(_ITEM.match(text, line.start, min(line.end, line.start + 99)))


def _cut(text: str, kind: Kind, start: int, end: int) -> Iterator[Atom]:
    if kind is Kind.TABLE:
        yield from _table(text, start, end)
    elif kind is Kind.CODE:
        yield from _code(text, start, end)
    elif kind is Kind.ITEM and end - start <= PIECE_CHARACTERS:
        yield Atom(start, end, prose=end - start <= PIECE_CHARACTERS // 2)
    else:
        yield from prose_atoms(text, start, end)


def prose_atoms(text: str, start: int, end: int) -> Iterator[Atom]:
    """The paragraphs of running text, and the sentences of those that are too long."""
    for paragraph in paragraphs(text, start, end):
        for span in small(text, *paragraph):
            yield Atom(*span, prose=True)


def _table(text: str, start: int, end: int) -> Iterator[Atom]:
    if end - start <= PIECE_CHARACTERS:
        yield Atom(start, end)
        return
    rows = [*lines(text, start, end)]
    has_rule = len(rows) > 1 and _RULE.match(text, *rows[1])
    header = (start, rows[1][1]) if has_rule else None
    if header:
        yield Atom(*header)
    for row in rows[2 if header else 0 :]:
        for span in small(text, *row, PIECE_CHARACTERS - MAX_HEADER_CHARACTERS):
            yield Atom(*span, header=header)


def _code(text: str, start: int, end: int) -> Iterator[Atom]:
    if end - start <= PIECE_CHARACTERS:
        yield Atom(start, end)
        return
    for paragraph in paragraphs(text, start, end):
        for span in small(text, *paragraph):
            yield Atom(*span)
