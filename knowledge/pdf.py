"""PDF to text, bounded: a file may be made to hurt its reader."""

import re
from io import BytesIO
from time import monotonic

from pypdf import PdfReader, apply_configuration

from tenancy.errors import Invalid, Refusal

MAX_PAGES = 2000
MAX_CHARACTERS = 20_000_000
MAX_SECONDS = 60.0  # looked at between pages
_MAX_STREAM_BYTES = 25_000_000  # unpacked: a page of prose is some kilobytes
_MAX_OPERATIONS = 500_000  # of one page; a dense map has some ten thousand
# A long line that stops in mid-sentence goes on in the next one.
_WRAPPED = re.compile(r"(?<=[^\n]{50}[^\W\d_])\n(?=\w)|(?<=[^\n]{50},)\n(?=\w)")


def read_pdf(data: bytes) -> tuple[str, str | None]:
    """The pages' text, a blank line between them, and the title the file gives itself.

    Raises `Invalid` with the reason.
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
            return _text(reader), _title(reader)
    except Refusal:
        raise
    except Exception as broken:  # pypdf: "broken PDF files might cause other Exceptions"
        raise Invalid("file", "is a PDF that is broken or too complex to read") from broken


def _open(data: bytes) -> PdfReader:
    reader = PdfReader(BytesIO(data), strict=False)
    if reader.is_encrypted and not reader.decrypt(""):  # an owner's password alone hides nothing
        raise Invalid("file", "is encrypted; remove the password first")
    if len(reader.pages) > MAX_PAGES:
        raise Invalid("file", f"has more than {MAX_PAGES} pages")
    return reader


def _text(reader: PdfReader) -> str:
    pages: list[str] = []
    characters, until = 0, monotonic() + MAX_SECONDS
    for page in reader.pages:
        pages.append(_WRAPPED.sub(" ", page.extract_text().strip()))
        characters += len(pages[-1])
        if characters > MAX_CHARACTERS or monotonic() > until:
            raise Invalid("file", "is a PDF that is too long or too complex to read")
    return "\n\n".join(page for page in pages if page)


def _title(reader: PdfReader) -> str | None:
    try:
        title = reader.metadata.title if reader.metadata else None
    except Exception:  # a title is a courtesy: its loss is no reason to refuse the text
        return None
    return title if isinstance(title, str) else None
