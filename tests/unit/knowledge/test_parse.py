"""Which files are read, what is read out of them, and which are refused and why."""

import zipfile
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knowledge import apart, pdf_reader
from knowledge.parse import MAX_TITLE_CHARACTERS, parse
from knowledge.split import split
from tenancy.errors import Invalid, Refusal, UnsupportedMedia
from tests.unit.knowledge.pdfs import assemble, bomb, encrypt, make_pdf, unfolding

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\6\0\0\0\x1f\x15\xc4\x89"
OLD_WORD = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512)
DEMO = Path(__file__).parents[3] / "server" / "demo"


def zipped(name: str) -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, "<w:document/>")
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "declared", "media_type"),
    [
        ("a.md", b"# Hi", None, "text/markdown"),
        ("A.MARKDOWN", b"hi", None, "text/markdown"),
        ("a.txt", b"hi", "application/octet-stream", "text/plain"),
        ("a.html", b"<p>hi", None, "text/html"),
        ("a.htm", b"hi", "text/plain", "text/html"),
        ("page", b"\n<!DOCTYPE html><p>hi", None, "text/html"),
        ("page.txt", b"\xef\xbb\xbf<html lang=en><p>hi", None, "text/html"),
        ("README", b"hi", None, "text/plain"),
        ("", b"hi", "text/markdown; charset=utf-8", "text/markdown"),
        ("notes.log", b"hi", "text/plain", "text/plain"),
        ("v1.2 draft", b"hi", None, "text/plain"),
        ("a.pdf", make_pdf("hi"), None, "application/pdf"),
        ("a.txt", make_pdf("hi"), "text/plain", "application/pdf"),
        ("a.md", b"see <html> tags", None, "text/markdown"),
    ],
)
def test_content_rules_over_name_and_name_over_declaration(
    name: str, data: bytes, declared: str | None, media_type: str
) -> None:
    assert parse(name, data, declared).media_type == media_type


@pytest.mark.parametrize(
    ("name", "data", "declared"),
    [
        ("a.png", PNG, "image/png"),
        ("a.txt", PNG, "text/plain"),
        ("a.pdf", PNG, "application/pdf"),
        ("a.docx", zipped("a.xml"), None),
        ("a.txt", zipped("a.txt"), "text/plain"),
        ("a.doc", OLD_WORD, None),
        ("a.doc", b"words", None),
        ("a.parquet", b"a,b", None),
        ("a.exe", b"MZ\0\0", None),
        ("", bytes(range(256)), None),
        ("a.txt", b"\1\0\2\0\3\0" * 50, None),
        ("a.rtf", b"{\\rtf1 hi}", "text/plain"),
        ("a.jpg", b"", None),
    ],
)
def test_other_kinds_are_refused_with_the_reason(
    name: str, data: bytes, declared: str | None
) -> None:
    with pytest.raises(UnsupportedMedia, match=r"support") as refused:
        parse(name, data, declared)
    assert refused.value.detail.endswith(".")


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.txt", b"", "is empty"),
        ("a.md", b" \r\n\t", "is empty"),
        ("a.pdf", b"", "is empty"),
        ("a.txt", b"\xef\xbb\xbf", "no text"),
        ("a.txt", b"\xff\xfe \0", "no text"),
        ("a.txt", "Grüße".encode("latin-1"), "UTF-8 text at byte 2"),
        ("a.txt", b"\xff\xfeh\0i", "UTF-16-LE"),
        ("a.txt", b"\xff\xfe\x00\xd8h\0", "UTF-16-LE"),
        ("a.html", b"<html><script>let a = 1</script>", "no text"),
        ("a.html", b"<nav>Home</nav><!-- only this", "no text"),
        ("a.html", b"<p>&#" + b"9" * 5000, "not HTML"),
        ("a.pdf", b"not one", "broken"),
        ("a.pdf", b"%PDF-1.7\nnothing", "broken"),
        ("a.pdf", make_pdf("hello")[:-200], "broken"),
        ("a.pdf", make_pdf("hello")[:150], "broken"),
        ("a.pdf", assemble([b""]), "is it a scan"),
        ("a.pdf", assemble([]), "no text"),
        ("a.pdf", encrypt(make_pdf("hello"), "secret"), "encrypted"),
        ("a.docx", zipped("word/document.xml"), "Word document that is broken"),
        ("a.pdf", bomb(40_000_000), "broken or too complex"),
        ("a.pdf", assemble([b"[" * 100_000 + b"] TJ"]), ""),
    ],
)
def test_broken_files_are_invalid_with_the_reason(name: str, data: bytes, reason: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse(name, data)
    assert refused.value.field == "file"
    assert reason in refused.value.message


def test_a_pdf_that_breaks_on_a_page_says_which() -> None:
    heavy = b"BT (x) Tj ET " * 3_000_000
    with pytest.raises(Invalid) as refused:
        parse("a.pdf", assemble([b"BT (fine) Tj ET", heavy, b"BT (fine) Tj ET"]))
    assert refused.value.message == "is a PDF whose page 2 is broken or too complex to read"


def test_a_pdf_of_too_many_pages_is_invalid() -> None:
    with pytest.raises(Invalid) as refused:
        parse("a.pdf", assemble([b""] * (pdf_reader.MAX_PAGES + 1)))
    assert refused.value.message == "has more than 2000 pages"


def test_an_owner_password_alone_locks_nobody_out() -> None:
    assert parse("a.pdf", encrypt(make_pdf("hello"), "")).text == "hello"


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbfGr\xc3\xbc\xc3\x9fe",
        b"\xff\xfe" + "Grüße".encode("utf-16-le"),
        b"\xfe\xff" + "Grüße".encode("utf-16-be"),
        b"\xff\xfe\0\0" + "Grüße".encode("utf-32-le"),
        b"\0\0\xfe\xff" + "Grüße".encode("utf-32-be"),
    ],
)
def test_a_byte_order_mark_says_the_encoding(data: bytes) -> None:
    assert parse("a.txt", data).text == "Grüße"


def test_text_is_what_every_store_can_hold() -> None:
    dirty = "one\0\r\ntwo\x07\rthree\ufeff" + "." * 300
    assert parse("a.txt", dirty.encode()).text == "one\ntwo\nthree" + "." * 300


def test_direction_marks_and_right_to_left_text_are_kept() -> None:
    text = "שלום \u200fעולם\u200e, مرحبا"
    assert parse("a.txt", text.encode()).text == text


def test_a_line_of_megabytes_is_read() -> None:
    assert len(parse("a.txt", b"x" * 3_000_000).text) == 3_000_000


def test_html_is_read_as_a_reader_sees_it() -> None:
    page = b"""<!doctype html><html><head><title>The &amp; Shop</title><style>p{}</style></head>
    <body><nav><a>Home</a></nav><h1>
 Prices</h1><!-- not this --><p>Tea &lt;1 kg&gt; costs
    <b> 5&nbsp;&euro;</b>&#0;&#xD800;.</p><template>no</template><script>if (a<b) "</p>"</script>
    <table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td><p>2</p></td></tr></table>
    <ul><li>one</li><li>two</ul><pre>x
      y</pre>a<br>b <a href="x>y" title=it's>c</a> 1 < 2</body></html>"""
    parsed = parse("shop.html", page)
    assert parsed.title == "The & Shop"
    assert parsed.text == (
        "# Prices\n\nTea <1 kg> costs 5 €\ufffd\ufffd.\n\n"
        "| a | b |\n| --- | --- |\n| 1 | 2 |\n\n- one\n- two\n\n```\nx\n      y\n```\n\n"
        "a\nb c 1 < 2"
    )


@pytest.mark.parametrize(
    ("page", "text"),
    [
        (
            "<table><caption>All</caption><thead><tr> <th> Name <th>Sum</thead>"
            "<tr><td>x|y<td><p>1</p><pre>a\nb</pre><tr><td><td>2</table>",
            "All\n| Name | Sum |\n| --- | --- |\n| x/y | 1 a b |\n| | 2 |",
        ),
        ("<table><tr><th>a<td>1<tr><th>b<td>2</table>", "a | 1\nb | 2"),  # headers of rows
        ("<table><tr><th>All</table>", "All"),
        (
            "<table><tr><th>a<th>b<tr><td><table><tr><td>in<td>side</table><td>c</table>",
            "| a | b |\n| --- | --- |\n\nin | side\n\nc",
        ),
    ],
)
def test_a_table_of_html_with_headers_is_one_of_markdown(page: str, text: str) -> None:
    assert parse("a.html", page.encode()).text == text


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<pre>\n# not a heading\n\n  x | y\n</pre>", "```\n# not a heading\n\n  x | y\n\n```"),
        ("a<pre> </pre>b", "a\n\nb"),
        ("<pre>a ``` b</pre>", "````\na ``` b\n````"),
        ("<pre>never <b>closed</b>", "```\nnever closed\n```"),
    ],
)
def test_code_of_html_is_code(page: str, text: str) -> None:
    parsed = parse("a.html", page.encode())
    assert parsed.text == text
    assert {piece.path for piece in split(parsed.text, parsed.media_type)} == {()}


def test_the_headers_of_a_long_table_of_html_are_those_of_each_passage() -> None:
    rows = "".join(f"<tr><td>Desk {n}<td>{n} euros" for n in range(200))
    parsed = parse("a.html", f"<table><tr><th>Name<th>Price{rows}</table>".encode())
    pieces = split(parsed.text, parsed.media_type)
    assert len(pieces) > 3
    assert all("| Name | Price |" in piece.text for piece in pieces)


def test_unclosed_html_is_read_in_linear_time() -> None:
    for fragment in (b"<!--", b"<a ", b'<a b="', b"<![CDATA[", b"</", b"<script>", b"<nav>"):
        with pytest.raises(Invalid):
            parse("a.html", b"<html>" + fragment * 100_000)


@pytest.mark.parametrize(
    ("name", "data", "title"),
    [
        ("a.md", b"intro\n```\n# code\n```\n## The *way* ##\n# Later", "The *way*"),
        ("../up/return-policy_2024.md", b"text", "Return policy 2024"),
        ("C:\\docs\\Opening hours.txt", b"text", "Opening hours"),
        ("a.html", b"<title> Our\n shop </title><p>x", "Our shop"),
        ("my-page.html", b"<title></title><p>x", "My page"),
        ("my-page.html", b"<p>x</p><h2>Our <b>shop</b></h2><h1>y</h1>", "Our shop"),
        ("a.pdf", make_pdf("x", title="Terms"), "Terms"),
        ("terms.pdf", make_pdf("x"), "Terms"),
        ("", b"text", None),
        ("..", b"text", ".."),
        ("\0\ud800.txt", b"text", None),
        (f"{'x' * 999}.txt", b"text", "X" + "x" * (MAX_TITLE_CHARACTERS - 1)),
    ],
)
def test_the_title_is_the_documents_own_or_its_files(
    name: str, data: bytes, title: str | None
) -> None:
    assert parse(name, data).title == title


def test_wrapped_lines_of_a_pdf_become_sentences_again() -> None:
    page = "Acme accepts returns within thirty days of the delivery, for any\nreason. Short\nlines"
    assert parse("a.pdf", make_pdf(page, "page two")).text == (
        "Acme accepts returns within thirty days of the delivery, for any reason. Short\nlines\n\n"
        "page two"
    )


names = st.text(max_size=20).flatmap(
    lambda stem: st.sampled_from(["", ".md", ".txt", ".html", ".pdf", ".docx"]).map(stem.__add__)
)
FRAGMENTS = (
    "< > </ <!-- --> <! & &# x = \" ' / p> <table> <td> </tr> <nav> </nav>"
    " <title> <script> </script"
)
markup = st.lists(st.sampled_from([*FRAGMENTS.split(), " ", "\n", "# "]), max_size=60).map(
    lambda parts: "".join(parts).encode()
)


@settings(max_examples=300, deadline=None)
@given(names, st.binary() | st.text().map(str.encode) | markup)
def test_any_file_is_read_or_refused(name: str, data: bytes) -> None:
    try:
        parsed = parse(name, data)
    except Refusal:
        return
    assert parsed.text.strip()
    parsed.text.encode()  # no lone surrogate
    assert "\0" not in parsed.text + (parsed.title or "")


@st.composite
def damaged_pdfs(draw: st.DrawFn) -> bytes:
    data = bytearray((DEMO / "acme" / "payment-terms.pdf").read_bytes())
    for _ in range(draw(st.integers(1, 8))):
        at = draw(st.integers(0, len(data) - 1))
        data[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=6))
    return bytes(data)


@settings(max_examples=200, deadline=None)
@given(damaged_pdfs())
def test_any_damaged_pdf_is_read_or_refused(data: bytes) -> None:
    with suppress(pdf_reader.Unreadable):
        pdf_reader.read(data)


def test_a_pdf_that_unfolds_without_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    # on patching: the bound is a number of seconds, and no test should wait for it
    monkeypatch.setattr(apart, "MAX_SECONDS", 3.0)
    with pytest.raises(Invalid) as refused:
        parse("a.pdf", unfolding(20_000_000, into=100))
    assert refused.value.message == "is a PDF that takes too long to read"
