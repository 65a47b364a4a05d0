"""A ZIP archive of files: looked at before anything is unpacked, then unpacked one file at a time.

Nothing is written anywhere: a path in it is a name that is shown, and no more.
"""

import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from knowledge.ingest import MAX_UPLOAD_BYTES
from knowledge.media import base_name
from knowledge.plaintext import clean
from tenancy.document import Upload
from tenancy.errors import Invalid, PayloadTooLarge, Refusal, UnsupportedMedia

MAX_FILES = 1_000
MAX_UNPACKED_BYTES = 4 * MAX_UPLOAD_BYTES  # of all files together
MAX_RATIO = 200  # text packs to a tenth, a log to a hundredth
UNSUSPECTED_BYTES = 1_000_000  # whatever the ratio
MAX_DIRECTORY_BYTES = 2_000_000  # before its entries become objects
MAX_PATH_CHARACTERS = 300
ENCRYPTED = 0x1
TYPES = ("application/zip", "application/x-zip-compressed")
NESTED = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".jar", ".zst")
_OFFICE = (".docx", ".pptx", ".xlsx")
_FILE, _END, _END_64 = b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x07"
_END_BYTES = 22
_BROKEN = (BadZipFile, zlib.error, EOFError, ValueError, OSError, NotImplementedError)


def is_archive(upload: Upload) -> bool:
    """Whether an upload is a ZIP archive, and one of files: Office files are archives too."""
    name, declared = upload.name.lower(), (upload.media_type or "").partition(";")[0].strip()
    if not name.endswith(".zip") and (declared not in TYPES or name.endswith(_OFFICE)):
        return False
    return upload.data.startswith((_FILE, _END)) and b"[Content_Types].xml" not in upload.data[:80]


@dataclass(frozen=True, slots=True)
class Member:
    """A file of an archive. `refusal` is why it will not be unpacked, where that is known."""

    path: str
    info: ZipInfo
    refusal: Refusal | None


class Archive:
    """The files of an archive that are no folders and not hidden, in its order."""

    def __init__(self, data: bytes) -> None:
        """Raises `PayloadTooLarge`, `Invalid` or `UnsupportedMedia` for the archive as a whole."""
        _require_small_directory(data)
        try:
            self._zip = ZipFile(BytesIO(data))
        except _BROKEN:
            raise Invalid("file", "is a ZIP archive that is broken") from None
        shown = [info for info in self._zip.infolist() if not _passed_over(info)]
        _require_within(shown)
        self.members = list(_members(shown))

    def take(self, member: Member) -> Upload:
        """One file, unpacked; raises the `Refusal` of it alone."""
        if member.refusal is not None:
            raise member.refusal
        try:
            with self._zip.open(member.info) as packed:
                data = packed.read(MAX_UPLOAD_BYTES + 1)
        except (*_BROKEN, RuntimeError):
            raise Invalid("file", "is broken in the archive") from None
        if data.startswith((_FILE, _END)) and not member.path.lower().endswith(_OFFICE):
            raise _nested()
        return Upload(base_name(member.path), data)


def _require_small_directory(data: bytes) -> None:
    """Refuse by the archive's last record, before `ZipFile` makes an object of every entry."""
    at = len(data) - _END_BYTES
    if not (data[at:].startswith(_END) and data.endswith(b"\0\0")):
        at = data.rfind(_END, max(0, len(data) - 65_536 - _END_BYTES))
    if at < 0 or len(data) < at + _END_BYTES:
        raise Invalid("file", "is a ZIP archive that is broken")
    size = struct.unpack_from("<L", data, at + 12)[0]
    if size > MAX_DIRECTORY_BYTES or data[max(0, at - 20) : at].startswith(_END_64):
        raise PayloadTooLarge(f"An archive may have up to {MAX_FILES} files.")


def _passed_over(info: ZipInfo) -> bool:
    """Folders, and what a system hides: `.git`, `.DS_Store`, `__MACOSX`."""
    parts = info.filename.replace("\\", "/").split("/")
    hidden = any(part.startswith(".") and part not in (".", "..") for part in parts)
    return info.is_dir() or hidden or "__MACOSX" in parts


def _require_within(files: list[ZipInfo]) -> None:
    if not files:
        raise Invalid("file", "is an archive without files")
    if len(files) > MAX_FILES:
        raise PayloadTooLarge(f"An archive may have up to {MAX_FILES} files.")
    unpacked = sum(info.file_size for info in files)
    if unpacked > MAX_UNPACKED_BYTES:
        raise PayloadTooLarge(f"An archive may unpack to {MAX_UNPACKED_BYTES // 1024**2} MiB.")
    if unpacked > UNSUSPECTED_BYTES and unpacked > MAX_RATIO * sum(f.compress_size for f in files):
        raise Invalid("file", f"is an archive that unpacks to more than {MAX_RATIO} times its size")


def _members(files: list[ZipInfo]) -> Iterator[Member]:
    known: set[str] = set()
    for info in files:
        twice = info.filename in known
        known.add(info.filename)
        path = " ".join(clean(info.filename).split())
        shown = path[-MAX_PATH_CHARACTERS:]  # the end, which says what the file is
        yield Member(shown, info, _double() if twice else _fault_of(info))


def _fault_of(info: ZipInfo) -> Refusal | None:
    """What can be said against a file without unpacking it."""
    if info.flag_bits & ENCRYPTED:
        return Invalid("file", "is encrypted; remove the password first")
    if stat.S_ISLNK(info.external_attr >> 16):
        return UnsupportedMedia("This is a link, not a file.")
    if info.filename.lower().endswith(NESTED):
        return _nested()
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        return UnsupportedMedia("This file is packed by a method other than deflate.")
    if info.file_size > MAX_UPLOAD_BYTES:
        return PayloadTooLarge(f"Files may have up to {MAX_UPLOAD_BYTES // 1024**2} MiB.")
    return None


def _double() -> Refusal:
    return Invalid("file", "has the path of another file of the archive")


def _nested() -> Refusal:
    return UnsupportedMedia("This is an archive inside an archive.")
