"""A small identity provider, and every way we know to break a token."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from tenancy.credentials import Issuer
from tenancy.ids import TenantId

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SECONDS = int(NOW.timestamp())
ACME, GLOBEX = TenantId("acme"), TenantId("globex")

PRIVATE_KEYS: dict[str, Callable[[], Any]] = {
    "RS": lambda: rsa.generate_private_key(65537, 2048),
    "PS": lambda: rsa.generate_private_key(65537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ES512": lambda: ec.generate_private_key(ec.SECP521R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


@cache
def private_key(alg: str, owner: str) -> Any:
    """A key per algorithm and owner; made once, because RSA is slow to make."""
    return PRIVATE_KEYS.get(alg[:2], PRIVATE_KEYS.get(alg))()


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def public_jwk(alg: str, key: Any, kid: str) -> dict[str, Any]:
    algorithm = get_default_algorithms()[alg]
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "alg": alg, "kid": kid}


@dataclass(frozen=True)
class Idp:
    """Signs whatever it is told to, well-formed or not."""

    url: str
    alg: str = "ES256"
    kid: str = "key-1"
    more_keys: tuple[Mapping[str, Any], ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> Any:
        return private_key(self.alg, self.url)

    def issuer(self) -> Issuer:
        keys = [public_jwk(self.alg, self.key, self.kid), *self.more_keys]
        record = {"audience": "tenantry", "tenants": frozenset({ACME}), **self.record}
        return Issuer(self.url, jwks={"keys": keys}, **record)

    def claims(self, **changes: Any) -> dict[str, Any]:
        claims = {
            "iss": self.url,
            "aud": "tenantry",
            "sub": "ann",
            "tenant_id": "acme",
            "role": "member",
            "iat": SECONDS,
            "exp": SECONDS + 3600,
        }
        return without_none({**claims, **changes})

    def header(self, **changes: Any) -> dict[str, Any]:
        return without_none({"alg": self.alg, "kid": self.kid, "typ": "JWT", **changes})

    def token(self, header: Mapping[str, Any] | None = None, **claims: Any) -> str:
        head, body = self.header(**(header or {})), self.claims(**claims)
        return self.sign(json.dumps(head), json.dumps(body))

    def sign(self, header: str, claims: str) -> str:
        signed = f"{encode(header.encode())}.{encode(claims.encode())}"
        signature = get_default_algorithms()[self.alg].sign(signed.encode(), self.key)
        return f"{signed}.{encode(signature)}"


def without_none(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def one_key_of_two() -> tuple[Mapping[str, Any], ...]:
    return (public_jwk("ES256", private_key("ES256", "spare"), "key-2"),)


HOME = Idp("https://id.acme.example/", more_keys=one_key_of_two())
FOREIGN = Idp("https://id.globex.example/", record={"tenants": frozenset({GLOBEX})})
RSA_HOME = Idp("https://rsa.acme.example/", alg="RS256")
ISSUERS = {idp.url: idp.issuer() for idp in (HOME, FOREIGN, RSA_HOME)}


def with_claims(**claims: Any) -> Callable[[], str]:
    return lambda: HOME.token(**claims)


def with_header(**header: Any) -> Callable[[], str]:
    return lambda: HOME.token(header)


def with_json(old: str, new: str) -> Callable[[], str]:
    """A token whose claims were edited as text, then signed."""
    text = json.dumps(HOME.claims())
    assert old in text
    return lambda: HOME.sign(json.dumps(HOME.header()), text.replace(old, new))


def with_header_json(text: str) -> Callable[[], str]:
    return lambda: HOME.sign(text, json.dumps(HOME.claims()))


def with_secret(secret: bytes) -> str:
    """A token signed by HMAC with what is publicly known of an RSA key."""
    header = json.dumps({"alg": "HS256", "kid": RSA_HOME.kid, "typ": "JWT"})
    signed = f"{encode(header.encode())}.{encode(json.dumps(RSA_HOME.claims()).encode())}"
    return f"{signed}.{encode(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def rsa_pem() -> bytes:
    return RSA_HOME.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def unsigned(alg: str) -> str:
    signed = HOME.token({"alg": alg}).rpartition(".")[0]
    return f"{signed}."


def with_a_bit_flipped() -> str:
    signed, _, signature = HOME.token().rpartition(".")
    return f"{signed}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


def with_claims_swapped() -> str:
    header, _, signature = HOME.token().split(".")
    return f"{header}.{encode(json.dumps(HOME.claims(role='admin')).encode())}.{signature}"


def with_another_spelling_of_the_signature() -> str:
    """The last character of a 64-byte signature carries four bits that no decoder looks at."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    token = HOME.token()
    return token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]


def signed_by_the_foreigner() -> str:
    """Issuer B's genuine key under issuer A's name, with A's kid."""
    header = json.dumps(FOREIGN.header(kid=HOME.kid))
    return FOREIGN.sign(header, json.dumps(HOME.claims()))


BROKEN: dict[str, Callable[[], str]] = {
    "no signature, alg none": lambda: unsigned("none"),
    "no signature, alg None": lambda: unsigned("None"),
    "no signature, alg as the key's": lambda: unsigned("ES256"),
    "alg none, with a signature": with_header(alg="none"),
    "public PEM as HMAC secret": lambda: with_secret(rsa_pem()),
    "public JWK as HMAC secret": lambda: with_secret(
        json.dumps(public_jwk("RS256", RSA_HOME.key, "key-1")).encode()
    ),
    "alg of the same family": lambda: RSA_HOME.token({"alg": "PS256"}),
    "alg missing": with_header(alg=None),
    "alg no string": with_header(alg=["ES256"]),
    "a bit of the signature flipped": with_a_bit_flipped,
    "claims swapped": with_claims_swapped,
    "signature in another spelling": with_another_spelling_of_the_signature,
    "foreign key under our issuer": signed_by_the_foreigner,
    "foreign kid": lambda: FOREIGN.sign(
        json.dumps(FOREIGN.header(kid="foreign")), json.dumps(HOME.claims())
    ),
    "kid unknown": with_header(kid="key-9"),
    "kid missing, two keys": with_header(kid=None),
    "kid no string": with_header(kid=1),
    "kid a list": with_header(kid=["key-1"]),
    "jti no string": with_claims(jti=7),
    "jti a list": with_claims(jti=["a"]),
    "kid of the other key": with_header(kid="key-2"),
    "typ of an id token": with_header(typ="id+jwt"),
    "typ no string": with_header(typ=1),
    "issuer unknown": with_claims(iss="https://nobody.example/"),
    "issuer with a NUL": with_claims(iss="https://id.acme.example/\0"),
    "issuer with half a surrogate": with_claims(iss="https://id.acme.example/\ud800"),
    "issuer no string": with_claims(iss=[HOME.url]),
    "issuer missing": with_claims(iss=None),
    "audience of another service": with_claims(aud="billing"),
    "audience missing": with_claims(aud=None),
    "audience no string": with_claims(aud=[1, "tenantry"]),
    "audience an object": with_claims(aud={"tenantry": 1}),
    "tenant not this issuer's": with_claims(tenant_id="globex"),
    "tenant missing": with_claims(tenant_id=None),
    "tenant empty": with_claims(tenant_id=""),
    "tenant a list": with_claims(tenant_id=["acme"]),
    "tenant with a brace": with_claims(tenant_id="acme}globex"),
    "tenant in capitals": with_claims(tenant_id="ACME"),
    "tenant with a line end": with_claims(tenant_id="acme\n"),
    "subject missing": with_claims(sub=None),
    "subject empty": with_claims(sub=""),
    "subject too long": with_claims(sub="a" * 257),
    "subject a number": with_claims(sub=7),
    "role missing": with_claims(role=None),
    "role unknown": with_claims(role="root"),
    "role in capitals": with_claims(role="ADMIN"),
    "role a list": with_claims(role=["admin"]),
    "role operator from a tenant's issuer": with_claims(role="operator"),
    "scope a number": with_claims(scope=1),
    "scopes with a number": with_claims(scopes=["chat", 1]),
    "scope null": with_json('"iat"', '"scope": null, "iat"'),
    "expired": with_claims(exp=SECONDS - 31),
    "exp missing": with_claims(exp=None),
    "exp true": with_claims(exp=True),
    "exp text": with_claims(exp=str(SECONDS + 60)),
    "exp negative": with_claims(exp=-1),
    "exp a list": with_claims(exp=[SECONDS + 60]),
    "exp NaN": with_json(str(SECONDS + 3600), "NaN"),
    "exp Infinity": with_json(str(SECONDS + 3600), "Infinity"),
    "NaN in a claim nobody reads": with_json('"iat"', '"x": NaN, "iat"'),
    "exp beyond floats": with_json(str(SECONDS + 3600), "1e999"),
    "exp beyond dates": with_json(str(SECONDS + 3600), "9" * 400),
    "exp beyond integers": with_json(str(SECONDS + 3600), "9" * 5000),
    "nbf later": with_claims(nbf=SECONDS + 31),
    "nbf text": with_claims(nbf="0"),
    "nbf null": with_json('"iat"', '"nbf": null, "iat"'),
    "iat later": with_claims(iat=SECONDS + 31),
    "iat true": with_claims(iat=True),
    "duplicate claim": with_json('"role": "member"', '"role": "member", "role": "admin"'),
    "duplicate claim, escaped": with_json('"sub"', '"\\u0073ub": "bob", "sub"'),
    "duplicate claim, nested": with_json('"iat"', '"x": {"a": 1, "a": 2}, "iat"'),
    "duplicate header member": with_header_json('{"alg":"none","alg":"ES256","kid":"key-1"}'),
    "header a list": with_header_json('["ES256"]'),
    "claims a list": lambda: HOME.sign(json.dumps(HOME.header()), "[]"),
    "claims nested too deep": lambda: HOME.sign(json.dumps(HOME.header()), "[" * 4000),
    "padding at the end": lambda: HOME.token() + "=",
    "two paddings at the end": lambda: HOME.token() + "==",
    "a line end inside": lambda: HOME.token().replace(".", ".\n", 1),
    "a stray character inside": lambda: HOME.token().replace(".", ".!", 1),
    "the other base64 alphabet": lambda: HOME.token(x="???>>>~~~").replace("_", "/"),
    "four segments": lambda: HOME.token() + ".e30",
    "two segments": lambda: HOME.token().rpartition(".")[0],
    "five segments": lambda: "e30.e30.e30.e30.e30",
    "empty claims": lambda: "..".join(HOME.token().split(".")[::2]),
    "nine KiB": with_claims(padding="x" * 6600),
    **{
        f"header with {name}": with_header(**{name: value})
        for name, value in {
            "jku": "https://evil.example/jwks.json",
            "jwk": public_jwk("ES256", private_key("ES256", "evil"), "key-1"),
            "x5u": "https://evil.example/x5u",
            "x5c": ["MII"],
            "crit": ["exp"],
            "b64": False,
            "zip": "DEF",
            "enc": "A128GCM",
            "unheard-of": 1,
        }.items()
    },
}
