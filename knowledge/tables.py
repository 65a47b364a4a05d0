"""Rows of cells as a text that is split like any other."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest

from knowledge.pieces import MAX_HEADER_CHARACTERS


def table_lines(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The lines of a Markdown table, the first row its header; of a wide one, of its rows.

    A header too long to be repeated says in each row whose value a cell is: `name: value; …`.
    """
    found = iter(rows)
    header = [*map(_cell, next(found, ()))]
    if not any(header):
        return
    opening = _line(header)
    if len(opening) + 6 * len(header) > MAX_HEADER_CHARACTERS:
        for row in found:
            if any(cells := [*map(_cell, row)]):
                yield _named(header, cells)
        return
    yield opening
    yield _line(["---"] * len(header))
    for row in found:
        if any(cells := [*map(_cell, row)]):
            yield _line(cells)


def _named(header: Sequence[str], cells: Sequence[str]) -> str:
    pairs = zip_longest(header, cells, fillvalue="")
    return "- " + "; ".join(f"{name}: {cell}" if name else cell for name, cell in pairs if cell)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())
