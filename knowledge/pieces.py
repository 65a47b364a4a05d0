"""Atoms of a text packed into pieces of the size that an embedding model reads."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

PIECE_CHARACTERS = 900  # about 200 tokens: MiniLM reads 256
OVERLAP_CHARACTERS = 120  # a sentence
MAX_HEADER_CHARACTERS = 300  # of a table: a longer one leaves no room for its rows
MAX_PATH_CHARACTERS = 200

Path = tuple[str, ...]
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Piece:
    """A passage before it is embedded: its body is the document's text from `start` to `end`.

    Above the body `text` has a line that names the way to it, `Shipping > Costs`, and the header of
    a table that was cut.
    """

    text: str
    path: Path
    page: int | None
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Atom:
    """A span that is never cut again; one of `prose` may be repeated where the next piece begins.

    `header` is where the column names of its table stand, `row` its number in a sheet.
    """

    start: int
    end: int
    path: Path = ()
    prose: bool = False
    header: Span | None = None
    row: int | None = None


@dataclass(frozen=True, slots=True)
class Packer:
    """Packs the atoms of one text; `pages` are the offsets at which its pages begin.

    Neighbours of different paths share a piece only when `merging`: it then has what their paths
    have in common.
    """

    text: str
    pages: Sequence[int] = ()
    merging: bool = False

    def pack(self, atoms: Iterable[Atom]) -> Iterator[Piece]:
        """The pieces in order; none is blank."""
        held: list[Atom] = []
        for atom in atoms:
            if self._is_blank(atom):
                continue
            if held and not self._fits(held, atom):
                yield self._piece(held)
                held = self._repeated(held, atom)
            held.append(atom)
        if held:
            yield self._piece(held)

    def _is_blank(self, atom: Atom) -> bool:
        return not self.text[atom.start : atom.end].strip()

    def _fits(self, held: Sequence[Atom], atom: Atom) -> bool:
        return self._are_together(held[0], atom) and self._size(held, atom) <= PIECE_CHARACTERS

    def _are_together(self, one: Atom, other: Atom) -> bool:
        if self._page(one) != self._page(other):
            return False
        if self.merging:
            return not one.path or one.path[:1] == other.path[:1]
        return one.path == other.path

    def _size(self, held: Sequence[Atom], atom: Atom) -> int:
        return len(self._header(held)) + self._trimmed(held[0].start, atom.end)

    def _trimmed(self, start: int, end: int) -> int:
        return len(self.text[start:end].strip())

    def _repeated(self, held: Sequence[Atom], atom: Atom) -> list[Atom]:
        """The last atoms before `atom` that are repeated before it."""
        if not (atom.prose and self._are_together(held[-1], atom)):
            return []
        room = min(OVERLAP_CHARACTERS, PIECE_CHARACTERS - (atom.end - atom.start))
        near = takewhile(lambda a: a.prose and atom.start - a.start <= room, reversed(held[1:]))
        return [*near][::-1]

    def _piece(self, atoms: Sequence[Atom]) -> Piece:
        start, end = self._body(atoms)
        path = self._path(atoms)
        above = [" > ".join(name for name in path if name)[:MAX_PATH_CHARACTERS].strip()]
        above += [self._header(atoms)]
        text = "\n".join([*filter(None, above), self.text[start:end]])
        return Piece(text, path, self._page(atoms[0]), start, end)

    def _body(self, atoms: Sequence[Atom]) -> Span:
        """From the first to the last character that is no space; indentation stays."""
        start, end = atoms[0].start, atoms[-1].end
        body = self.text[start:end]
        blank = len(body) - len(body.lstrip())
        line = body.rfind("\n", 0, blank) + 1
        return start + (blank if atoms[0].prose else line), start + len(body.rstrip())

    def _path(self, atoms: Sequence[Atom]) -> Path:
        path = _common([atom.path for atom in atoms])
        first, last = atoms[0].row, atoms[-1].row
        if first is None or last is None:
            return path
        return (*path, f"row {first}" if first == last else f"rows {first}-{last}")

    def _header(self, atoms: Sequence[Atom]) -> str:
        header = atoms[0].header
        if header is None or header[0] <= atoms[0].start < header[1]:
            return ""
        text = self.text[header[0] : header[1]].rstrip()
        return text if len(text) <= MAX_HEADER_CHARACTERS else ""

    def _page(self, atom: Atom) -> int | None:
        return bisect_right(self.pages, atom.start) or 1 if self.pages else None


def _common(paths: Sequence[Path]) -> Path:
    first, last = min(paths), max(paths)  # what these two share, all share
    pairs = zip(first, last, strict=False)
    return tuple(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
