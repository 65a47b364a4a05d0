"""Tokens as the known identity providers shape them."""

import json
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server import tokens
from server.auth import scopes_of_token
from server.jwks import vet_jwks
from server.jws import read_token
from server.key_sets import vetted
from server.refusal import BadCredential
from tenancy.errors import Invalid
from tenancy.principal import SCOPES_OF_ROLE, Role
from tenancy.token_rules import (
    ALGORITHMS,
    OURS,
    claim_at,
    parse_token_rules,
    token_rules_document,
    widest,
)
from tests.idp import ACME, GLOBEX, NOW, SECONDS, Idp, encode, public_jwk

# Rules, a token's claims beside iss/exp/iat, its header, and what it must then say.
AUTH0 = {
    "rules": {
        "tenant": "org_id",
        "tenants": {"org_2aBc": "acme"},
        "role": "https://acme.example/roles",
        "roles": {"Editor": "member", "Owner": "admin"},
        "scopes": ["permissions"],
        "required": {"azp": "client-1"},
        "algorithms": ["RS256"],
    },
    "header": {"typ": "at+jwt"},
    "claims": {
        "aud": ["tenantry", "https://acme.eu.auth0.example/userinfo"],
        "sub": "auth0|507f1f77bcf86cd799439020",
        "azp": "client-1",
        "org_id": "org_2aBc",
        "scope": "openid profile email",
        "permissions": ["chat", "search"],
        "https://acme.example/roles": ["Editor", "Billing"],
    },
    "says": (ACME, "auth0|507f1f77bcf86cd799439020", Role.MEMBER, {"chat", "search"}),
}
KEYCLOAK = {
    "rules": {
        "tenant": ["organization", "*"],
        "tenants": {"acme": "acme"},
        "role": ["resource_access", "tenantry", "roles"],
        "roles": {"viewer": "viewer", "admin": "admin"},
        "scopes": [],
    },
    "header": {},
    "claims": {
        "aud": ["tenantry", "account"],
        "sub": "f2b9-4c1e",
        "typ": "Bearer",
        "organization": {"acme": {"id": "42c3"}},
        "realm_access": {"roles": ["offline_access"]},
        "resource_access": {"tenantry": {"roles": ["viewer", "admin"]}},
        "scope": "openid organization email",
    },
    "says": (ACME, "f2b9-4c1e", Role.ADMIN, None),
}
ENTRA = {
    "rules": {
        "tenant": "tid",
        "tenants": {"9188040d-6c67-4c5b-b112-36a304b66dad": "acme"},
        "subject": "oid",
        "role": "roles",
        "roles": {"Tenantry.Admin": "admin"},
        "default_role": "member",
        "scopes": ["scp"],
        "required": {"ver": "2.0"},
        "algorithms": ["RS256"],
    },
    "header": {"x5t": "abc"},
    "claims": {
        "aud": "tenantry",
        "sub": "pairwise",
        "oid": "00000000-0000-0000-66f3-3332eca7ea81",
        "tid": "9188040d-6c67-4c5b-b112-36a304b66dad",
        "scp": "chat",
        "ver": "2.0",
    },
    "says": (ACME, "00000000-0000-0000-66f3-3332eca7ea81", Role.MEMBER, {"chat"}),
}
COGNITO = {
    "rules": {
        "tenant": "custom:tenant",
        "audience": "client_id",
        "audiences": ["3n4b5urk1ft4fl3mg5e62d9ado"],
        "role": "cognito:groups",
        "roles": {"acme-admins": "admin"},
        "scopes": [],
        "required": {"token_use": ["access"]},
    },
    "header": {"typ": None},
    "claims": {
        "aud": None,
        "client_id": "3n4b5urk1ft4fl3mg5e62d9ado",
        "sub": "aaaa-bbbb",
        "token_use": "access",
        "cognito:groups": ["acme-admins"],
        "custom:tenant": "acme",
        "scope": "aws.cognito.signin.user.admin",
    },
    "says": (ACME, "aaaa-bbbb", Role.ADMIN, None),
}
CLERK = {
    "rules": {
        "tenant": ["o", "id"],
        "tenants": {"org_2aBcDeF": "acme"},
        "audience": "azp",
        "audiences": ["https://app.acme.example"],
        "role": ["o", "rol"],
        "roles": {"admin": "admin", "basic_member": "member"},
    },
    "header": {"cat": "cl_B7d4PD111AAA"},
    "claims": {
        "aud": None,
        "azp": "https://app.acme.example",
        "sub": "user_2NNEqL2nrIRdJ194ndJqAHwEfxC",
        "sid": "sess_2N",
        "fva": [1, -1],
        "v": 2,
        "o": {"id": "org_2aBcDeF", "rol": "basic_member", "slg": "acme"},
    },
    "says": (ACME, "user_2NNEqL2nrIRdJ194ndJqAHwEfxC", Role.MEMBER, None),
}
PROVIDERS = {
    "auth0": AUTH0,
    "keycloak": KEYCLOAK,
    "entra": ENTRA,
    "cognito": COGNITO,
    "clerk": CLERK,
}


def idp_of(provider):
    rules = parse_token_rules(provider["rules"])
    return Idp("https://id.provider.example/", alg="RS256", record={"rules": rules})


def verify(token, issuer):
    return tokens.verify(read_token(token), issuer, vetted(issuer), now=NOW)


def token_of(provider, header=None, **claims):
    said = {"tenant_id": None, "role": None, **provider["claims"], **claims}
    return idp_of(provider).token({**provider["header"], **(header or {})}, **said)


def refused(provider, header=None, **claims):
    with pytest.raises(BadCredential) as refusal:
        verify(token_of(provider, header, **claims), idp_of(provider).issuer())
    return refusal.value.reason


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_providers_token_says_who_calls(name):
    provider = PROVIDERS[name]
    claims = verify(token_of(provider), idp_of(provider).issuer())
    found = (claims.tenant_id, claims.subject_id, claims.role, claims.words)
    assert found == provider["says"]


@pytest.mark.parametrize("name", PROVIDERS)
def test_without_its_rules_a_providers_token_says_nothing(name):
    issuer = replace(idp_of(PROVIDERS[name]).issuer(), rules=OURS)
    with pytest.raises(BadCredential):
        verify(token_of(PROVIDERS[name]), issuer)


WRONG = [
    (AUTH0, {"org_id": "org_2abc"}, "stands for no tenant"),
    (AUTH0, {"org_id": "acme"}, "stands for no tenant"),
    (AUTH0, {"org_id": ["org_2aBc"]}, "stands for no tenant"),
    (AUTH0, {"org_id": None}, "stands for no tenant"),
    (AUTH0, {"azp": "client-2"}, "azp is not as it must be"),
    (AUTH0, {"azp": None}, "azp is not as it must be"),
    (AUTH0, {"permissions": "chat", "https://acme.example/roles": None}, "role"),
    (AUTH0, {"https://acme.example/roles": ["owner"]}, "role is unknown"),
    (AUTH0, {"https://acme.example/roles": {"Owner": 1}}, "role is neither"),
    (KEYCLOAK, {"organization": {"acme": {}, "globex": {}}}, "stands for no tenant"),
    (KEYCLOAK, {"organization": ["acme", "globex"]}, "stands for no tenant"),
    (KEYCLOAK, {"organization": []}, "stands for no tenant"),
    (KEYCLOAK, {"resource_access": {"other": {"roles": ["admin"]}}}, "role"),
    (ENTRA, {"tid": "other"}, "stands for no tenant"),
    (ENTRA, {"ver": "1.0"}, "ver is not as it must be"),
    (COGNITO, {"token_use": "id"}, "token_use is not as it must be"),
    (COGNITO, {"client_id": "other"}, "another audience"),
    (COGNITO, {"client_id": None, "aud": "3n4b5urk1ft4fl3mg5e62d9ado"}, "audience is neither"),
    (COGNITO, {"custom:tenant": "globex"}, "may not speak for the tenant"),
    (CLERK, {"azp": "https://evil.example"}, "another audience"),
    (CLERK, {"o": "org_2aBcDeF"}, "stands for no tenant"),
    (CLERK, {"o": {"rol": "admin"}}, "stands for no tenant"),
]


@pytest.mark.parametrize(("provider", "claims", "reason"), WRONG)
def test_what_the_rules_do_not_say_is_refused(provider, claims, reason):
    assert reason in refused(provider, **claims)


def test_a_list_with_one_organisation_names_it():
    token = token_of(KEYCLOAK, organization=["acme"])
    assert verify(token, idp_of(KEYCLOAK).issuer()).tenant_id == ACME


def test_the_type_must_be_one_of_the_rules():
    rules = parse_token_rules({"types": ["Logout+JWT"]})
    idp = Idp("https://id.acme.example/", record={"rules": rules})
    assert verify(idp.token({"typ": "logout+jwt"}), idp.issuer())
    with pytest.raises(BadCredential):
        verify(idp.token(), idp.issuer())


def test_a_mapped_operator_still_needs_a_platform_issuer():
    rules = parse_token_rules({"roles": {"root": "operator"}})
    idp = Idp("https://id.acme.example/", record={"rules": rules})
    with pytest.raises(BadCredential):
        verify(idp.token(role="root"), idp.issuer())
    platform = replace(idp.issuer(), platform=True)
    assert verify(idp.token(role=["root"]), platform).role is Role.OPERATOR


def test_a_mapped_tenant_is_still_one_the_issuer_may_speak_for():
    rules = parse_token_rules({"tenants": {"g": "globex"}})
    idp = Idp("https://id.acme.example/", record={"rules": rules})
    with pytest.raises(BadCredential):
        verify(idp.token(tenant_id="g"), idp.issuer())
    widened = replace(idp.issuer(), tenants=frozenset({GLOBEX}))
    assert verify(idp.token(tenant_id="g"), widened).tenant_id == GLOBEX


def test_a_key_without_alg_takes_the_only_one_allowed_that_fits():
    idp = Idp("https://id.acme.example/", alg="RS256")
    jwk = public_jwk("RS256", idp.key, "k") | {"alg": None}
    del jwk["alg"]
    ((alg, _),) = vet_jwks({"keys": [jwk]}, algorithms={"RS256", "ES256"}).values()
    assert alg == "RS256"
    for algorithms in ((), {"RS256", "PS256"}, {"ES256"}):
        with pytest.raises(Invalid):
            vet_jwks({"keys": [jwk]}, algorithms=algorithms)


def test_a_key_of_an_algorithm_not_allowed_is_refused_or_left_out():
    ours, other = Idp("https://id.acme.example/"), Idp("https://b.example/", alg="RS256")
    keys = {"keys": [public_jwk(i.alg, i.key, i.alg) for i in (ours, other)]}
    with pytest.raises(Invalid):
        vet_jwks(keys, algorithms={"ES256"})
    assert list(vet_jwks(keys, algorithms={"ES256"}, lenient=True)) == ["ES256"]


def test_a_set_has_bounded_keys():
    jwk = {"kty": "oct", "alg": "HS256", "k": encode(b"s" * 32)}
    keys = [{**jwk, "kid": str(n)} for n in range(65)]
    with pytest.raises(Invalid):
        vet_jwks({"keys": keys}, symmetric_allowed=True)
    assert len(vet_jwks({"keys": keys[1:]}, symmetric_allowed=True)) == 64


BAD_RULES = [
    ([], "rules"),
    ({"tenant_claim": "org"}, "rules.tenant_claim"),
    ({"tenant": ""}, "rules.tenant"),
    ({"tenant": []}, "rules.tenant"),
    ({"tenant": ["*"]}, "rules.tenant"),
    ({"tenant": ["a", 1]}, "rules.tenant"),
    ({"tenant": ["a"] * 9}, "rules.tenant"),
    ({"subject": 7}, "rules.subject"),
    ({"subject": "a\0"}, "rules.subject"),
    ({"tenants": []}, "rules.tenants"),
    ({"tenants": {"org": "Acme"}}, "rules.tenants.org"),
    ({"tenants": {"": "acme"}}, "rules.tenants"),
    ({"roles": {"x": "boss"}}, "rules.roles.x"),
    ({"roles": {"x": ["admin"]}}, "rules.roles.x"),
    ({"roles": {"x": []}}, "rules.roles.x"),
    ({"roles": {"x": ["search", "platform:*"]}}, "rules.roles.x"),
    ({"roles": {"x": ["threads:debug"]}}, "rules.roles.x"),
    ({"roles": {"x": ["search", 1]}}, "rules.roles.x"),
    ({"default_role": "operator"}, "rules.default_role"),
    ({"default_role": None}, "rules.default_role"),
    ({"scopes": "scope"}, "rules.scopes"),
    ({"scopes": [["a", "*"]]}, "rules.scopes"),
    ({"types": []}, "rules.types"),
    ({"types": "jwt"}, "rules.types"),
    ({"algorithms": ["none"]}, "rules.algorithms"),
    ({"algorithms": ["HS256"]}, "rules.algorithms"),
    ({"audiences": [""]}, "rules.audiences"),
    ({"required": {"azp": 1}}, "rules.required.azp"),
]


@pytest.mark.parametrize(("document", "field"), BAD_RULES, ids=repr)
def test_bad_rules_are_named(document, field):
    with pytest.raises(Invalid) as invalid:
        parse_token_rules(document)
    assert invalid.value.field == field


names = st.text("abc:/*é", min_size=1, max_size=5)
steps = names.filter(lambda name: name != "*")
paths = st.one_of(steps, st.builds(lambda a, b: [a, *b], steps, st.lists(names, max_size=3)))
documents = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("tenant", "subject", "role", "audience"), paths),
        "scopes": st.lists(st.one_of(steps, st.lists(steps, min_size=1, max_size=3)), max_size=3),
        "tenants": st.dictionaries(names, st.sampled_from(["acme", "globex"])),
        "roles": st.dictionaries(
            names, st.one_of(st.sampled_from(list(Role)), st.just(["search", "chat"]))
        ),
        "default_role": st.sampled_from(["viewer", "admin"]),
        "audiences": st.lists(names, max_size=3),
        "required": st.dictionaries(names, st.one_of(names, st.lists(names, max_size=2))),
        "types": st.lists(names, min_size=1, max_size=3),
        "algorithms": st.lists(st.sampled_from(sorted(ALGORITHMS)), max_size=3),
    },
)


@given(documents)
def test_rules_are_read_back_as_they_were_stored(document):
    rules = parse_token_rules(document)
    stored = json.loads(json.dumps(token_rules_document(rules)))
    assert parse_token_rules(stored) == rules


def test_the_usual_rules_are_stored_as_nothing():
    assert token_rules_document(OURS) == {}
    assert parse_token_rules({}) == OURS


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)),
)


@given(json_values, st.lists(names, max_size=4))
def test_a_path_leads_somewhere_or_to_nothing(value, path):
    claim_at(value, tuple(path))


@given(st.dictionaries(st.sampled_from(["o", "azp", "sub", "aud"]), json_values))
def test_whatever_a_signed_token_says_is_a_claim_or_a_refusal(said):
    idp = idp_of(CLERK)
    claims = {"iss": idp.url, "exp": SECONDS + 60, **said}
    with suppress(BadCredential):
        assert tokens.parse_claims(claims, idp.issuer(), NOW).tenant_id == ACME


CUSTOM = {
    "support": ["threads:read", "threads:all"],
    "auditor": ["audit:read", "usage:read"],
    "staff": "member",
    "root": "operator",
}


@pytest.mark.parametrize(
    ("said", "role", "scopes"),
    [
        ({"role": "support"}, Role.SERVICE, {"threads:read", "threads:all"}),
        (
            {"role": ["support", "auditor", "nobody"]},
            Role.SERVICE,
            {"threads:read", "threads:all", "audit:read", "usage:read"},
        ),
        ({"role": ["support"], "scope": "threads:read chat"}, Role.SERVICE, {"threads:read"}),
        ({"role": ["support"], "scope": ""}, Role.SERVICE, set()),
        ({"role": ["support"], "scope": "threads:debug"}, Role.SERVICE, set()),
        (
            {"role": ["staff", "auditor"]},
            Role.MEMBER,
            SCOPES_OF_ROLE[Role.MEMBER] | {"audit:read", "usage:read"},
        ),
        ({"role": ["root", "auditor"]}, Role.OPERATOR, {"platform:*"}),
    ],
)
def test_a_custom_role_is_a_set_of_scopes(said, role, scopes):
    record = {"rules": parse_token_rules({"roles": CUSTOM}), "platform": True}
    idp = Idp("https://custom.example/", record=record)
    claims = verify(idp.token(**said), idp.issuer())
    assert claims.role is role
    assert scopes_of_token(claims.role, claims.words, claims.granted) == scopes


@pytest.mark.parametrize("role", ["nobody", "Support", "admin", "member", [], ["nobody"]])
def test_what_stands_for_no_role_is_none(role):
    idp = Idp("https://custom.example/", record={"rules": parse_token_rules({"roles": CUSTOM})})
    with pytest.raises(BadCredential) as refused:
        verify(idp.token(role=role), idp.issuer())
    assert "role is unknown" in refused.value.reason


def test_the_widest_role_holds():
    assert widest([]) is None
    assert widest([Role.SERVICE, Role.VIEWER, Role.MEMBER]) is Role.SERVICE
