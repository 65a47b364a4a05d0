from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from server.component_keys import new_key
from server.components import Components
from server.refusal import BadCredential
from server.transaction_claims import LIFE_SECONDS
from tenancy.component import ComponentId, Kind, parse_deployment
from tenancy.errors import Misconfigured
from tenancy.ids import RunId, SubjectId, TenantId
from tenancy.principal import MEMBER_SCOPES, Principal, Role, Scope

HERE = parse_deployment("agents.example")
SERVER, GRAPH = ComponentId(HERE, Kind.SERVER), ComponentId(HERE, Kind.GRAPH)
ACME = TenantId("acme")
ANN = Principal(ACME, SubjectId("ann"), Role.MEMBER, MEMBER_SCOPES, "key:1")
USE = frozenset({Scope.TOOLS_USE})


def house(now: list[float]) -> Components:
    return Components(new_key(SERVER), new_key(GRAPH), clock=lambda: now[0])


def test_a_tool_learns_who_calls_it() -> None:
    components = house([0.0])
    own = components.delegate(components.begin(ANN, RunId(uuid4())).token(), ACME, "lookup", USE)
    actors = components.verify(own, ACME, "lookup", USE)
    assert str(actors) == "key:1 > server > graph > tool/lookup"


def test_a_runs_token_is_renewed_at_half_its_life_and_a_tools_lasts_the_other_half() -> None:
    now = [1000.0]
    components = house(now)
    run = components.begin(ANN, RunId(uuid4()))
    first = run.token()
    now[0] += LIFE_SECONDS / 2 - 1
    assert run.token() == first
    late = components.delegate(first, ACME, "lookup", USE)
    now[0] += 1
    assert run.token() != first
    now[0] += LIFE_SECONDS / 2 - 1
    assert components.verify(late, ACME, "lookup", USE)


def test_a_tool_that_needs_more_than_the_run_may_is_not_called() -> None:
    components = house([0.0])
    narrow = replace(ANN, scopes=USE)
    token = components.begin(narrow, RunId(uuid4())).token()
    with pytest.raises(BadCredential):
        components.delegate(token, ACME, "lookup", USE | {Scope.SEARCH})
    own = components.delegate(token, ACME, "lookup", USE)
    with pytest.raises(BadCredential):
        components.verify(own, ACME, "lookup", USE | {Scope.SEARCH})


def test_another_processs_tokens_are_not_believed() -> None:
    token = house([0.0]).begin(ANN, RunId(uuid4())).token()
    with pytest.raises(BadCredential):
        house([0.0]).delegate(token, ACME, "lookup", USE)


def test_servers_with_the_same_fixed_keys_believe_each_other(tmp_path: Path) -> None:
    for component in (SERVER, GRAPH):
        pem = new_key(component).key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        (tmp_path / f"{component.kind}.pem").write_bytes(pem)
    one, other = (Components.of(HERE, tmp_path) for _ in range(2))
    own = one.delegate(one.begin(ANN, RunId(uuid4())).token(), ACME, "lookup", USE)
    assert other.verify(own, ACME, "lookup", USE)


def test_a_key_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"server\.pem"):
        Components.of(HERE, tmp_path)


def test_what_is_printed_of_a_run_holds_no_token() -> None:
    run = house([0.0]).begin(ANN, RunId(uuid4()))
    assert run.token() not in repr(run)
