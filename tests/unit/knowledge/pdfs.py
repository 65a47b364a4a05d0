"""PDF files made for tests."""

import zlib
from io import BytesIO

from pypdf import PdfReader, PdfWriter


def make_pdf(*pages: str, title: str | None = None) -> bytes:
    """A PDF with one line of Helvetica per line of each page."""
    return assemble([_content(page) for page in pages], title=title)


def bomb(unpacked: int) -> bytes:
    """A PDF whose only page unpacks to `unpacked` bytes."""
    return assemble([b"BT (x) Tj ET " * (unpacked // 13)])


def unfolding(letters: int, *, into: int) -> bytes:
    """A PDF of `letters` letters whose font says that each stands for `into` others."""
    letter_map = b"1 beginbfchar\n<41> <" + b"0042" * into + b">\nendbfchar"
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /ToUnicode 5 0 R >>"
    content = b"BT /F1 11 Tf (" + b"A" * letters + b") Tj ET"
    return assemble([letter_map, content], font=font)


def assemble(
    contents: list[bytes],
    *,
    title: str | None = None,
    font: bytes = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
) -> bytes:
    """A PDF of these page contents."""
    info = f"<< /Title ({title}) >>" if title else "<< >>"
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"", font, info.encode()]
    kids = []
    for content in contents:
        packed = zlib.compress(content)
        objects.append(
            b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(packed), packed)
        )
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents %d 0 R"
            b" /Resources << /Font << /F1 3 0 R >> >> >>" % len(objects)
        )
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (b" ".join(kids), len(kids))
    return _file(objects)


def encrypt(pdf: bytes, user_password: str) -> bytes:
    """The same file behind passwords."""
    writer = PdfWriter(clone_from=PdfReader(BytesIO(pdf)))
    writer.encrypt(user_password, owner_password="owner", algorithm="AES-256")
    out = BytesIO()
    writer.write(out)
    return out.getvalue()


def _content(page: str) -> bytes:
    lines = page.split("\n")
    shown = (f"BT /F1 11 Tf 50 {780 - 15 * n} Td ({line}) Tj ET" for n, line in enumerate(lines))
    return "\n".join(shown).encode("cp1252")


def _file(objects: list[bytes]) -> bytes:
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    return b"%sxref\n0 %d\n0000000000 65535 f \n%strailer\n%s\nstartxref\n%d\n%%%%EOF\n" % (
        out,
        size,
        table,
        b"<< /Size %d /Root 1 0 R /Info 4 0 R >>" % size,
        len(out),
    )
