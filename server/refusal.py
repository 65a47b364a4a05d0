"""Why a credential was refused: a reason for operators, one sentence for every client."""

from enum import StrEnum

from tenancy.credentials import ApiKey
from tenancy.errors import NotAuthenticated


class Kind(StrEnum):
    """What was wrong, in few words: fit for a metric's label."""

    MISSING = "missing"
    MALFORMED = "malformed"
    UNKNOWN_KEY = "unknown_key"
    EXPIRED_KEY = "expired_key"
    REVOKED = "revoked"
    BAD_TOKEN = "bad_token"  # noqa: S105  # a word of ours, and no password
    UNKNOWN_TENANT = "unknown_tenant"


class BadCredential(NotAuthenticated):
    """A valid bearer token or API key is required."""

    def __init__(self, reason: str, kind: Kind = Kind.BAD_TOKEN, key: ApiKey | None = None) -> None:
        super().__init__()
        self.reason = reason  # logged; never sent, never holds a token's text
        self.kind = kind
        self.key = key  # a key that exists, and no longer holds
