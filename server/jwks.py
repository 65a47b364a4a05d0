"""Key sets (RFC 7517) vetted before they are trusted: each key bound to one algorithm."""

from collections.abc import Collection, Mapping
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from tenancy.errors import Invalid

KeySet = dict[str, tuple[str, PyJWK]]

# What each algorithm needs of its key: the kty, and one of the curves if any are named.
Kinds = Mapping[str, tuple[str, ...]]
RSA: Kinds = {f"{family}{bits}": ("RSA",) for family in ("RS", "PS") for bits in (256, 384, 512)}
ELLIPTIC: Kinds = {
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519", "Ed448"),
}
SYMMETRIC: Kinds = {"HS256": ("oct",)}

PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth"}
MAX_KEYS = 64
MAX_KID_CHARACTERS = 256
RSA_BITS = range(2048, 8192 + 1)  # below it is breakable, above it verifying is a burden
MIN_RSA_EXPONENT = 65537  # smaller exponents forgive padding mistakes
HMAC_BYTES = 32  # RFC 7518 §3.2: as long as the hash


def vet_jwks(
    document: object,
    *,
    symmetric_allowed: bool = False,
    algorithms: Collection[str] = (),
    lenient: bool = False,
) -> KeySet:
    """Return the signing keys of a set by `kid`; raises `Invalid` naming the key at fault.

    Keys whose `use` is `enc` are left out: identity providers publish them in the same set.
    `algorithms`, where there are some, are the only ones accepted, and stand in for a key's
    missing `alg` where one of them fits it. A lenient reading leaves out keys at fault, as a set
    that somebody else keeps may hold keys of a kind that nobody here has heard of.
    """
    known = {**RSA, **ELLIPTIC, **(SYMMETRIC if symmetric_allowed else {})}
    accepted = {alg: kind for alg, kind in known.items() if not algorithms or alg in algorithms}
    vetted: KeySet = {}
    for position, jwk in enumerate(_listed(document)):
        try:
            if isinstance(jwk, Mapping) and jwk.get("use") == "enc":
                continue
            kid, alg, key = _vet(_with_alg(jwk, accepted) if algorithms else jwk, accepted)
            _require(kid not in vetted, "has the kid of an earlier key")
        except _KeyFault as fault:
            if lenient:
                continue
            raise Invalid(f"keys[{position}]", f"{_name(jwk)}{fault}") from None
        vetted[kid] = (alg, key)
    if not vetted:
        raise Invalid("keys", "must hold at least one signing key")
    return vetted


class _KeyFault(Exception):
    """What is wrong with one key."""


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise _KeyFault(otherwise)


def _listed(document: object) -> list[Any]:
    keys = document.get("keys") if isinstance(document, Mapping) else None
    if not isinstance(keys, list):
        raise Invalid("keys", "must be a list of keys (RFC 7517)")
    if len(keys) > MAX_KEYS:
        raise Invalid("keys", f"must hold at most {MAX_KEYS} keys")
    return keys


def _with_alg(jwk: object, accepted: Kinds) -> object:
    """A key that names no algorithm (Microsoft's do not) with the only accepted one that fits."""
    if not isinstance(jwk, Mapping) or "alg" in jwk:
        return jwk
    fitting = [alg for alg, kind in accepted.items() if _fits(jwk, kind)]
    return {**jwk, "alg": fitting[0]} if len(fitting) == 1 else jwk


def _fits(jwk: Mapping[str, Any], kind: tuple[str, ...]) -> bool:
    kty, *curves = kind
    return jwk.get("kty") == kty and (not curves or jwk.get("crv") in curves)


def _name(jwk: object) -> str:
    kid = jwk.get("kid") if isinstance(jwk, Mapping) else None
    return f"{kid[:MAX_KID_CHARACTERS]!r} " if isinstance(kid, str) else ""


def _vet(jwk: object, algorithms: Kinds) -> tuple[str, str, PyJWK]:
    if not isinstance(jwk, Mapping):
        raise _KeyFault("must be an object")
    kid, alg = jwk.get("kid"), jwk.get("alg")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID_CHARACTERS:
        raise _KeyFault(f"must name its kid: 1 to {MAX_KID_CHARACTERS} characters")
    if not isinstance(alg, str) or alg not in algorithms:
        raise _KeyFault(f"must name its alg: one of {', '.join(algorithms)}")
    _require_signing_key(jwk)
    _require_kind(jwk, algorithms[alg])
    key = _parsed(jwk, alg)
    _require_strength(alg, key)
    return kid, alg, key


def _require_signing_key(jwk: Mapping[str, Any]) -> None:
    _require(not PRIVATE_MEMBERS & jwk.keys(), "must be a public key, without its private half")
    _require(jwk.get("use", "sig") == "sig", "must be for signatures (use: sig)")
    operations = jwk.get("key_ops", ["verify"])
    usable = isinstance(operations, list) and "verify" in operations
    _require(usable, "must allow verifying (key_ops)")


def _require_kind(jwk: Mapping[str, Any], kind: tuple[str, ...]) -> None:
    kty, *curves = kind
    _require(jwk.get("kty") == kty, f"must have the kty {kty}, as its alg says")
    _require(not curves or jwk.get("crv") in curves, f"must have the crv {' or '.join(curves)}")


def _parsed(jwk: Mapping[str, Any], alg: str) -> PyJWK:
    try:
        return PyJWK(dict(jwk), algorithm=alg)
    except (PyJWTError, UnsupportedAlgorithm, ValueError, TypeError, KeyError):
        raise _KeyFault("is not a valid key") from None  # the library's text quotes the key


def _require_strength(alg: str, key: PyJWK) -> None:
    if alg in RSA:
        _require(key.key.key_size in RSA_BITS, "must have 2048 to 8192 bits")
        exponent = key.key.public_numbers().e
        _require(exponent >= MIN_RSA_EXPONENT, f"must have an exponent of {MIN_RSA_EXPONENT}")
    if alg in SYMMETRIC:
        _require(len(key.key) >= HMAC_BYTES, f"must have at least {HMAC_BYTES} bytes")
