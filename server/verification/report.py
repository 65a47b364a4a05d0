"""The report of a verification, signed, so that whoever reads it later knows where it is from."""

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.jws import decode_segment, encode_segment, strict_json
from server.verification.verify import CHECKS, Verdict
from tenancy.errors import Invalid

ALGORITHM = "EdDSA"
TYPE = "isolation-report+jws"
Report = dict[str, Any]


def report_of(verdict: Verdict) -> Report:
    """What was tried and found, as JSON."""
    findings = [
        {"check": check, "where": finding.where, "what": finding.what}
        for check, finding in verdict.findings
    ]
    return {
        "version": version("tenantry"),
        "began_at": _utc(verdict.began_at),
        "ended_at": _utc(datetime.now(UTC)),
        "isolated": verdict.isolated,
        "observations": verdict.observations,
        "checks": [
            {"check": check, "probes": probes, "proves": _sentence(check)}
            for check, probes in verdict.probes.items()
        ],
        "tools": verdict.tools,
        "findings": findings,
    }


def sign(report: Report, secret: bytes) -> Report:
    """The report beside a compact JWS of it, with the public key. `secret` has 32 bytes."""
    key = Ed25519PrivateKey.from_private_bytes(secret)
    headers = {"typ": TYPE, "jwk": _public(key)}
    jws = jwt.api_jws.encode(orjson.dumps(report), key, algorithm=ALGORITHM, headers=headers)
    return {"report": report, "signature": jws}


def verified(document: object, secret: bytes) -> Report:
    """The report that a signed one holds; raises `Invalid` unless it is ours and untouched."""
    if not isinstance(document, Mapping) or not isinstance(document.get("signature"), str):
        raise Invalid("FILE", "holds no signed report")
    public = Ed25519PrivateKey.from_private_bytes(secret).public_key()
    try:
        payload = jwt.api_jws.decode(document["signature"], public, algorithms=[ALGORITHM])
        report = strict_json(payload)
    except (jwt.PyJWTError, ValueError):
        raise Invalid("FILE", "was not signed with the key of this data directory") from None
    if report != document.get("report"):
        raise Invalid("FILE", "was changed after it was signed")
    return report


def secret_of(text: str) -> bytes:
    """The key's bytes, from base64url."""
    return decode_segment(text.strip())


def _public(key: Ed25519PrivateKey) -> dict[str, str]:
    x = encode_segment(key.public_key().public_bytes_raw())
    return {"kty": "OKP", "crv": "Ed25519", "x": x}


def _sentence(check: str) -> str:
    """What a check shows, as its function says."""
    function = CHECKS.get(check)
    said = (function.__doc__ or "") if function else ""
    return " ".join(said.split()).rstrip(".")


def _utc(instant: datetime) -> str:
    return instant.isoformat(timespec="seconds").replace("+00:00", "Z")
