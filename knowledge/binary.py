"""Binary files to text, in a process of its own.

A file of kilobytes can be made to unfold into hours of work and gigabytes of text, which no bound
inside one interpreter stops. The process has bounds the kernel keeps, and nothing to steal: no
environment, no connection, no other file's text.
"""

import json
import subprocess
import sys
from pathlib import Path

from knowledge.media import DOCX, PDF, PPTX, XLSX
from tenancy.errors import Invalid, Unavailable

MAX_SECONDS = 90.0  # of a busy machine; the process is allowed 30 of a core's
KINDS = {PDF: "PDF", DOCX: "Word document", PPTX: "PowerPoint file", XLSX: "Excel file"}
_ROOT = Path(__file__).parents[1]


def read_binary(media_type: str, data: bytes) -> tuple[list[str], str | None]:
    """The text of each page and the title the file gives itself; raises `Invalid` with the reason.

    Blocks while the file is read, without holding the interpreter.
    """
    kind = KINDS[media_type]
    if media_type == PDF and b"%PDF-" not in data[:1024]:
        raise Invalid("file", "is no PDF, or its beginning is broken")
    try:
        done = subprocess.run(  # noqa: S603  # our own interpreter and module
            [sys.executable, "-m", "knowledge.reader", media_type],
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # libraries quote the file in their warnings
            cwd=_ROOT,
            env={},
            timeout=MAX_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Invalid("file", f"is a {kind} that takes too long to read") from None
    if done.returncode < 0:
        raise Invalid("file", f"is a {kind} that is too complex to read")
    if done.returncode > 0:
        raise Unavailable(f"Files of this kind, {kind}, cannot be read at the moment.")
    answer = json.loads(done.stdout)
    if reason := answer.get("reason"):
        raise Invalid("file", reason)
    return answer["pages"], answer["title"]
