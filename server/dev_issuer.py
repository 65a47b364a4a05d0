"""The development issuer: signs tokens with a secret of the data directory's own."""

import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import orjson

from server.jwks import vet_jwks
from server.jws import encode_segment
from tenancy.credentials import Issuer
from tenancy.errors import Invalid, Misconfigured
from tenancy.ids import SubjectId, TenantId
from tenancy.principal import Role

URL = "urn:tenantry:dev"
ALGORITHM = "HS256"
SECRET_BYTES = 32
FILE = Path("secrets", "dev-issuer.json")


@dataclass(frozen=True, slots=True, repr=False)
class DevIssuer:
    """An issuer that we can speak for. Its record holds the secret: never log it."""

    issuer: Issuer
    _key_id: str
    _key: bytes

    def sign(
        self,
        tenant_id: TenantId,
        subject: SubjectId,
        role: Role,
        ttl: timedelta,
        audience: str | None = None,
        *,
        scopes: Iterable[str] | None = None,
    ) -> str:
        """Return a token valid from now for `ttl`; `audience` is the issuer's unless given."""
        now = datetime.now(UTC)
        claims: dict[str, Any] = {
            "iss": self.issuer.url,
            "aud": audience or self.issuer.audience,
            "sub": subject,
            "tenant_id": tenant_id,
            "role": role.value,
            "iat": int(now.timestamp()),
            "exp": int((now + ttl).timestamp()),
            "jti": str(uuid4()),
        }
        if scopes is not None:
            claims["scope"] = " ".join(scopes)
        return jwt.encode(claims, self._key, ALGORITHM, headers={"kid": self._key_id})


def load_or_create(data_dir: Path, audience: str = "tenantry") -> DevIssuer:
    """Return the data directory's issuer, made at the first call; safe in a race of processes.

    Raises `Misconfigured` when its file is damaged.
    """
    path = data_dir / FILE
    if not path.exists():
        _create(path)
    return _parse(path, audience)


def _create(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(orjson.dumps(_new_key_set()))
            file.flush()
            os.fsync(file.fileno())
        # A link appears whole and never replaces: of two processes one wins, both read its file.
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()


def _new_key_set() -> dict[str, Any]:
    secret = encode_segment(secrets.token_bytes(SECRET_BYTES))
    return {"keys": [{"kty": "oct", "alg": ALGORITHM, "kid": uuid4().hex, "k": secret}]}


def _parse(path: Path, audience: str) -> DevIssuer:
    try:
        jwks = orjson.loads(path.read_bytes())
        ((key_id, (_, key)),) = vet_jwks(jwks, symmetric_allowed=True).items()
    except (ValueError, Invalid):
        raise Misconfigured(f"{path} is damaged: delete it, and a new one is made") from None
    issuer = Issuer(URL, audience, jwks, tenants=None, platform=True, development=True)
    return DevIssuer(issuer, key_id, key.key)
