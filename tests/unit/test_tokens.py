"""A token holds completely or not at all."""

import json
from dataclasses import replace
from datetime import timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from server import tokens
from server.jwks import vet_jwks
from server.jws import UnverifiedToken, decode_segment, read_token
from server.key_sets import KeySets, vetted
from server.refusal import BadCredential
from server.tokens import issuer_named_by, readable
from tenancy.credentials import Issuer
from tenancy.errors import Invalid, NotAuthenticated
from tenancy.principal import Role
from tests.idp import (
    ACME,
    BROKEN,
    FOREIGN,
    HOME,
    ISSUERS,
    NOW,
    RSA_HOME,
    SECONDS,
    Idp,
    encode,
    private_key,
    public_jwk,
)

RSA = [f"{family}{bits}" for family in ("RS", "PS") for bits in (256, 384, 512)]
ALGORITHMS = [*RSA, "ES256", "ES384", "ES512", "EdDSA"]


def verify(token, issuer=ISSUERS[HOME.url], now=NOW):
    return tokens.verify(read_token(token), issuer, vetted(issuer), now=now)


def refusal_of(token, issuer=ISSUERS[HOME.url]):
    with pytest.raises(BadCredential) as refused:
        verify(token, issuer)
    return refused.value


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_each_asymmetric_algorithm_verifies(alg):
    idp = Idp(f"https://{alg}.example/", alg=alg)
    claims = verify(idp.token(), idp.issuer())
    assert (claims.tenant_id, claims.subject_id, claims.role) == (ACME, "ann", Role.MEMBER)
    assert claims.words is None


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_token_is_refused(name):
    token = BROKEN[name]()
    # Verified against the issuer it would have to convince.
    found = readable(token)
    issuer = ISSUERS.get(issuer_named_by(found) if found else "", ISSUERS[HOME.url])
    refusal = refusal_of(token, issuer)
    assert refusal.detail == NotAuthenticated().detail
    assert token not in refusal.reason


def test_the_token_that_is_broken_elsewhere_is_whole_here():
    assert verify(HOME.token()).subject_id == "ann"
    assert verify(RSA_HOME.token(), ISSUERS[RSA_HOME.url]).subject_id == "ann"


def test_a_token_is_verified_by_its_issuers_keys_only():
    assert "another issuer" in refusal_of(FOREIGN.token(), FOREIGN_KEYS_HOME_NAME).reason
    assert "signature" in refusal_of(FOREIGN.sign(HOME_HEADER, HOME_CLAIMS)).reason


FOREIGN_KEYS_HOME_NAME = replace(ISSUERS[FOREIGN.url], url=HOME.url)
HOME_HEADER, HOME_CLAIMS = json.dumps(HOME.header()), json.dumps(HOME.claims())


def test_an_issuer_speaks_only_for_its_tenants():
    reason = refusal_of(HOME.token(tenant_id="globex")).reason
    assert reason == "the issuer may not speak for the tenant"
    for_all = replace(ISSUERS[HOME.url], tenants=None)
    assert verify(HOME.token(tenant_id="globex"), for_all).tenant_id == "globex"


def test_only_a_platform_issuer_names_an_operator():
    platform = replace(ISSUERS[HOME.url], platform=True)
    assert verify(HOME.token(role="operator"), platform).role is Role.OPERATOR
    assert "operator" in refusal_of(HOME.token(role="operator")).reason


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": SECONDS - 29},
        {"exp": SECONDS + 0.5},
        {"iat": SECONDS + 30},
        {"iat": None},
        {"nbf": SECONDS + 30},
        {"aud": ["billing", "tenantry"]},
        {"unheard_of": {"nested": [1, 2.5, None]}},
    ],
    ids=repr,
)
def test_what_the_contract_allows_is_accepted(claims):
    assert verify(HOME.token(**claims)).subject_id == "ann"


def test_a_token_ends_thirty_seconds_after_it_expires():
    token = HOME.token(exp=SECONDS)
    assert verify(token, now=NOW + timedelta(seconds=29.9))
    with pytest.raises(BadCredential, match="valid bearer token"):
        verify(token, now=NOW + timedelta(seconds=30))


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "AT+JWT", None])
def test_the_type_may_be_absent_or_an_access_token(typ):
    assert verify(HOME.token({"typ": typ}))


def test_headers_of_known_providers_are_accepted():
    assert verify(HOME.token({"cat": "cl_B7d4PD111AAA", "x5t": "abc", "cty": "json"}))


def test_the_only_key_needs_no_kid():
    issuer = ISSUERS[RSA_HOME.url]
    assert verify(RSA_HOME.token({"kid": None}), issuer)
    assert "names no key" in refusal_of(RSA_HOME.token({"kid": "other"}), issuer).reason


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"scope": "chat search"}, {"chat", "search"}),
        ({"scopes": ["chat"]}, {"chat"}),
        ({"permissions": "chat  search"}, {"chat", "search"}),
        ({"scope": ""}, set()),
        ({"scope": "chat search", "permissions": ["search", "x"]}, {"search"}),
    ],
)
def test_scope_claims_narrow_each_other(claims, words):
    assert verify(HOME.token(**claims)).words == words


async def test_keys_are_parsed_once_until_the_record_is_replaced():
    key_sets, issuer = KeySets(), RSA_HOME.issuer()
    first = await key_sets.of(issuer, "key-1")
    assert await key_sets.of(issuer, "key-1") is first
    rotated = replace(issuer, jwks={"keys": [public_jwk("ES256", HOME.key, "new")]})
    assert list(await key_sets.of(rotated, "key-1")) == ["new"]


def test_an_issuer_whose_stored_keys_are_bad_vouches_for_nobody():
    broken = replace(ISSUERS[HOME.url], jwks={"keys": [{"kty": "oct"}]})
    assert refusal_of(HOME.token(), broken).reason.startswith("the issuer's keys[0]")


def test_peeking_trusts_nothing_and_raises_nothing():
    assert issuer_named_by(readable(HOME.token())) == HOME.url
    for url in ("x" * 600, HOME.url + "\0", HOME.url + "\ud800", HOME.url + "\n"):
        assert readable(HOME.token(iss=url)) is None
    for text in ("", ".", "..", "a.b.c", "tnk_abc", "é.é.é", "\0", HOME.token() + "="):
        assert readable(text) is None


# Of RFC 7515 (A.2, A.3) and RFC 8037 (A.4): a key, and a token signed with it.
JOE = (
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
)
VECTORS = {
    "RS256": (
        {
            "kty": "RSA",
            "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJ"
            "PMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf6"
            "3kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9k"
            "G4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
            "e": "AQAB",
        },
        f"eyJhbGciOiJSUzI1NiJ9.{JOE}.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7"
        "AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO7"
        "5vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6Bf"
        "I7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77"
        "Rw",
    ),
    "ES256": (
        {
            "kty": "EC",
            "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        },
        f"eyJhbGciOiJFUzI1NiJ9.{JOE}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSA"
        "pmWQxfKTUJqPP3-Kg6NU1Q",
    ),
    "EdDSA": (
        {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvM"
        "g3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    ),
}


@pytest.mark.parametrize("alg", VECTORS)
def test_the_signature_of_a_public_vector_holds(alg):
    jwk, text = VECTORS[alg]
    keys = vet_jwks({"keys": [{**jwk, "alg": alg, "kid": "rfc"}]})
    signed, _, signature = text.rpartition(".")
    token = UnverifiedToken({"alg": alg}, {}, signed.encode(), decode_segment(signature))
    joe = Issuer("joe", "tenantry", {}, frozenset({ACME}))
    assert "another issuer" in refused(token, joe, keys)  # the signature was looked at before
    forged = replace(token, signed=signed[:-1].encode())
    assert "signature" in refused(forged, joe, keys)


def refused(token, issuer, keys):
    with pytest.raises(BadCredential) as refusal:
        tokens.verify(token, issuer, keys, now=NOW)
    return refusal.value.reason


GOOD = public_jwk("ES256", HOME.key, "good")
SECRET = {"kty": "oct", "alg": "HS256", "kid": "s", "k": encode(b"s" * 32)}


def rsa_jwk(bits=2048, exponent=65537):
    return public_jwk("RS256", rsa.generate_private_key(exponent, bits), "weak")


def private_jwk():
    key = private_key("ES256", "leaked")
    number = key.private_numbers().private_value
    return {**public_jwk("ES256", key, "leaked"), "d": encode(number.to_bytes(32, "big"))}


BAD_KEYS = {
    "kid missing": ({**GOOD, "kid": None}, "kid"),
    "kid empty": ({**GOOD, "kid": ""}, "kid"),
    "kid twice": (GOOD, "earlier key"),
    "alg missing": ({**GOOD, "kid": "b", "alg": None}, "alg"),
    "alg none": ({**GOOD, "kid": "b", "alg": "none"}, "alg"),
    "alg of another curve": ({**GOOD, "kid": "b", "alg": "ES384"}, "crv"),
    "alg of another kind": ({**GOOD, "kid": "b", "alg": "RS256"}, "kty"),
    "HMAC": (SECRET, "alg"),
    "private": (private_jwk(), "public key"),
    "unusual use": ({**GOOD, "kid": "b", "use": "wrap"}, "use"),
    "key_ops without verify": ({**GOOD, "kid": "b", "key_ops": ["sign"]}, "key_ops"),
    "point off the curve": ({**GOOD, "kid": "b", "x": GOOD["y"], "y": GOOD["x"]}, "valid"),
    "coordinate missing": ({**GOOD, "kid": "b", "x": None}, "valid"),
    "small RSA": (rsa_jwk(bits=1024), "2048"),
    "exponent three": (rsa_jwk(exponent=3), "exponent"),
    "no object": ("key", "object"),
}


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@pytest.mark.parametrize("name", BAD_KEYS)
def test_a_bad_key_is_named(name):
    jwk, expected = BAD_KEYS[name]
    with pytest.raises(Invalid) as invalid:
        vet_jwks({"keys": [GOOD, jwk]})
    assert invalid.value.field == "keys[1]"
    assert expected in invalid.value.message


@pytest.mark.parametrize("document", [None, [], {}, {"keys": {}}, {"keys": []}, "{}"])
def test_a_key_set_holds_signing_keys(document):
    with pytest.raises(Invalid, match="not valid"):
        vet_jwks(document)


def test_encryption_keys_are_left_out():
    encryption = {"kty": "RSA", "kid": "e", "use": "enc", "alg": "RSA-OAEP", "n": "AQAB"}
    assert list(vet_jwks({"keys": [encryption, GOOD]})) == ["good"]
    with pytest.raises(Invalid):
        vet_jwks({"keys": [encryption]})


def test_secrets_are_for_the_development_issuer():
    assert list(vet_jwks({"keys": [SECRET]}, symmetric_allowed=True)) == ["s"]
    short = {**SECRET, "k": encode(b"s" * 31)}
    with pytest.raises(Invalid):
        vet_jwks({"keys": [short]}, symmetric_allowed=True)


def test_a_secret_in_another_issuers_record_vouches_for_nobody():
    issuer = replace(ISSUERS[HOME.url], jwks={"keys": [SECRET]})
    token = jwt.encode(HOME.claims(), b"s" * 32, "HS256", headers={"kid": "s"})
    assert "alg" in refusal_of(token, issuer).reason
    assert verify(token, replace(issuer, development=True)).subject_id == "ann"


def test_a_key_of_the_wrong_curve_object_never_gets_in():
    other = public_jwk("ES384", ec.generate_private_key(ec.SECP384R1()), "b")
    with pytest.raises(Invalid):
        vet_jwks({"keys": [{**other, "alg": "ES256", "crv": "P-256"}]})
