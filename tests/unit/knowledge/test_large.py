"""Large files: read as small ones are, elsewhere."""

import pytest

from knowledge.large import LARGE_BYTES, read_large
from knowledge.parse import parse
from knowledge.split import split
from tenancy.errors import Invalid, UnsupportedMedia

WORDS = "Words of a long file, é and 日本, are cut where they would be in a short one. "
KINDS = {
    "a.md": "# Title\n\n" + f"## Part\n\n{WORDS}\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n" * 40,
    "b.html": f"<html><title>Page</title><body>{f'<h2>Part</h2><p>{WORDS}</p>' * 40}</body></html>",
    "c.csv": "name,price\n" + "desk,5\n" * 400,
    "d.json": '{"orders": [' + ",".join('{"total": 5}' for _ in range(400)) + "]}",
    "e.py": "def desk():\n    return 5\n\n\n" * 100,
    "f \ud800.txt": WORDS * 40,
}


@pytest.mark.parametrize("name", KINDS)
def test_a_file_read_elsewhere_says_the_same(name: str) -> None:
    data = KINDS[name].encode()
    parsed, pieces = read_large(name, data, None)
    here = parse(name, data)
    assert (parsed.text, parsed.title, parsed.media_type, list(parsed.pages)) == (
        here.text,
        here.title,
        here.media_type,
        list(here.pages),
    )
    assert pieces == split(here.text, here.media_type, pages=here.pages)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.txt", b"word " * 5_000_000, "too long"),
        ("a.md", b"   ", "is empty"),
    ],
    ids=["words", "empty"],
)
def test_what_is_too_much_is_refused(name: str, data: bytes, says: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_large(name, data, None)
    assert says in refused.value.message


def test_a_kind_that_is_not_read_is_known_before() -> None:
    with pytest.raises(UnsupportedMedia):
        read_large("a.txt", b"MZ" + bytes(100), None)


def test_the_library_reads_large_files_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    from knowledge import ingest
    from tenancy.document import Upload
    from tenancy.plan import UNLIMITED

    monkeypatch.delattr(ingest, "parse")
    data = b"word " * (LARGE_BYTES // 5 + 1)
    parsed, pieces = ingest._read(Upload("a.txt", data), UNLIMITED)
    assert len(parsed.text) == len(data)
    assert pieces
