"""What component shows what token to whom: of thousands of attacks none passes."""

from collections import Counter
from dataclasses import replace
from itertools import product

import pytest

from server.component_keys import new_key, registry
from server.refusal import BadCredential
from server.transaction_tokens import TransactionTokens
from tenancy.component import ActorChain
from tenancy.ids import SubjectId
from tenancy.principal import TENANT_SCOPES, Scope
from tests.isolation.attack_tokens import (
    ACME,
    ANN,
    CRM,
    FAMILIES,
    FILES,
    FOREIGN,
    GLOBEX,
    GRAPH,
    KEYS,
    KNOWN,
    MAIL,
    NOW,
    OUR,
    PARENT,
    RUN,
    SERVER,
    STEPS,
    THEIR_CRM,
    USE,
    WORKER,
    Attack,
    root,
    tokens,
)

ATTACKS = [attack for family in FAMILIES for attack in family()]


def accepted(attack: Attack, verifier: TransactionTokens) -> bool:
    try:
        verifier.verify(attack.token, attack.at)
    except BadCredential:
        return False
    return True


def test_no_attack_token_is_accepted_by_a_component_that_saw_none() -> None:
    assert len(ATTACKS) >= 500
    assert Counter(each.how for each in ATTACKS if accepted(each, tokens(each.now))) == {}


def test_no_attack_token_is_accepted_by_a_component_that_saw_every_genuine_one() -> None:
    clock = [float(NOW)]
    verifier = TransactionTokens(KNOWN, clock=lambda: clock[0])
    found = []
    for step in STEPS:
        verifier.verify(step.token, step.at)
    for attack in ATTACKS:
        clock[0] = attack.now
        if accepted(attack, verifier):
            found.append(attack.how)
    assert found == []


@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step.by.short}-{step.at.short}")
def test_each_genuine_token_is_accepted_while_it_lives(step) -> None:
    for seconds in (-5, 0, 1, 60, 119, 124.9):
        found = tokens(NOW + seconds).verify(step.token, step.at)
        assert (found.tenant_id, found.subject_id, found.run_id) == (ACME, "ann", RUN)
        assert (found.issuer, found.audience) == (step.by, step.at)
        assert found.scopes == (ANN.scopes if step.by == SERVER else USE)


@pytest.mark.parametrize("scopes", [frozenset(), USE, TENANT_SCOPES], ids=len)
@pytest.mark.parametrize("subject", ["a", "ann smith@acme.example", "\U0001f600" * 256], ids=len)
@pytest.mark.parametrize("credential", ["key:1", "issuer:https://" + "x" * 504], ids=len)
def test_whatever_a_caller_is_called_a_tool_can_be_called(scopes, subject, credential) -> None:
    caller = replace(ANN, subject_id=SubjectId(subject), scopes=scopes, credential=credential)
    passed_on = tokens().delegate(KEYS[GRAPH], root(who=caller), CRM, scopes)
    assert tokens().verify(passed_on, CRM).subject_id == subject


def test_what_no_header_would_carry_is_not_signed() -> None:
    long = replace(ANN, subject_id=SubjectId("\U0001f600" * 256), credential="issuer:" + "x" * 512)
    tool = tokens().delegate(KEYS[GRAPH], root(who=long), CRM, USE)
    assert refused(lambda: tokens().delegate(KEYS[CRM], tool, FILES, USE))


def test_the_chain_names_everybody_on_the_way() -> None:
    found = tokens().verify(STEPS[-1].token, FILES)
    assert found.received == ActorChain(ANN.credential, (SERVER, GRAPH, CRM, FILES))
    assert str(found.received) == "issuer:https://id.acme/ > server > graph > tool/crm > mcp/files"


def test_a_second_server_of_the_deployment_signs_with_its_own_key() -> None:
    second = new_key(SERVER)
    both = registry([*(key.public for key in KEYS.values()), second.public])
    mine = TransactionTokens(both, clock=lambda: NOW)
    for key in (second, KEYS[SERVER]):
        assert mine.verify(mine.mint(key, GRAPH, ANN, RUN), GRAPH).issuer == SERVER


def refused(work) -> bool:
    try:
        work()
    except BadCredential:
        return True
    return False


def test_only_the_server_mints_and_only_over_an_edge() -> None:
    minted = {
        (by.component, to)
        for by, to in product(KEYS.values(), (*OUR, *FOREIGN))
        if not refused(lambda by=by, to=to: tokens().mint(by, to, ANN, RUN))
    }
    theirs = {(FOREIGN[0], FOREIGN[1])}  # another deployment's server and graph
    assert minted == {(SERVER, GRAPH), (SERVER, WORKER)} | theirs


def test_what_is_delegated_goes_only_over_an_edge_and_only_within_the_tenant() -> None:
    passed = {
        (by, to)
        for by, to in product((GRAPH, CRM), (*OUR, *FOREIGN))
        if not refused(lambda by=by, to=to: tokens().delegate(KEYS[by], PARENT[by].token, to, USE))
    }
    assert passed == {(GRAPH, CRM), (GRAPH, MAIL), (GRAPH, FILES), (GRAPH, WORKER), (CRM, FILES)}


@pytest.mark.parametrize("scope", sorted(set(Scope) - ANN.scopes))
def test_no_scope_is_added_on_the_way(scope) -> None:
    assert refused(lambda: tokens().delegate(KEYS[GRAPH], root(), CRM, USE | {scope}))


def test_nobody_delegates_what_was_given_to_another() -> None:
    for step, key in product(STEPS, KEYS.values()):
        if key.component != step.at:
            assert refused(lambda k=key, s=step: tokens().delegate(k, s.token, FILES, USE))


def test_what_is_delegated_late_ends_with_what_it_came_from() -> None:
    late = tokens(NOW + 100)
    passed_on = late.delegate(KEYS[GRAPH], root(), CRM, USE)
    assert late.verify(passed_on, CRM).expires_at == NOW + 120
    assert refused(lambda: tokens(NOW + 120).delegate(KEYS[GRAPH], root(), CRM, USE))


def test_another_tenants_run_reaches_that_tenants_tool_alone() -> None:
    theirs = root(who=replace(ANN, tenant_id=GLOBEX))
    assert refused(lambda: tokens().delegate(KEYS[GRAPH], theirs, CRM, USE))
    passed_on = tokens().delegate(KEYS[GRAPH], theirs, THEIR_CRM, USE)
    assert tokens().verify(passed_on, THEIR_CRM).tenant_id == GLOBEX


def test_a_platform_scope_is_never_minted() -> None:
    caller = replace(ANN, scopes=frozenset(Scope))
    assert tokens().verify(root(who=caller), GRAPH).scopes == TENANT_SCOPES


def test_no_key_no_token_in_what_is_printed() -> None:
    found = tokens().verify(STEPS[2].token, CRM)
    shown = repr([found, KEYS[SERVER], tokens()])
    assert STEPS[0].token not in shown
    assert "PrivateKey" not in shown
