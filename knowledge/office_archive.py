"""The ZIP archive that an Office file is, looked at before anything is unpacked."""

from io import BytesIO
from zipfile import BadZipFile, ZipFile

from knowledge.unreadable import Unreadable

MAX_ENTRIES = 10_000
MAX_UNPACKED_BYTES = 200_000_000
ENCRYPTED = 0x1


def require_harmless(data: bytes) -> None:
    """Raise `Unreadable` where unpacking the file would take too much."""
    try:
        with ZipFile(BytesIO(data)) as archive:
            entries = archive.infolist()
    except (BadZipFile, ValueError, OSError, NotImplementedError) as broken:
        raise Unreadable("is an Office file that is broken") from broken
    if any(entry.flag_bits & ENCRYPTED for entry in entries):
        raise Unreadable("is encrypted; remove the password first")
    if len(entries) > MAX_ENTRIES:
        raise Unreadable(f"holds more than {MAX_ENTRIES} parts")
    if sum(entry.file_size for entry in entries) > MAX_UNPACKED_BYTES:
        raise Unreadable(f"unpacks to more than {MAX_UNPACKED_BYTES // 1_000_000} MB")
