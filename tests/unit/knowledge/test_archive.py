"""ZIP archives of files, the harmless and the hostile."""

import stat
import struct
import tracemalloc
from io import BytesIO
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import pytest

from knowledge import archive as limits
from knowledge.archive import Archive, is_archive
from tenancy.document import Upload
from tenancy.errors import Invalid, PayloadTooLarge, Refusal


def packed(*files: tuple[str | ZipInfo, bytes], how: int = ZIP_DEFLATED) -> bytes:
    """An archive of these files."""
    target = BytesIO()
    with ZipFile(target, "w", how) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return target.getvalue()


def taken(data: bytes) -> dict[str, bytes | str]:
    """What each file holds, or why it is refused."""
    archive, found = Archive(data), {}
    for member in archive.members:
        try:
            found[member.path] = archive.take(member).data
        except Refusal as refusal:
            found[member.path] = refusal.message if isinstance(refusal, Invalid) else refusal.detail
    return found


def link(name: str) -> ZipInfo:
    info = ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def test_every_file_is_taken_that_is_no_folder_and_not_hidden() -> None:
    data = packed(
        ("a/", b""),
        ("a/one.md", b"1"),
        ("a/.git/config", b"x"),
        (".DS_Store", b"x"),
        ("__MACOSX/a/._one.md", b"x"),
        ("two.txt", b"2"),
    )
    assert taken(data) == {"a/one.md": b"1", "two.txt": b"2"}


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "C:\\x\\passwd", "a/../passwd"]
)
def test_a_path_that_leads_elsewhere_is_only_a_name(name: str) -> None:
    archive = Archive(packed((name, b"words")))
    [member] = archive.members
    assert archive.take(member) == Upload("passwd", b"words")


def test_a_link_is_not_followed() -> None:
    assert "link" in str(taken(packed((link("secrets"), b"/etc/passwd")))["secrets"])


@pytest.mark.parametrize("name", ["in.zip", "in.tar.gz", "IN.7Z", "in.md"])
def test_an_archive_inside_an_archive_stays_shut(name: str) -> None:
    assert "inside an archive" in str(taken(packed((name, packed(("a", b"a")))))[name])


def test_a_path_too_long_to_show_keeps_the_name_of_its_file() -> None:
    archive = Archive(packed(("folder/" * 100 + "terms.md", b"words")))
    [member] = archive.members
    assert len(member.path) <= limits.MAX_PATH_CHARACTERS
    assert archive.take(member).name == "terms.md"


def test_the_second_file_of_a_path_is_refused() -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        archive = Archive(packed(("a.md", b"first"), ("a.md", b"second")))
    first, second = archive.members
    assert archive.take(first).data == b"first"
    with pytest.raises(Invalid, match="request"):
        archive.take(second)


def test_an_encrypted_file_is_refused_and_the_rest_taken() -> None:
    data = bytearray(packed(("a.md", b"secret"), ("b.md", b"open")))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + at] |= 1
    found = taken(bytes(data))
    assert "encrypted" in str(found["a.md"])
    assert found["b.md"] == b"open"


def test_a_damaged_file_is_refused_and_the_rest_taken() -> None:
    data = packed(("a.md", b"whole"), ("b.md", b"open"), how=ZIP_STORED).replace(b"whole", b"whale")
    assert taken(data) == {"a.md": "is broken in the archive", "b.md": b"open"}


def test_a_file_that_is_packed_otherwise_is_refused() -> None:
    assert "deflate" in str(taken(packed(("a.md", b"a" * 99), how=ZIP_BZIP2))["a.md"])


def test_a_file_longer_than_it_says_is_refused() -> None:
    data = bytearray(packed(("a.md", b"a" * 5000)))
    for mark, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<L", data, data.index(mark) + at, 10)
    assert taken(bytes(data)) == {"a.md": "is broken in the archive"}


def test_a_bomb_is_refused_without_unpacking() -> None:
    with pytest.raises(Invalid) as refused:
        Archive(packed(("a.txt", bytes(20_000_000))))
    assert "times its size" in refused.value.message


def test_all_files_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_UNPACKED_BYTES", 1000)
    files = [(f"{n}.txt", b"a" * 300) for n in range(4)]
    with pytest.raises(PayloadTooLarge):
        Archive(packed(*files))
    assert len(taken(packed(*files[:3]))) == 3


def test_a_thousand_files_are_as_many_as_may_be() -> None:
    files = [(f"{n}.txt", b"a") for n in range(1001)]
    with pytest.raises(PayloadTooLarge, match="1000 files"):
        Archive(packed(*files))
    assert len(Archive(packed(*files[:1000])).members) == 1000


def test_a_directory_of_a_million_entries_costs_nothing() -> None:
    data = packed(("a", b"a"))
    start = data.index(b"PK\x01\x02")
    entry = data[start : data.index(b"PK\x05\x06")]
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(entry) * 300_000, start, 0)
    huge = data[:start] + entry * 300_000 + end
    tracemalloc.start()
    with pytest.raises(PayloadTooLarge):
        Archive(huge)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_the_larger_form_of_the_last_record_is_refused() -> None:
    data = packed(("a", b"a"))
    at = data.index(b"PK\x05\x06")
    with pytest.raises(PayloadTooLarge):
        Archive(data[:at] + b"PK\x06\x07" + bytes(16) + data[at:])


@pytest.mark.parametrize(
    "data", [b"PK\x03\x04rest", b"PK\x05\x06" + bytes(18), b"PK\x05\x06", packed(("a/", b""))]
)
def test_what_holds_no_file_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        Archive(data)


def test_cut_archives_are_refused_or_read() -> None:
    whole = packed(("a.md", b"some words"), ("b.md", b"and more"))
    for length in range(len(whole)):
        with pytest.raises(Refusal):
            Archive(whole[:length])


@pytest.mark.parametrize(
    ("name", "declared", "first", "is_one"),
    [
        ("a.zip", None, "a.md", True),
        ("a.ZIP", "application/octet-stream", "a.md", True),
        ("a", "application/zip", "a.md", True),
        ("a.docx", "application/zip", "a.md", False),
        ("a.docx", None, "a.md", False),
        ("a.zip", None, "[Content_Types].xml", False),
    ],
)
def test_an_archive_is_told_from_an_office_file(
    name: str, declared: str | None, first: str, is_one: bool
) -> None:
    assert is_archive(Upload(name, packed((first, b"x")), media_type=declared)) is is_one
    assert not is_archive(Upload(name, b"no archive", media_type=declared))


def test_a_large_file_of_an_archive_is_refused_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_UPLOAD_BYTES", 50)
    found = taken(packed(("a.md", b"ab" * 30), ("b.md", b"b")))
    assert found["b.md"] == b"b"
    assert "MiB" in str(found["a.md"])
