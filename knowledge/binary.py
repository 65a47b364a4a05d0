"""Binary files to text, in a process of its own."""

from knowledge.apart import ask_apart
from knowledge.media import DOCX, PDF, PPTX, XLSX
from tenancy.errors import Invalid

KINDS = {PDF: "PDF", DOCX: "Word document", PPTX: "PowerPoint file", XLSX: "Excel file"}


def read_binary(media_type: str, data: bytes) -> tuple[list[str], str | None]:
    """The text of each page and the title the file gives itself; raises as `ask_apart` does."""
    if media_type == PDF and b"%PDF-" not in data[:1024]:
        raise Invalid("file", "is no PDF, or its beginning is broken")
    answer = ask_apart("knowledge.reader", media_type, data=data, kind=KINDS[media_type])
    return answer["pages"], answer["title"]
