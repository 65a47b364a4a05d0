"""What is read out of Office files, tables, JSON and source code, and what is refused."""

import json
from datetime import date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knowledge import office_archive, sheet_reader
from knowledge.media import DOCX, PPTX, XLSX
from knowledge.parse import parse
from knowledge.split import split
from tenancy.errors import Invalid, Refusal, UnsupportedMedia
from tests.unit.knowledge.office import hidden_docx, make_docx, make_pptx, make_xlsx, with_part

PRICES = [["Item", "Price"], ["Tea | green", "5"], ["Salt", "2"]]
WORD = make_docx(
    ("Terms", "Title"),
    ("Read them.", "Normal"),
    ("Returns", "Heading 1"),
    ("Within 30 days", "List Bullet"),
    PRICES,
    title="Our terms",
)
DECK = make_pptx(("Plans", "Choose one", "Say it slowly"), ("Prices", "As of today", ""))
BOOK = make_xlsx(
    {
        "Sales": [["Day", "Sum"], [date(2026, 1, 5), 12.5], [None, None], ["x", True]],
        "Old": [["a"]],
    },
    hidden=("Old",),
)
LOCKED = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le")
FILES = {"a.docx": WORD, "a.pptx": DECK, "a.xlsx": BOOK}


def test_a_word_file_keeps_headings_lists_and_tables() -> None:
    parsed = parse("terms.docx", WORD)
    assert (parsed.media_type, parsed.title, parsed.pages) == (DOCX, "Our terms", ())
    assert parsed.text == (
        "# Terms\n\nRead them.\n\n# Returns\n\n- Within 30 days\n\n"
        "| Item | Price |\n| --- | --- |\n| Tea / green | 5 |\n| Salt | 2 |"
    )
    assert split(parsed.text, DOCX)[-1].path == ("Returns",)


def test_an_office_file_without_a_title_has_that_of_its_first_heading() -> None:
    word = make_docx(("By us", "Normal"), ("Our terms", "Heading 1"))
    assert parse("scan-7.docx", word).title == "Our terms"
    assert parse("scan-7.pptx", make_pptx(("Plans", "x", ""))).title == "Plans"
    assert parse("scan-7.xlsx", make_xlsx({"Sheet1": [["x"]]})).title == "Scan 7"


def test_each_slide_is_a_page_with_its_notes_and_tables() -> None:
    parsed = parse("deck.pptx", DECK)
    first, second = "# Plans\n\nChoose one\n\nSay it slowly", "# Prices\n\nAs of today\n\n"
    assert (parsed.media_type, parsed.pages) == (PPTX, [0, len(first) + 2])
    table = "| Plan | Price |\n| --- | --- |\n| Pro | 12 EUR |"
    assert parsed.text == f"{first}\n\n{second}{table}"
    pieces = split(parsed.text, PPTX, pages=parsed.pages)
    assert [(piece.page, piece.path) for piece in pieces] == [(1, ("Plans",)), (2, ("Prices",))]


def test_each_visible_sheet_is_a_section_with_its_table() -> None:
    parsed = parse("book.xlsx", BOOK)
    assert parsed.media_type == XLSX
    assert parsed.text == (
        "# Sales\n\n| Day | Sum |\n| --- | --- |\n| 2026-01-05 | 12.5 |\n| x | True |"
    )


def test_the_header_of_a_long_table_is_repeated() -> None:
    rows = [["Number", "Square"], *[[str(n), str(n * n)] for n in range(1000)]]
    parsed = parse("squares.xlsx", make_xlsx({"S": rows}))
    pieces = split(parsed.text, XLSX)
    assert len(pieces) > 5
    assert all("| Number | Square |" in piece.text for piece in pieces)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("called", ["notes.txt", "a.pdf", "a", "a.docx", "a.xlsx"])
def test_content_rules_over_the_name(name: str, called: str) -> None:
    assert parse(called, FILES[name]).media_type == parse(name, FILES[name]).media_type


def test_what_word_hides_is_not_read() -> None:
    assert "obey" not in parse("a.docx", hidden_docx("Seen", "obey me")).text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b'Name,City\n\nBob,"New\nYork"\n', ["Name | City", "Bob | New York"]),
        (b"Name;Sum\nAda;1,5\n", ["Name | Sum", "Ada | 1,5"]),
        (b"Name\tSum\nAda\t5\n", ["Name | Sum", "Ada | 5"]),
        (b"Name\nAda\n", ["Name", "Ada"]),
    ],
)  # fmt: skip
def test_a_csv_is_a_table_whatever_separates_its_cells(data: bytes, text: list[str]) -> None:
    header, *rows = text
    rule = " | ".join(["---"] * len(header.split(" | ")))
    lines = "\n".join(f"| {line} |" for line in (header, rule, *rows))
    assert parse("a.csv", data).text == lines


def test_a_date_of_a_sheet_has_no_time() -> None:
    book = make_xlsx({"S": [["day", "at"], [datetime(2026, 1, 2), datetime(2026, 1, 2, 9, 30)]]})
    assert "| 2026-01-02 | 2026-01-02T09:30:00 |" in parse("a.xlsx", book).text


def test_cells_of_a_wide_table_are_named() -> None:
    header = ",".join(f"a column with a long name {n}" for n in range(60))
    found = parse("a.csv", f"{header}\n1,{',' * 57}2\n".encode()).text
    assert found == "- a column with a long name 0: 1; a column with a long name 58: 2"


def test_json_values_are_named_by_the_way_to_them() -> None:
    data = {"shop": {"open": True, "tags": ["tea", None]}, "sum": 5}
    assert parse("a.json", json.dumps(data).encode()).text == (
        "shop.open: true\nshop.tags[0]: tea\nsum: 5"
    )
    lines = b'{"q": "why"}\n\n{"q": "how"}\n'
    assert parse("a.jsonl", lines).text == "[1].q: why\n[2].q: how"


def test_source_code_is_split_at_definitions() -> None:
    body = "\n".join(f"        x{n} = {n}" for n in range(50))
    code = f"class Shop:\n    def open(self):\n{body}\n    def close(self):\n{body}\n"
    parsed = parse("shop.py", code.encode())
    pieces = split(parsed.text, parsed.media_type)
    assert {piece.path[:1] for piece in pieces} == {("Shop",)}
    assert pieces[-1].path == ("Shop", "close")
    assert "".join(piece.text for piece in pieces).count("x49 = 49") == 2


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.docx", b"just words", "Office file that is broken"),
        ("a.docx", WORD[: len(WORD) // 2], "broken"),
        ("a.docx", with_part(WORD, "word/document.xml", "<w:document"), "broken"),
        ("a.pptx", with_part(DECK, "ppt/presentation.xml", b"\0" * 100), "broken"),
        ("a.xlsx", with_part(BOOK, "xl/workbook.xml", "<nothing"), "broken"),
        ("a.docx", make_docx(), "holds no text"),
        ("a.xlsx", make_xlsx({"S": [[None]]}), "holds no text"),
        ("a.csv", b'a,b\n"' + b"x" * 1_100_000, "no CSV"),
        ("a.json", b'{"a": ', "not valid JSON in line 1"),
        ("a.jsonl", b'{"a": 1}\n{"b"', "not valid JSON in line 2"),
        ("a.json", b"[" * 200 + b"]" * 200, "nested more than 100 deep"),
        ("a.json", b"[" * 2_000_000, "nested"),
        ("a.json", b"{}", "holds no text"),
        ("a.docx", LOCKED, "encrypted"),
    ],
)  # fmt: skip
def test_broken_files_are_invalid_with_the_reason(name: str, data: bytes, reason: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse(name, data)
    assert reason in refused.value.message


def test_a_zip_that_is_no_office_file_is_no_document() -> None:
    with pytest.raises(UnsupportedMedia, match="ZIP archive"):
        parse("a.docx", WORD.replace(b"document.xml", b"nocument.xml"))


BILLION_LAUGHS = (
    '<!DOCTYPE w [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 40}">' for a, b in zip("abcdefg", "bcdefgh", strict=True))
    + "]>"
)


PARTS = {
    "a.docx": "word/document.xml",
    "a.pptx": "ppt/slides/slide1.xml",
    "a.xlsx": "xl/worksheets/sheet1.xml",
}


@pytest.mark.parametrize("name", PARTS)
def test_an_office_file_that_unfolds_is_refused(name: str) -> None:
    bomb = with_part(FILES[name], PARTS[name], b" " * (office_archive.MAX_UNPACKED_BYTES + 1))
    with pytest.raises(Invalid) as refused:
        parse(name, bomb)
    assert refused.value.message == "unpacks to more than 200 MB"


@pytest.mark.parametrize("name", PARTS)
def test_entities_that_unfold_are_refused(name: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse(name, with_part(FILES[name], PARTS[name], BILLION_LAUGHS + "<w>&h;</w>"))
    assert "is broken" in refused.value.message


def test_no_entity_of_a_file_reads_another_file() -> None:
    outside = '<!DOCTYPE w [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    body = (
        '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'
        "<w:body><w:p><w:r><w:t>seen &x;</w:t></w:r></w:p></w:body></w:document>"
    )
    try:
        text = parse("a.docx", with_part(WORD, "word/document.xml", outside + body)).text
    except Invalid:
        return
    assert "root:" not in text


def test_too_many_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # on patching: the bound is large, and no test should write as many rows
    monkeypatch.setattr(sheet_reader, "MAX_ROWS", 10)
    with pytest.raises(sheet_reader.Unreadable, match="more than 10 rows"):
        sheet_reader.read(make_xlsx({"S": [["n"], *[[n] for n in range(10)]]}))


@pytest.mark.parametrize(
    ("hidden", "seen"),
    [
        ("<div hidden>obey</div>", "a\n\nb"),
        ("<p style='color: red; display:none'>obey</p>", "a\n\nb"),
        ('<span style="font-size:0px">obey <b>now</b></span>', "a\n\nb"),
        ('<div style="visibility : hidden"><div>obey</div>obey</div>', "a\n\nb"),
        ("<p hidden>obey", "a\n\nb"),
        ("<input hidden><br hidden>", "a\n\nb"),
        ('<div data-hidden="no" style="font-size:0.9em">seen</div>', "a\n\nseen\n\nb"),
        ('<div style="opacity:0.5" title="hidden">seen</div>', "a\n\nseen\n\nb"),
    ],
)
def test_what_a_page_hides_is_not_read(hidden: str, seen: str) -> None:
    assert parse("a.html", f"<p>a</p>{hidden}<p>b</p>".encode()).text == seen


def test_what_no_reader_sees_is_not_read() -> None:
    tags = "".join(chr(0xE0000 + ord(c)) for c in "obey")
    text = f"Te\u200ba{tags} is\u202e go\u2060od\u2069, ca\u00adke\u2063 too"
    assert parse("a.txt", text.encode()).text == "Tea is good, cake too"
    assert parse("a.txt", "می\u200cخواهم 👩\u200d🍳".encode()).text == "می\u200cخواهم 👩\u200d🍳"


def test_what_no_reader_sees_is_not_read_from_an_escape_either() -> None:
    value = b'{"te\\u200ba": "go\\ud800od\\u0000\\udb40\\udc6f"}'
    assert parse("a.json", value).text == "tea: good"
    assert parse("a.jsonl", value + b"\n" + value).text == "[1].tea: good\n[2].tea: good"


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["a.csv", "a.json", "a.py", "a.jsonl"]), st.text(max_size=200))
def test_any_text_is_read_or_refused(name: str, text: str) -> None:
    try:
        parsed = parse(name, text.encode(errors="replace"))
    except Refusal:
        return
    assert parsed.text.strip()
    assert split(parsed.text, parsed.media_type)
