"""What a revocation ends, and what it leaves alone."""

import pytest

from storage.directory import revocations_of
from tenancy.errors import NotAuthenticated, TenantSuspended
from tenancy.ids import SubjectId, TenantId
from tenancy.plan import FREE
from tenancy.principal import MEMBER_SCOPES, Principal, Role
from tenancy.revocation import NOTHING_REVOKED, Revocations
from tenancy.tenant import Tenant, TenantStatus

ISSUER = "issuer:https://id.acme.example/"


def caller(subject="ann", credential=ISSUER, issued_at=100.0, token_id="t-1", role=Role.MEMBER):
    return Principal(
        TenantId("acme"), SubjectId(subject), role, MEMBER_SCOPES, credential, issued_at, token_id
    )


ONE_TOKEN = Revocations(tokens=frozenset({(ISSUER, "t-1")}))
ONE_KEY = Revocations(credentials=frozenset({"key:1"}))
ANN = Revocations(subjects={SubjectId("ann"): 100.5})
ALL = Revocations(everyone=100.5)

CASES = [
    (NOTHING_REVOKED, caller(), False),
    (ONE_TOKEN, caller(), True),
    (ONE_TOKEN, caller(token_id="t-2"), False),
    (ONE_TOKEN, caller(token_id=None), False),
    (ONE_TOKEN, caller(credential="issuer:https://other.example/"), False),
    (ONE_KEY, caller(credential="key:1", token_id=None), True),
    (ONE_KEY, caller(credential="key:2", token_id=None), False),
    (ANN, caller(), True),
    (ANN, caller(issued_at=101.0), False),
    (ANN, caller(issued_at=None), True),
    (ANN, caller(subject="bob"), False),
    (ANN, caller(subject="bob", issued_at=None), False),
    (ALL, caller(subject="bob"), True),
    (ALL, caller(subject="bob", issued_at=100.5), True),
    (ALL, caller(subject="bob", issued_at=101.0), False),
    (ALL, caller(credential="key:2", issued_at=100.2), True),
    (ALL, caller(issued_at=None), True),
]


@pytest.mark.parametrize(("revocations", "principal", "covered"), CASES)
def test_a_revocation_ends_what_it_names(revocations, principal, covered):
    assert revocations.cover(principal) is covered


def test_rows_are_read_by_what_they_name():
    rows = [
        {"subject": "", "issuer": "", "token": "", "at": 7},
        {"subject": "ann", "issuer": "", "token": "", "at": 8.5},
        {"subject": "", "issuer": "https://id.acme.example/", "token": "t-1", "at": 9},
    ]
    assert revocations_of(rows, ["k"]) == Revocations(
        7.0, {SubjectId("ann"): 8.5}, frozenset({"key:k"}), frozenset({(ISSUER, "t-1")})
    )
    assert revocations_of([], []) == NOTHING_REVOKED


def test_a_revoked_credential_is_told_less_than_a_suspended_tenant():
    tenant = Tenant(TenantId("acme"), "Acme", TenantStatus.SUSPENDED, FREE, "first")
    with pytest.raises(TenantSuspended):
        tenant.require_served(caller())
    tenant.require_served(caller(role=Role.OPERATOR))
    revoked = Tenant(
        TenantId("acme"), "Acme", TenantStatus.SUSPENDED, FREE, "first", revocations=ALL
    )
    for role in (Role.MEMBER, Role.OPERATOR):
        with pytest.raises(NotAuthenticated):
            revoked.require_served(caller(role=role))
