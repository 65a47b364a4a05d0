"""What the database believes a tenant by: a seal, made with a key that its app role cannot read.

Whoever gets SQL of their own onto the app's connection can name any tenant there, and has no seal
for it. The check is `tenantry.current_tenant()`, which policies, defaults and functions call.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from tenancy.errors import Misconfigured

PLATFORM = "*"  # acts for no tenant; no tenant can be called so
KEPT_IN = Path("secrets", "seal-key")  # of the data directory
MIN_CHARACTERS = 32
BLOCK = 64  # bytes that SHA-256 takes at a time


def new_key() -> str:
    """A key of 256 random bits, as text."""
    return secrets.token_urlsafe(32)


def is_long_enough(text: str) -> bool:
    """Whether a key could be one that nobody guesses."""
    return len(text) >= MIN_CHARACTERS


@dataclass(frozen=True, slots=True)
class SealKey:
    """The secret that the server and the database share."""

    text: str = field(repr=False)

    @property
    def key_id(self) -> str:
        """What the key is called where it cannot be shown."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]

    def seal(self, tenant_id: str) -> str:
        """HMAC-SHA256 of the id, in hexadecimal digits."""
        return hmac.digest(self.text.encode(), tenant_id.encode(), "sha256").hex()

    @property
    def pads(self) -> tuple[bytes, bytes]:
        """The key as the inner and the outer hash begin with it (RFC 2104)."""
        key = self.text.encode()
        block = (hashlib.sha256(key).digest() if len(key) > BLOCK else key).ljust(BLOCK, b"\0")
        return bytes(byte ^ 0x36 for byte in block), bytes(byte ^ 0x5C for byte in block)


@dataclass(frozen=True, slots=True)
class AppDatabase:
    """The database as the app role, and what a tenant is sealed with there.

    Without a key, or with one that the database does not believe, it shows nothing of any tenant.
    """

    url: str = field(repr=False)  # carries a password
    seal_key: SealKey | None

    def entry(self, tenant_id: str) -> dict[str, str]:
        """What `tenantry.enter` needs to act for a tenant; raises `Misconfigured` without a key."""
        if self.seal_key is None:
            raise self.not_believed()
        return {"tenant_id": tenant_id, "seal": self.seal_key.seal(tenant_id)}

    def platform_entry(self) -> dict[str, str]:
        """The same, to act for the platform."""
        return self.entry(PLATFORM)

    def not_believed(self) -> Misconfigured:
        """What there is to say of a key that does not open the database."""
        fault = (
            "The seal key of the database is unknown here"
            if self.seal_key is None
            else f"The database does not believe the seal key {self.seal_key.key_id}"
        )
        return Misconfigured(
            f"{fault}: set TENANTRY_SEAL_KEY to the one that `tenantry migrate` used, which is in"
            f" {KEPT_IN} of its data directory where it was not given. `tenantry seal list` names"
            f" those that are believed."
        )
