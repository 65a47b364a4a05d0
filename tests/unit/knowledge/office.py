"""Office files, made and broken."""

import zipfile
from collections.abc import Callable, Sequence
from io import BytesIO

from docx import Document
from openpyxl import Workbook
from pptx import Presentation
from pptx.util import Inches

Rows = Sequence[Sequence[object]]


def make_docx(*blocks: tuple[str, str] | Rows, title: str = "") -> bytes:
    """Of paragraphs, each with the name of its style, and of tables."""
    document = Document()
    document.core_properties.title = title
    for block in blocks:
        if isinstance(block, tuple) and isinstance(block[0], str):
            document.add_paragraph(str(block[0]), style=str(block[1]))
            continue
        table = document.add_table(rows=0, cols=len(block[0]))
        for row in block:
            for cell, value in zip(table.add_row().cells, row, strict=True):
                cell.text = str(value)
    return _saved(document.save)


def hidden_docx(seen: str, hidden: str) -> bytes:
    document = Document()
    document.add_paragraph(seen)
    document.add_paragraph().add_run(hidden).font.hidden = True
    paragraph = document.add_paragraph(f"{seen} again ")
    paragraph.add_run(hidden).font.hidden = True
    return _saved(document.save)


def make_pptx(*slides: tuple[str, str, str]) -> bytes:
    """A title, a text and notes for each slide; a table on the last."""
    deck = Presentation()
    for title, text, notes in slides:
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text, slide.placeholders[1].text = title, text
        slide.notes_slide.notes_text_frame.text = notes
    table = slide.shapes.add_table(2, 2, *map(Inches, (1, 1, 4, 1))).table
    for place, word in enumerate(("Plan", "Price", "Pro", "12 EUR")):
        table.cell(place // 2, place % 2).text = word
    return _saved(deck.save)


def make_xlsx(sheets: dict[str, Rows], hidden: Sequence[str] = ()) -> bytes:
    book = Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
        if name in hidden:
            sheet.sheet_state = "hidden"
    return _saved(book.save)


def with_part(data: bytes, name: str, content: bytes | str) -> bytes:
    """The file with one of its parts replaced or added."""
    out = BytesIO()
    with zipfile.ZipFile(BytesIO(data)) as old, zipfile.ZipFile(out, "w", 8) as new:
        for entry in old.namelist():
            if entry != name:
                new.writestr(entry, old.read(entry))
        new.writestr(name, content)
    return out.getvalue()


def _saved(save: Callable[[BytesIO], object]) -> bytes:
    out = BytesIO()
    save(out)
    return out.getvalue()
