"""Text to pieces along its structure: headings, code, tables, lists, pages, then sentences."""

from collections.abc import Iterator, Sequence
from itertools import islice

from knowledge.blocks import markdown_atoms, prose_atoms
from knowledge.code import source_atoms
from knowledge.media import CSV, DOCX, HTML, MARKDOWN, PPTX, SOURCE, XLSX
from knowledge.pieces import PIECE_CHARACTERS, Atom, Packer, Piece
from tenancy.errors import Invalid

MAX_PASSAGES = 20_000
_MARKED = (MARKDOWN, HTML, DOCX, PPTX, XLSX, CSV)


def split(text: str, media_type: str, *, pages: Sequence[int] = ()) -> list[Piece]:
    """The pieces of `text` in its order, none blank; raises `Invalid` when there are too many.

    `pages` are the offsets at which pages begin; no piece goes from one to the next.
    """
    if len(text) > MAX_PASSAGES * PIECE_CHARACTERS:
        raise Invalid("file", f"is too long: its text has {len(text)} characters")
    packer = Packer(text, pages, merging=media_type == SOURCE)
    pieces = list(islice(packer.pack(_atoms(text, media_type)), MAX_PASSAGES + 1))
    if len(pieces) > MAX_PASSAGES:
        raise Invalid("file", f"is too long: more than {MAX_PASSAGES} passages")
    return pieces


def _atoms(text: str, media_type: str) -> Iterator[Atom]:
    if media_type in _MARKED:
        return markdown_atoms(text)
    if media_type == SOURCE:
        return source_atoms(text)
    return prose_atoms(text, 0, len(text))
