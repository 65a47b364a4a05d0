"""API keys: `tnk_<key id>_<secret>_<checksum>`, known to the database by their digest alone."""

import hashlib
import re
import secrets
import string
from typing import NamedTuple
from uuid import uuid4
from zlib import crc32

from tenancy.ids import KeyId

PREFIX = "tnk"
ALPHABET = string.ascii_letters + string.digits
SECRET_CHARACTERS = 43  # 62**43 > 2**256
KEY = re.compile(rf"({PREFIX}_[0-9a-f]{{32}}_[0-9A-Za-z]{{{SECRET_CHARACTERS}}})_([0-9a-f]{{8}})")


class MintedKey(NamedTuple):
    """A new key: `text` is shown once, `digest` is stored."""

    key_id: KeyId
    text: str
    digest: bytes


def mint() -> MintedKey:
    """Make a key with 256 random bits."""
    key_id = KeyId(uuid4())
    secret = "".join(secrets.choice(ALPHABET) for _ in range(SECRET_CHARACTERS))
    body = f"{PREFIX}_{key_id.hex}_{secret}"
    text = f"{body}_{_checksum(body)}"
    return MintedKey(key_id, text, _digest(text))


def parse(text: str) -> bytes | None:
    """The digest of a key of ours, to look it up by; None for any other text."""
    match = KEY.fullmatch(text)
    if match is None or _checksum(match[1]) != match[2]:
        return None
    return _digest(text)


def _checksum(body: str) -> str:
    # For scanners of leaked secrets, and to turn typing errors away without a look-up.
    return f"{crc32(body.encode()):08x}"


def _digest(text: str) -> bytes:
    # A slow hash protects guessable passwords; 256 random bits cannot be guessed.
    return hashlib.sha256(text.encode()).digest()
