"""Which media type a file is, by its content first, its name next, its sender's word last."""

import re
from pathlib import PurePosixPath

from tenancy.errors import Invalid, UnsupportedMedia

MARKDOWN = "text/markdown"
PLAIN = "text/plain"
HTML = "text/html"
PDF = "application/pdf"
CSV = "text/csv"
JSON = "application/json"
SOURCE = "text/x-source"
_OFFICE = "application/vnd.openxmlformats-officedocument"
DOCX = f"{_OFFICE}.wordprocessingml.document"
PPTX = f"{_OFFICE}.presentationml.presentation"
XLSX = f"{_OFFICE}.spreadsheetml.sheet"

SUPPORTED = "Markdown, plain text, HTML, PDF, Word, PowerPoint, Excel, CSV, JSON and source code"
_BY_EXTENSION = {
    ".md": MARKDOWN,
    ".markdown": MARKDOWN,
    ".txt": PLAIN,
    ".text": PLAIN,
    ".html": HTML,
    ".htm": HTML,
    ".pdf": PDF,
    ".docx": DOCX,
    ".pptx": PPTX,
    ".xlsx": XLSX,
    ".csv": CSV,
    ".tsv": CSV,
    ".json": JSON,
    ".jsonl": JSON,
    ".ndjson": JSON,
}
# fmt: off
_SOURCES = frozenset((
    ".bash", ".c", ".cc", ".cpp", ".cs", ".css", ".go", ".graphql", ".h", ".hpp", ".ini", ".java",
    ".js", ".jsx", ".kt", ".lua", ".mjs", ".php", ".pl", ".proto", ".ps1", ".py", ".r", ".rb",
    ".rs", ".scala", ".sh", ".sql", ".swift", ".tf", ".toml", ".ts", ".tsx", ".vue", ".xml",
    ".yaml", ".yml",
))
# fmt: on
_BY_DECLARATION = {"text/x-markdown": MARKDOWN, "application/xhtml+xml": HTML} | {
    media_type: media_type for media_type in (MARKDOWN, PLAIN, HTML, PDF, CSV, JSON)
}
_ZIPPED = b"PK\x03\x04"
_PARTS = {b"word/document.xml": DOCX, b"ppt/presentation.xml": PPTX, b"xl/workbook.xml": XLSX}
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_LOCKED = "EncryptedPackage".encode("utf-16-le")  # the one stream of an Office file with a password
_FOREIGN = (
    (b"PK\x05\x06", "a ZIP archive"),
    (_OLE, "an old Office document"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"{\\rtf", "a rich text document"),
    (b"\x7fELF", "a program"),
)
_EXTENSION = re.compile(r"\.[a-z0-9]{1,10}\Z")  # "v1.2 draft" has none
_PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<!doctype\s+html|<html)[\s>]", re.IGNORECASE)
_CONTROL = bytes(c for c in range(32) if chr(c) not in "\t\n\v\f\r\b\x1b")
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")  # UTF-16 and UTF-32


def base_name(name: str) -> str:
    """The file's own name: folders, of either slash, dropped."""
    return PurePosixPath(name.replace("\\", "/")).name


def media_type_of(name: str, data: bytes, declared: str | None) -> str:
    """One of the types we read; raises `UnsupportedMedia` with the reason."""
    if data.startswith(_ZIPPED):
        return _office(data)
    if data.startswith(_OLE) and _LOCKED in data:
        raise Invalid("file", "is encrypted; remove the password first")
    for mark, what in _FOREIGN:
        if data.startswith(mark):
            raise UnsupportedMedia(f"This file is {what}. {SUPPORTED} are supported.")
    if data[:1024].lstrip().startswith(b"%PDF-"):
        return PDF
    if _PAGE.match(data[:1024]):
        return HTML
    media_type = _named(name, declared)
    if media_type != PDF and _is_binary(data):
        raise UnsupportedMedia(f"This file is binary, not text. {SUPPORTED} are supported.")
    return media_type


def _office(data: bytes) -> str:
    """The kind of Office file by the names of its parts, which stand in the archive unpacked."""
    for part, media_type in _PARTS.items():
        if part in data:
            return media_type
    raise UnsupportedMedia(f"This file is a ZIP archive. {SUPPORTED} are supported.")


def _named(name: str, declared: str | None) -> str:
    extension = _EXTENSION.search(base_name(name).lower())
    by_name = _by_extension(extension.group()) if extension else None
    by_sender = _BY_DECLARATION.get((declared or "").partition(";")[0].strip().lower())
    if media_type := by_name or by_sender:
        return media_type
    if extension:
        raise UnsupportedMedia(
            f"Files ending in {extension.group()} are not supported. {SUPPORTED} are."
        )
    return PLAIN


def _by_extension(extension: str) -> str | None:
    return SOURCE if extension in _SOURCES else _BY_EXTENSION.get(extension)


def _is_binary(data: bytes) -> bool:
    if data.startswith(_WIDE_MARKS) or b"\0" not in data:
        return False
    head = data[:65536]
    controls = len(head) - len(head.translate(None, _CONTROL))
    return controls * 100 > len(head)  # a stray NUL is dirt in a text; one in a hundred is no text
