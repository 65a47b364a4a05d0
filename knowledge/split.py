"""Text to passages: by headings where it has them, then by paragraph, line and sentence."""

from collections.abc import Iterator, Sequence
from itertools import islice

from langchain_text_splitters import RecursiveCharacterTextSplitter

from knowledge.headings import Section, sections
from knowledge.media import HTML, MARKDOWN
from tenancy.errors import Invalid

PASSAGE_CHARACTERS = 900  # about 200 tokens: MiniLM reads 256
OVERLAP_CHARACTERS = 120  # a sentence
MAX_PASSAGES = 20_000
MAX_PATH_CHARACTERS = 200
_BLOCK = 32_000  # the splitter holds the interpreter for a block: a few milliseconds
_SEPARATORS = ["\n\n", "\n", ". ", "! ", "? ", "。", " ", ""]


def split(text: str, media_type: str) -> list[str]:
    """The passages of `text` in its order, none blank; raises `Invalid` when there are too many.

    A passage under a heading opens with a line that names the way to it: `Shipping > Costs`.
    """
    if len(text) > MAX_PASSAGES * PASSAGE_CHARACTERS:
        raise Invalid("file", f"is too long: its text has {len(text)} characters")
    passages = list(islice(_passages(text, media_type), MAX_PASSAGES + 1))
    if len(passages) > MAX_PASSAGES:
        raise Invalid("file", f"is too long: more than {MAX_PASSAGES} passages")
    return passages


def _passages(text: str, media_type: str) -> Iterator[str]:
    splitter = _splitter()
    for path, body in _sections(text, media_type):
        head = " > ".join(path)[:MAX_PATH_CHARACTERS]
        if head and not body.strip():
            yield head
        for block in _blocks(body):
            for piece in splitter.split_text(block):
                yield f"{head}\n{piece}" if head else piece


def _splitter() -> RecursiveCharacterTextSplitter:
    return RecursiveCharacterTextSplitter(
        separators=_SEPARATORS,
        keep_separator="end",
        chunk_size=PASSAGE_CHARACTERS,
        chunk_overlap=OVERLAP_CHARACTERS,
    )


def _sections(text: str, media_type: str) -> Iterator[Section]:
    """Sections with text, and headings that are all their section has."""
    if media_type not in (MARKDOWN, HTML):
        yield (), text
        return
    before: Section = ((), "")
    for section in sections(text):
        if _speaks(before, section[0]):
            yield before
        before = section
    if _speaks(before, ()):
        yield before


def _speaks(section: Section, next_path: Sequence[str]) -> bool:
    path, body = section
    return bool(body.strip() or (path and tuple(next_path[: len(path)]) != path))


def _blocks(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = _cut(text, start)
        if block := text[start:end].strip():
            yield block
        start = end


def _cut(text: str, start: int) -> int:
    end = start + _BLOCK
    if end >= len(text):
        return len(text)
    for separator in ("\n\n", "\n", " "):
        at = text.rfind(separator, start + 1, end)
        if at > 0:
            return at
    return end
