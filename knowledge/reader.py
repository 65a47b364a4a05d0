"""The process that reads one binary file: the file on standard input, JSON on standard output."""

import json
import sys
from collections.abc import Callable

from knowledge.apart import bound_this_process
from knowledge.media import DOCX, PDF, PPTX, XLSX
from knowledge.unreadable import Unreadable

Read = Callable[[bytes], tuple[list[str], str | None]]


def main() -> None:
    """Answer `{"pages", "title"}` or `{"reason"}`; ended by a signal when it takes too much."""
    bound_this_process()
    try:
        pages, title = _reader(sys.argv[1])(sys.stdin.buffer.read())
        answer = json.dumps({"pages": pages, "title": title})
    except (Unreadable, MemoryError) as refused:
        answer = json.dumps({"reason": str(refused) or "is too complex to read"})
    sys.stdout.write(answer)


def _reader(media_type: str) -> Read:
    """What reads this kind: a file pays for the library of its own kind only."""
    if media_type == PDF:
        from knowledge import pdf_reader  # noqa: PLC0415

        return pdf_reader.read
    if media_type == XLSX:
        from knowledge import sheet_reader  # noqa: PLC0415

        return sheet_reader.read
    from knowledge import office_reader  # noqa: PLC0415

    return {DOCX: office_reader.read_document, PPTX: office_reader.read_slides}[media_type]


if __name__ == "__main__":
    main()
