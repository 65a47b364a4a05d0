"""The development issuer has one secret per data directory, readable by its owner alone."""

import multiprocessing
import stat
from datetime import UTC, datetime, timedelta

import pytest

from server import tokens
from server.dev_issuer import load_or_create
from server.jws import read_token
from server.key_sets import vetted
from server.refusal import BadCredential
from tenancy.errors import Misconfigured
from tenancy.ids import SubjectId, TenantId
from tenancy.principal import Role

ACME, ANN, HOUR = TenantId("acme"), SubjectId("ann"), timedelta(hours=1)


def verify(token, issuer, **later):
    return tokens.verify(
        read_token(token), issuer, vetted(issuer), now=datetime.now(UTC) + timedelta(**later)
    )


def test_it_signs_what_it_verifies(tmp_path):
    dev = load_or_create(tmp_path)
    token = dev.sign(ACME, ANN, Role.ADMIN, HOUR, scopes=["chat", "threads:debug"])
    claims = verify(token, dev.issuer)
    assert (claims.tenant_id, claims.subject_id, claims.role) == (ACME, ANN, Role.ADMIN)
    assert claims.words == {"chat", "threads:debug"}
    with pytest.raises(BadCredential):
        verify(token, dev.issuer, hours=2)


def test_it_speaks_for_every_tenant_and_for_operators(tmp_path):
    dev = load_or_create(tmp_path)
    assert dev.issuer.url == "urn:tenantry:dev"
    assert verify(dev.sign(ACME, ANN, Role.OPERATOR, HOUR), dev.issuer).role is Role.OPERATOR


def test_the_audience_is_the_deployments(tmp_path):
    dev = load_or_create(tmp_path, "staging")
    assert verify(dev.sign(ACME, ANN, Role.MEMBER, HOUR), dev.issuer)
    with pytest.raises(BadCredential):
        verify(dev.sign(ACME, ANN, Role.MEMBER, HOUR, "tenantry"), dev.issuer)


def test_the_secret_outlives_the_process_and_stays_in_its_directory(tmp_path):
    first, again = load_or_create(tmp_path / "a"), load_or_create(tmp_path / "a")
    other = load_or_create(tmp_path / "b")
    token = first.sign(ACME, ANN, Role.MEMBER, HOUR)
    assert verify(token, again.issuer)
    with pytest.raises(BadCredential):
        verify(token, other.issuer)


def test_the_file_is_its_owners_alone_and_nothing_else_is_left(tmp_path):
    load_or_create(tmp_path)
    (file,) = (tmp_path / "secrets").iterdir()
    assert file.name == "dev-issuer.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"keys":[]}', b'{"keys":[{"kty":"oct"}]}'])
def test_a_damaged_file_stops_the_start_with_its_name(tmp_path, content):
    path = tmp_path / "secrets" / "dev-issuer.json"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(Misconfigured, match=r"dev-issuer\.json is damaged"):
        load_or_create(tmp_path)


def test_processes_that_race_agree_on_one_secret(tmp_path):
    context = multiprocessing.get_context("spawn")
    with context.Pool(4) as pool:
        for trial in range(5):
            tokens = pool.starmap(_token_of, [(tmp_path / str(trial),)] * 8, chunksize=1)
            issuer = load_or_create(tmp_path / str(trial)).issuer
            for token in tokens:
                assert verify(token, issuer)


def _token_of(data_dir):
    return load_or_create(data_dir).sign(ACME, ANN, Role.MEMBER, HOUR)
