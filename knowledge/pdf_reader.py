"""PDF files to text."""

import re
from collections.abc import Iterator
from io import BytesIO

from pypdf import PageObject, PdfReader, apply_configuration

from knowledge.unreadable import Counter, Unreadable

MAX_PAGES = 2000
_MAX_STREAM_BYTES = 25_000_000  # unpacked: a page of prose is some kilobytes
_MAX_OPERATIONS = 500_000  # of one page; a dense map has some ten thousand
# A long line that stops in mid-sentence goes on in the next one.
_WRAPPED = re.compile(r"(?<=[^\n]{50}[^\W\d_])\n(?=\w)|(?<=[^\n]{50},)\n(?=\w)")


def read(data: bytes) -> tuple[list[str], str | None]:
    """The text of each page, and the title the file gives itself.

    Raises `Unreadable`.
    """
    bounds = apply_configuration(
        zlib_maximum_output_length=_MAX_STREAM_BYTES,
        lzw_maximum_output_length=_MAX_STREAM_BYTES,
        run_length_maximum_output_length=_MAX_STREAM_BYTES,
        array_based_stream_maximum_output_length=_MAX_STREAM_BYTES,
        stream_parsing_work_maximum_count=_MAX_OPERATIONS,
    )
    try:
        with bounds:
            reader = _open(data)
            return [*_pages(reader)], _title(reader)
    except Unreadable:
        raise
    except Exception as broken:  # pypdf: "broken PDF files might cause other Exceptions"
        raise Unreadable("is a PDF that is broken or too complex to read") from broken


def _open(data: bytes) -> PdfReader:
    reader = PdfReader(BytesIO(data), strict=False)
    if reader.is_encrypted and not reader.decrypt(""):  # an owner's password alone hides nothing
        raise Unreadable("is encrypted; remove the password first")
    if len(reader.pages) > MAX_PAGES:
        raise Unreadable(f"has more than {MAX_PAGES} pages")
    return reader


def _pages(reader: PdfReader) -> Iterator[str]:
    count = Counter()
    for number, page in enumerate(reader.pages, 1):
        yield _WRAPPED.sub(" ", count.take(_text(page, number)))


def _text(page: PageObject, number: int) -> str:
    try:
        return page.extract_text().strip()
    except Exception as broken:  # as above
        reason = f"is a PDF whose page {number} is broken or too complex to read"
        raise Unreadable(reason) from broken


def _title(reader: PdfReader) -> str | None:
    try:
        title = reader.metadata.title if reader.metadata else None
    except Exception:  # a title is a courtesy: its loss is no reason to refuse the text
        return None
    return title if isinstance(title, str) else None
