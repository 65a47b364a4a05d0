"""Thousands of forged tokens at the door: none passes, none breaks it, and none is told why."""

import base64
import hashlib
import hmac
import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from jwt.algorithms import get_default_algorithms

from server.problems import problem_of
from tenancy.errors import NotAuthenticated
from tests.http.test_auth_middleware import FewTenants, bearer, serve
from tests.idp import BROKEN, FOREIGN, HOME, ISSUERS, NOW, RSA_HOME, SECONDS, Idp, encode

EDDSA = Idp("https://ed.acme.example/", alg="EdDSA")
GENUINE = (HOME, RSA_HOME, EDDSA)
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
REFUSAL = problem_of(NotAuthenticated()).body()
SEED = 7515

# What a signed claim may not be, whoever signed it.
NO_TEXT: list[Any] = [None, True, False, 0, 7, -1, 1.5, [], {}, [[]], {"a": "acme"}, "", 2**64]
NO_TENANT = [
    *NO_TEXT,
    *("globex", "initech", "Acme", "ACME", " acme", "acme ", "acme\n", "acme\t", "acme\0", "*"),
    *("acme}globex", "{acme}", "acme/../globex", "../globex", "acme;", "acme'--", "acme%00"),
    *("-acme", "_acme", "a" * 64, "acmé", "acme\u200b", "ａｃｍｅ", "null", "undefined"),
    *(["acme"], ["acme", "globex"], {"id": "acme"}, "acme,globex", "acme globex"),
]
NO_SUBJECT = [*NO_TEXT, ["ann"], "ann\0", "ann\nrole: admin", "a" * 257, "\ud800", "\x1b[31m"]
NO_ROLE = [
    *NO_TEXT,
    *("root", "ADMIN", "Admin", "admin ", " admin", "admin,operator", "operator", "owner", "*"),
    *(["admin"], {"role": "admin"}, "member\0", "platform:*", "superuser"),
]
NO_AUDIENCE = [*NO_TEXT, "Tenantry", "tenantry ", "billing", ["billing"], ["tenantry", 1], [None]]
NO_EXPIRY = [
    *(None, True, False, [], {}, "", "never", str(SECONDS + 60), [SECONDS + 60]),
    *(0, -1, SECONDS - 31, SECONDS - 86400, 1e300, 2**63, 2**64, 10**30, -(2**63)),
]
NOT_YET = [None, True, "0", [], {}, SECONDS + 31, SECONDS + 86400, -1, 1e300, 2**64]
WRONG_CLAIMS: dict[str, list[Any]] = {
    "tenant_id": NO_TENANT,
    "sub": NO_SUBJECT,
    "role": NO_ROLE,
    "aud": NO_AUDIENCE,
    "exp": NO_EXPIRY,
    "nbf": NOT_YET,
    "iat": NOT_YET,
    "iss": [*NO_TEXT, HOME.url + "/", HOME.url.upper(), HOME.url + "\0", FOREIGN.url, "https://x/"],
    "scope": [None, True, 1, {}, [1], [None], [["chat"]]],
    "scopes": [None, False, 0, {}, [1], [{"chat": 1}]],
    "permissions": [None, 1.5, {"chat": True}, [True]],
}
WRONG_HEADERS: dict[str, list[Any]] = {
    "alg": ["none", "None", "NONE", "nOnE", "", "HS256", "HS512", "ES256K", "RSA1_5", "dir", 1, {}],
    "kid": ["", "key-9", "../../dev/null", "key-1'--", "key-1\0", "0", 0, [], {}, "k" * 4000],
    "typ": ["", "id+jwt", "logout+jwt", "dpop+jwt", "secevent+jwt", "JOSE", "JWE", 1, [], {}],
    "crit": [[], ["exp"], ["b64"], "exp"],
    "jku": ["https://evil.example/keys", "http://127.0.0.1/", "file:///etc/passwd", 1],
    "x5u": ["https://evil.example/cert", ""],
    "x5c": [[], ["MIIB"], "MIIB"],
    "jwk": [{}, {"kty": "oct", "k": ""}, 1],
    "zip": ["DEF", "", 1],
    "enc": ["A128GCM", ""],
    "b64": [False, True],
    "epk": [{}],
    "p2c": [1, 2**31],
}


def wrongly_claimed() -> Iterator[str]:
    """Genuine signatures under claims and headers that no issuer of ours may say."""
    for idp in GENUINE:
        for name, values in WRONG_CLAIMS.items():
            yield from (signed(idp, idp.header(), {**idp.claims(), name: v}) for v in values)
        for name in ("tenant_id", "sub", "role", "aud", "exp", "iss"):
            yield idp.token(**{name: None})
        for name, values in WRONG_HEADERS.items():
            yield from (signed(idp, {**idp.header(), name: v}, idp.claims()) for v in values)


def signed(idp: Idp, header: dict[str, Any], claims: dict[str, Any]) -> str:
    return idp.sign(json.dumps(header), json.dumps(claims))


def tampered() -> Iterator[str]:
    """Genuine tokens with one character replaced, dropped, doubled or cut off after."""
    chance = random.Random(SEED)  # noqa: S311 - the same forgeries each time
    for idp in GENUINE:
        token = idp.token()
        for _ in range(700):
            at = chance.randrange(len(token))
            other = chance.choice([c for c in ALPHABET + ".=" if c != token[at]])
            yield token[:at] + other + token[at + 1 :]
        for at in chance.sample(range(1, len(token)), 150):
            yield token[:at] + token[at + 1 :] if token[at] != token[at - 1] else token[:at]
            yield token[:at]
        yield from (token + tail for tail in (".", "..", "=", "A", "AA", "AAAA", ".e30", "\\0"))


def signed_by_a_stranger() -> Iterator[str]:
    """Right words, wrong key: other issuers' keys, and keys made up for the occasion."""
    strangers = [FOREIGN, *(Idp(f"https://evil-{alg}.example/", alg=alg) for alg in ALGORITHMS)]
    for idp, stranger in itertools.product(GENUINE, strangers):
        for alg, kid, role in itertools.product(
            (idp.alg, stranger.alg), (idp.kid, stranger.kid, "key-2", None), ("member", "admin")
        ):
            header = idp.header(alg=alg, kid=kid)
            yield stranger.sign(json.dumps(header), json.dumps(idp.claims(role=role)))
        key = get_default_algorithms()[stranger.alg].to_jwk(stranger.key.public_key(), as_dict=True)
        yield stranger.sign(json.dumps(idp.header(jwk=key)), json.dumps(idp.claims()))


ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA")


def keyed_by_public_text() -> Iterator[str]:
    """HMAC under what everybody knows: the public keys in each spelling, ids, nothing."""
    for idp, (name, digest) in itertools.product(GENUINE, HASHES.items()):
        for secret, kid in itertools.product(public_texts(idp), (idp.kid, None)):
            header = json.dumps(idp.header(alg=name, kid=kid))
            text = f"{encode(header.encode())}.{encode(json.dumps(idp.claims()).encode())}"
            yield f"{text}.{encode(hmac.digest(secret, text.encode(), digest))}"


HASHES = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}


def public_texts(idp: Idp) -> list[bytes]:
    public = idp.key.public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    pem = public.public_bytes(serialization.Encoding.PEM, form)
    jwk = ISSUERS.get(idp.url, idp.issuer()).jwks["keys"][0]
    return [
        *(pem, pem.strip(), pem.replace(b"\n", b"\r\n"), pem.decode().encode("utf-16")),
        *(
            public.public_bytes(serialization.Encoding.DER, form),
            b"",
            b"\0",
            b"secret",
            b"tenantry",
        ),
        *(json.dumps(jwk).encode(), json.dumps(jwk, separators=(",", ":")).encode()),
        *(idp.kid.encode(), idp.url.encode()),
        base64.urlsafe_b64decode(jwk.get("x", jwk.get("n")) + "=="),
    ]


def recombined() -> Iterator[str]:
    """Segments of genuine tokens put together as they never were."""
    tokens = [
        idp.token(role=role, exp=SECONDS + seconds).split(".")
        for idp, role, seconds in itertools.product(GENUINE, ("member", "admin"), (60, 600))
    ]
    for (a, head), (b, body), (c, tail) in itertools.product(enumerate(tokens), repeat=3):
        if not (b == c and head[0] == body[0]):
            yield f"{head[0]}.{body[1]}.{tail[2]}"
        elif a == b:
            yield f"{head[0]}.{body[1]}.{EMPTY_SIGNATURES[a % len(EMPTY_SIGNATURES)]}"


EMPTY_SIGNATURES = (
    "",
    encode(bytes(64)),
    encode(bytes(256)),
    encode(b"\x30\x06\x02\x01\0\x02\x01\0"),
)


def noise() -> Iterator[str]:
    """Text that was never a token."""
    chance = random.Random(SEED)  # noqa: S311 - the same forgeries each time
    for _ in range(500):
        parts = [
            encode(chance.choice(SHARDS) + chance.randbytes(chance.randrange(40)))
            for _ in range(chance.randrange(1, 6))
        ]
        yield ".".join(parts)
    yield from ("." * n for n in range(1, 60))
    yield from ("A" * n for n in (1, 2, 3, 100, 8191, 8192, 8193, 60_000))


SHARDS = (
    b"",
    b"{}",
    b"[]",
    b"null",
    b'{"alg":"none"}',
    b'{"iss":"',
    b"\xff\xfe",
    b"[" * 500,
    b"1e9",
)

FORGERIES = {
    "broken in a known way": lambda: (make() for make in BROKEN.values()),
    "wrongly claimed": wrongly_claimed,
    "tampered": tampered,
    "signed by a stranger": signed_by_a_stranger,
    "keyed by public text": keyed_by_public_text,
    "recombined": recombined,
    "noise": noise,
}


@pytest.fixture
def directory():
    return FewTenants(issuers={**ISSUERS, EDDSA.url: EDDSA.issuer()})


async def test_no_forged_token_passes_and_each_gets_the_same_answer(directory):
    forged = {token for make in FORGERIES.values() for token in make() if sendable(token)}
    assert len(forged) >= 5000
    async with serve(directory) as client:
        answers = Counter()
        for token in forged:
            response = await client.get("/v1/me", headers=bearer(token))
            assert response.content == REFUSAL, token
            answers[response.status_code] += 1
    assert answers == {401: len(forged)}


def sendable(token: str) -> bool:
    """Whether a client could put it into a header at all."""
    return token.isascii() and token.isprintable() and " " not in token


async def test_every_genuine_token_passes_between_the_forged_ones(directory):
    tokens = [
        idp.token(header, role=role, exp=exp, **more)
        for idp, header, role, exp, more in itertools.product(
            GENUINE,
            ({}, {"typ": None}, {"typ": "at+jwt"}, {"cat": "x", "x5t": "y"}),
            ("viewer", "member", "admin", "service"),
            (SECONDS - 29, SECONDS + 60, SECONDS + 0.5),
            ({}, {"aud": ["billing", "tenantry"]}, {"scope": "chat"}, {"iat": None, "jti": "1"}),
        )
    ]
    async with serve(directory, now=NOW) as client:
        for token in tokens:
            answer = await client.get("/v1/me", headers=bearer(token))
            assert (answer.status_code, answer.json()["tenant"]) == (200, "acme"), token
