"""Word and PowerPoint files to text: headings and lists as Markdown writes them, tables too."""

from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

from docx import Document as open_document
from docx.table import Table
from docx.table import _Cell as WordCell
from docx.text.hyperlink import Hyperlink
from docx.text.paragraph import Paragraph
from pptx import Presentation

from knowledge.office_archive import require_harmless
from knowledge.tables import table_lines
from knowledge.unreadable import Counter, Unreadable

_MAX_DEPTH = 20  # of groups in groups of shapes
Pages = tuple[list[str], str | None]


def read_document(data: bytes) -> Pages:
    """The one page of a Word file, which has none of its own, and its title."""
    return _guarded(data, _document, "Word document")


def read_slides(data: bytes) -> Pages:
    """A page for each slide of a PowerPoint file, and its title."""
    return _guarded(data, _slides, "PowerPoint file")


def _guarded(data: bytes, read: Callable[[bytes], Pages], kind: str) -> Pages:
    require_harmless(data)
    try:
        return read(data)
    except (Unreadable, MemoryError):
        raise
    except Exception as broken:  # the libraries raise whatever a broken part makes them
        raise Unreadable(f"is a {kind} that is broken") from broken


def _document(data: bytes) -> Pages:
    document, count = open_document(BytesIO(data)), Counter()
    blocks = (count.take(block) for block in map(_block, document.iter_inner_content()))
    return ["\n\n".join(filter(None, blocks))], document.core_properties.title or None


def _block(block: Paragraph | Table) -> str:
    if isinstance(block, Table):
        return _table(block)
    text, style = _seen(block).strip(), (block.style.name or "") if block.style else ""
    if not text:
        return ""
    if style == "Title":
        return f"# {text}"
    if style.startswith("Heading "):
        level = style.removeprefix("Heading ")
        return f"{'#' * min(6, int(level)) if level.isdigit() else '#'} {text}"
    return f"- {text}" if style.startswith("List") else text


def _seen(paragraph: Paragraph) -> str:
    """The paragraph without the runs that Word hides."""
    runs = (
        run
        for inner in paragraph.iter_inner_content()
        for run in (inner.runs if isinstance(inner, Hyperlink) else (inner,))
    )
    return "".join(run.text for run in runs if not run.font.hidden)


def _table(table: Any) -> str:
    rows = ([_cell(cell) for cell in row.cells] for row in table.rows)
    return "\n".join(table_lines(rows))


def _cell(cell: Any) -> str:
    """Of a Word table, whose paragraphs may be hidden; of a PowerPoint table, whose cannot."""
    if isinstance(cell, WordCell):
        return "\n".join(map(_seen, cell.paragraphs))
    return str(cell.text)


def _slides(data: bytes) -> Pages:
    presentation, count = Presentation(BytesIO(data)), Counter()
    pages = [count.take("\n\n".join(_slide(slide))) for slide in presentation.slides]
    return pages, presentation.core_properties.title or None


def _slide(slide: Any) -> Iterator[str]:
    title = slide.shapes.title
    if title is not None and title.text_frame.text.strip():
        yield f"# {' '.join(title.text_frame.text.split())}"
    for shape in _shapes(slide.shapes, 0):
        if shape.has_text_frame and (title is None or shape.shape_id != title.shape_id):
            yield from filter(None, [shape.text_frame.text.strip()])
        elif getattr(shape, "has_table", False):
            yield _table(shape.table)
    if slide.has_notes_slide and (notes := slide.notes_slide.notes_text_frame):
        yield from filter(None, [notes.text.strip()])


def _shapes(shapes: Any, depth: int) -> Iterator[Any]:
    for shape in shapes:
        if hasattr(shape, "shapes") and depth < _MAX_DEPTH:
            yield from _shapes(shape.shapes, depth + 1)
        else:
            yield shape
