"""A file's text, its media type and its title."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from knowledge.binary import KINDS, read_binary
from knowledge.headings import first_heading
from knowledge.markup import read_html
from knowledge.media import (
    CSV,
    DOCX,
    HTML,
    JSON,
    MARKDOWN,
    PDF,
    PPTX,
    base_name,
    media_type_of,
)
from knowledge.plaintext import clean, decode
from knowledge.structured import read_csv, read_json
from tenancy.errors import Invalid

MAX_TITLE_CHARACTERS = 200
_HEADED = (MARKDOWN, HTML, DOCX, PPTX)  # a sheet's headings are the names of its tabs
_READ = {CSV: read_csv, JSON: read_json}


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a file says. `text` is never blank; where it has headings or tables, as Markdown does.

    `pages` are the offsets in it at which the file's pages begin, if it has any.
    """

    text: str
    media_type: str
    title: str | None
    pages: Sequence[int] = ()


def parse(name: str, data: bytes, declared: str | None = None) -> Parsed:
    """Read a file; raises `UnsupportedMedia` for its kind and `Invalid` for its state."""
    media_type = media_type_of(name, data, declared)
    if not data.strip():
        raise Invalid("file", "is empty")
    text, own_title, pages = _read(media_type, data)
    if not text.strip():
        raise Invalid("file", "holds no text" + (": is it a scan?" if media_type == PDF else ""))
    title = title_of(own_title) or _headed(media_type, text) or title_of(_stem(name))
    return Parsed(text, media_type, title, pages)


def title_of(text: str | None) -> str | None:
    """`text` on one line and cut to what a title may hold; None when nothing is left."""
    words = " ".join(clean(text or "").split())
    return words[:MAX_TITLE_CHARACTERS].rstrip() or None


def _read(media_type: str, data: bytes) -> tuple[str, str | None, Sequence[int]]:
    if media_type in KINDS:
        pages, title = read_binary(media_type, data)
        text, starts = _joined(pages)
        return text, title, starts if media_type in (PDF, PPTX) else ()
    text = decode(data)
    if media_type == HTML:
        page, own_title = read_html(text)
        return clean(page), own_title, ()
    said, read = clean(text), _READ.get(media_type)
    # once more: JSON writes any character as an escape
    return clean(read(said)) if read else said, None, ()


def _headed(media_type: str, text: str) -> str | None:
    return title_of(first_heading(text)) if media_type in _HEADED else None


def _joined(pages: Sequence[str]) -> tuple[str, Sequence[int]]:
    """The pages' text, a blank line between them, and where each begins; an empty one nowhere."""
    starts, said, at = [], [], 0
    for page in pages:
        starts.append(at)
        if text := clean(page).strip():
            said.append(text)
            at += len(text) + 2
    return "\n\n".join(said), starts


def _stem(name: str) -> str:
    stem = re.sub(r"\.[A-Za-z0-9]{1,10}\Z", "", base_name(name)[-1000:])
    words = re.sub(r"[-_\s]+", " ", stem).strip()
    return words[:1].upper() + words[1:]
