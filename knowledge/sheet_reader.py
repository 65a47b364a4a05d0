"""Excel files to text: a section for each visible sheet, its rows as a table."""

from collections.abc import Iterator
from datetime import date, datetime, time
from io import BytesIO
from typing import Any

from openpyxl import load_workbook

from knowledge.office_archive import require_harmless
from knowledge.tables import table_lines
from knowledge.unreadable import Counter, Unreadable

MAX_ROWS = 200_000  # of one sheet
MAX_COLUMNS = 500


def read(data: bytes) -> tuple[list[str], str | None]:
    """The one page of the file, and its title. Formulas are read as what they last came to."""
    require_harmless(data)
    try:
        book = load_workbook(BytesIO(data), read_only=True, data_only=True)
        text, count = [], Counter()
        for sheet in book.worksheets:
            if sheet.sheet_state == "visible":
                rows = "\n".join(map(count.take, table_lines(_rows(sheet))))
                text.append(f"# {sheet.title}\n\n{rows}" if rows else "")
        return ["\n\n".join(filter(None, text))], book.properties.title or None
    except (Unreadable, MemoryError):
        raise
    except Exception as broken:  # openpyxl raises whatever a broken part makes it
        raise Unreadable("is an Excel file that is broken") from broken


def _rows(sheet: Any) -> Iterator[list[str]]:
    for number, row in enumerate(sheet.iter_rows(values_only=True, max_col=MAX_COLUMNS)):
        if number >= MAX_ROWS:
            raise Unreadable(f"has more than {MAX_ROWS} rows in one sheet")
        cells = [_said(cell) for cell in row]
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            yield cells


def _said(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, datetime) and cell.time() == time():
        return cell.date().isoformat()  # Excel has no dates alone: they are midnights
    if isinstance(cell, (datetime, date, time)):
        return cell.isoformat()
    return f"{cell:.15g}" if isinstance(cell, float) else str(cell)
