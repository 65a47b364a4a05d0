"""SQL that an attacker gets onto the app's own connection, inside another tenant's transaction.

It may say anything. It sees the rows of the tenant whose seal that transaction has, and no others.
"""

from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from server.stores import Stores
from storage.checks import refuse_unsafe
from storage.control import control
from storage.directory import Directory
from storage.queries import query
from storage.seal import AppDatabase, SealKey
from tenancy.credentials import ApiKey, Issuer
from tenancy.errors import Misconfigured
from tenancy.ids import KeyId, SubjectId
from tenancy.price import Price
from tenancy.principal import Role
from tests.storage.makers import ACME, GLOBEX, open_cells

CANARY = "canary-of-globex"
THREAD = str(uuid4())
ISSUER = "https://id.globex.example/"

# Each is run with a valid seal for acme; none may show anything of globex's.
INJECTED = {
    "the setting": (
        "select set_config('app.tenant_id', 'globex', true)",
        "select title from tenantry.threads",
    ),
    "the setting, for the session": (
        "select set_config('app.tenant_id', 'globex', false)",
        "select title from tenantry.threads",
    ),
    "the setting, within the query": (
        "select t.title from (select set_config('app.tenant_id', 'globex', true) offset 0) s,"
        " tenantry.threads t",
    ),
    "an own seal": (
        "select tenantry.enter('globex', encode(sha256('globex'), 'hex'))",
        "select title from tenantry.threads",
    ),
    "the seal of another": (
        "select tenantry.enter('globex', current_setting('app.tenant_seal'))",
        "select title from tenantry.threads",
    ),
    "no seal": (
        "select set_config('app.tenant_seal', '', true)",
        "select set_config('app.tenant_id', 'globex', true)",
        "select title from tenantry.threads",
    ),
    "a null seal": (
        "select tenantry.enter('globex', null)",
        "select title from tenantry.threads",
    ),
    "a statement of SET": (
        "set app.tenant_id = 'globex'",
        "select title from tenantry.threads",
    ),
    "a name that ends in the other": (
        "select tenantry.enter('acme globex', current_setting('app.tenant_seal'))",
        "select title from tenantry.threads",
    ),
    "a tenant function": (
        "select * from tenantry.load_checkpoint('globex', %(thread)s, '', null)",
    ),
    "a tenant function of before": (
        "select * from tenantry.get_checkpoint('globex', %(thread)s, '', null)",
    ),
    "a search": ("select * from tenantry.search_passages('globex', 'canary', '[1,0]', 'm', 10)",),
    "the record of another": ("select * from tenantry.tenant_record('globex')",),
    "the record of another, entered": (
        "select * from tenantry.tenant_record("
        "tenantry.enter('globex', current_setting('app.tenant_seal')))",
    ),
    "the record of another with its limits": (
        "select * from tenantry.limited_tenant_record('globex')",
    ),
    "the record of another with its limits, entered": (
        "select * from tenantry.limited_tenant_record("
        "tenantry.enter('globex', current_setting('app.tenant_seal')))",
    ),
    "the deployment's profiles, as the platform": (
        "select * from tenantry.platform_profiles("
        "tenantry.enter('*', current_setting('app.tenant_seal')))",
    ),
    "what another's user prefers": (
        "select p.*, 'canary-of-' || 'globex' from tenantry.who_speaks("
        "tenantry.enter('globex', current_setting('app.tenant_seal')), 'u', 'a', true) p"
        " where preferences is not null or slug is not null",
    ),
    "the profile of another": (
        "select tenantry.enter('globex', '')",
        "select 'canary-of-' || 'globex' from tenantry.put_profile('{}') as done where done",
    ),
    "the limits of another": ("select * from control.limits_of('globex')",),
    "the prices": ("select * from tenantry.price_records('*')",),
    "the prices, as the platform": (
        "select * from tenantry.price_records("
        "tenantry.enter('*', current_setting('app.tenant_seal')))",
    ),
    "the users of another": (
        "select tenantry.enter('globex', '')",
        "select * from tenantry.page_of_user_limits(100, null)",
    ),
    "a user of another": (
        "select set_config('app.tenant_id', 'globex', true)",
        "select u.*, 'canary-of-' || 'globex' from tenantry.find_user_limits(%(thread)s) u",
    ),
    "a limit of another's user": (
        "select set_config('app.tenant_id', 'globex', true)",
        "select 'canary-of-' || 'globex' from"
        ' tenantry.narrow_user(%(thread)s, \'{"user_burst": "1"}\') as outcome'
        " where outcome = 'done'",
    ),
    "the end of another's limit": (
        "select set_config('app.tenant_id', 'globex', true)",
        "select 'canary-of-' || 'globex' from tenantry.forget_narrowed(%(thread)s) as done"
        " where done",
    ),
    "an issuer": ("select * from tenantry.issuer_record('*', %(issuer)s)",),
    "an issuer, as the platform": (
        "select * from tenantry.issuer_record("
        "tenantry.enter('*', current_setting('app.tenant_seal')), %(issuer)s)",
    ),
    "the keys of another": (
        "select tenantry.enter('globex', '')",
        "select * from tenantry.page_of_keys(100, null, null)",
    ),
    "the keys of another, listed as before": (
        "select tenantry.enter('globex', '')",
        "select * from tenantry.list_keys(100, null, null)",
    ),
    "a key of another": (
        "select set_config('app.tenant_id', 'globex', true)",
        "select * from tenantry.find_key(%(thread)s)",
    ),
    "a key in the place of another's": (
        "select set_config('app.tenant_id', 'globex', true)",
        "select k.*, 'canary-of-' || 'globex' from"
        " tenantry.rotate_key(%(thread)s, gen_random_uuid(), sha256('mine'), 0) k"
        " where outcome = 'rotated'",
    ),
    "the key of the seals": ("select * from control.seal_keys",),
    "the text of the check": (
        "select pg_get_functiondef('tenantry.current_tenant()'::regprocedure)",
    ),
    "another check": (
        "create or replace function tenantry.current_tenant() returns text"
        " language sql return 'globex'",
        "select title from tenantry.threads",
    ),
    "another hash, found first": (
        "create function pg_temp.sha256(bytea) returns bytea language sql return '\\x00'",
        "set local search_path = pg_temp, pg_catalog",
        "select set_config('app.tenant_id', 'globex', true)",
        "select title from tenantry.threads",
    ),
    "another operator, found first": (
        "create function pg_temp.yes(bytea, bytea) returns bool language sql return true",
        "create operator pg_temp.= (function = pg_temp.yes, leftarg = bytea, rightarg = bytea)",
        "set local search_path = pg_temp, pg_catalog",
        "select set_config('app.tenant_id', 'globex', true)",
        "select title from tenantry.threads",
    ),
    "another table, found first": (
        "create temp table seal_keys (key_id text, inner_pad bytea, outer_pad bytea)",
        "set local search_path = pg_temp, pg_catalog",
        "select set_config('app.tenant_id', 'globex', true)",
        "select title from tenantry.threads",
    ),
    "row-level security off": (
        "set local row_security = off",
        "select title from tenantry.threads",
    ),
    "another role": ("set role tenantry_owner", "select title from tenantry.threads"),
    "the role that is behind": ("reset role", "select title from tenantry.threads"),
    "another session's statements": ("select query from pg_stat_activity",),
    "what the planner knows": ("select * from pg_stats where schemaname = 'tenantry'",),
    "a query in a query": (
        "select query_to_xml("
        "'select set_config(''app.tenant_id'', ''globex'', true)', true, true, '')",
        "select query_to_xml('select title from tenantry.threads', true, true, '')",
    ),
    "an error's text": (
        "select set_config('app.tenant_id', 'globex', true)",
        "select title::int from tenantry.threads",
    ),
    "a cheap function": (
        "create function pg_temp.tell(text) returns bool language plpgsql cost 0.0000001"
        " as $$begin raise '%', $1; end$$",
        "select from tenantry.threads where pg_temp.tell(title)",
    ),
    "what a change returns": (
        "select set_config('app.tenant_id', 'globex', true)",
        "update tenantry.threads set title = title returning title",
    ),
    "a copy": ("copy tenantry.threads to stdout",),
    "a lock": (
        "select set_config('app.tenant_id', 'globex', true)",
        "select title from tenantry.threads for update",
    ),
}


@pytest.fixture(scope="module")
def attacked(stores: Stores) -> Stores:
    """A database in which globex has a canary wherever it can have words."""
    with control(stores.owner()) as admin:
        admin.set_preferences(GLOBEX, {"persona": CANARY})
        admin.put_issuer(Issuer(ISSUER, CANARY, {"keys": []}, frozenset({GLOBEX})))
        subject, now = SubjectId(CANARY), datetime.now(UTC)
        key = ApiKey(KeyId(UUID(THREAD)), GLOBEX, subject, Role.MEMBER, (), now)
        admin.add_key(key, sha256(CANARY.encode()).digest())
        admin.put_price(Price(CANARY, 1, 1))
        for each in (CANARY, THREAD):
            admin.limit(GLOBEX, {"user_burst": "1"}, SubjectId(each))
    with psycopg.connect(stores.app_url) as conn:
        enter(conn, stores.app, GLOBEX)
        conn.execute('select tenantry.narrow_user(%s, \'{"user_burst": "1"}\')', [THREAD])
        run(conn, "insert into tenantry.threads (thread_id, subject_id, title) values (%s, %s, %s)")
        run(
            conn,
            "insert into tenantry.checkpoints (thread_id, checkpoint_id, checkpoint)"
            " values (%s, %s, jsonb_build_object('v', %s::text))",
        )
    with psycopg.connect(stores.owner(), autocommit=True) as conn:
        conn.execute("analyze")
    return stores


def run(conn: psycopg.Connection[Any], statement: str) -> None:
    conn.execute(statement.encode(), [THREAD, "1", CANARY])


def enter(conn: psycopg.Connection[Any], database: AppDatabase, tenant: str) -> None:
    conn.execute(query("enter").sql, database.entry(tenant))


def seen_by(conn: psycopg.Connection[Any], statements: tuple[str, ...]) -> str:
    """All that an attacker is told: rows, and the error that ends it."""
    said = []
    for statement in statements:
        try:
            if statement.startswith("copy"):
                with conn.cursor() as cursor, cursor.copy(statement.encode()) as rows:
                    said += [repr(bytes(row)) for row in rows]
                continue
            known = {"thread": THREAD, "issuer": ISSUER} if "%(" in statement else None
            cursor = conn.execute(statement.encode(), known)
            if cursor.description is not None:
                said.append(repr(cursor.fetchall()))
        except psycopg.Error as error:
            return "".join([*said, str(error)])
    return "".join(said)


@pytest.mark.parametrize("attack", INJECTED)
def test_injected_sql_sees_nothing_of_another_tenant(attacked: Stores, attack: str) -> None:
    with psycopg.connect(attacked.app_url) as conn:
        enter(conn, attacked.app, ACME)
        said = seen_by(conn, INJECTED[attack])
        conn.rollback()
    assert CANARY not in said
    assert all(each not in said for each in pads(attacked))


def pads(stores: Stores) -> tuple[str, ...]:
    assert stores.seal_key
    return (stores.seal_key.text, *(pad.hex() for pad in stores.seal_key.pads))


@pytest.mark.parametrize("tenant", [ACME, GLOBEX])
def test_with_its_seal_a_tenant_is_there(attacked: Stores, tenant: str) -> None:
    """The canary can be found: what was tried above is not simply broken."""
    with psycopg.connect(attacked.app_url) as conn:
        enter(conn, attacked.app, tenant)
        said = seen_by(conn, ("select title from tenantry.threads",))
    assert (CANARY in said) == (tenant == GLOBEX)


def test_without_the_seal_the_attacks_would_work(attacked: Stores) -> None:
    """With the check of before, half of these attacks read the canary."""
    before = (
        "create or replace function tenantry.current_tenant() returns text language sql stable"
        " return nullif(pg_catalog.current_setting('app.tenant_id', true), '')"
    )
    sealed = "select pg_get_functiondef('tenantry.current_tenant()'::regprocedure)"
    with psycopg.connect(attacked.owner(), autocommit=True) as owner:
        [checked] = owner.execute(sealed.encode()).fetchone() or [""]
        owner.execute(before.encode())
        try:
            with psycopg.connect(attacked.app_url) as conn:
                read = [name for name in INJECTED if CANARY in attacked_by(conn, attacked, name)]
        finally:
            owner.execute(checked.encode())
    assert len(read) >= len(INJECTED) // 2, read


def attacked_by(conn: psycopg.Connection[Any], stores: Stores, attack: str) -> str:
    enter(conn, stores.app, ACME)
    said = seen_by(conn, INJECTED[attack])
    conn.rollback()
    return said


@pytest.mark.parametrize("key", [None, SealKey("another key of at least 32 characters")])
async def test_a_server_without_the_key_does_not_start(
    attacked: Stores, key: SealKey | None
) -> None:
    async with open_cells(replace(attacked, seal_key=key), size=1) as cells:
        with pytest.raises(Misconfigured, match="TENANTRY_SEAL_KEY"):
            await refuse_unsafe(cells.first.pool)


async def test_the_directory_has_a_seal_for_what_it_asks(attacked: Stores) -> None:
    async with open_cells(attacked, size=1) as cells:
        directory = Directory(cells.first.pool)
        tenant, issuer = await directory.tenant(GLOBEX), await directory.issuer(ISSUER)
    assert tenant is not None
    assert issuer is not None
    assert (tenant.preferences["persona"], issuer.audience) == (CANARY, CANARY)


@pytest.mark.parametrize("text", ["k" * 32, "k" * 64, "k" * 65, "k" * 200, "ключ " * 20])
def test_a_key_of_any_length_is_the_same_on_both_sides(attacked: Stores, text: str) -> None:
    key = SealKey(text)
    with psycopg.connect(attacked.owner(), autocommit=True) as owner, owner.transaction():
        with control(attacked.owner()) as admin:
            admin.add_seal_key(key)
        with psycopg.connect(attacked.app_url) as conn:
            enter(conn, AppDatabase("", key), GLOBEX)
            assert CANARY in seen_by(conn, ("select title from tenantry.threads",))
        with control(attacked.owner()) as admin:
            admin.remove_seal_key(key.key_id)


def test_a_key_that_is_removed_is_believed_no_longer(attacked: Stores) -> None:
    key = SealKey("a key that does not stay for long")
    with control(attacked.owner()) as admin:
        admin.add_seal_key(key)
        admin.remove_seal_key(key.key_id)
    with psycopg.connect(attacked.app_url) as conn:
        enter(conn, AppDatabase("", key), GLOBEX)
        assert seen_by(conn, ("select title from tenantry.threads",)) == "[]"


def test_a_database_is_not_sealed_with_a_second_key_by_accident(attacked: Stores) -> None:
    with control(attacked.owner()) as admin:
        before = admin.seal_keys()
        admin.seal(SealKey("the key of another data directory"))
        assert admin.seal_keys() == before


def test_a_key_is_never_printed(attacked: Stores) -> None:
    assert attacked.seal_key
    assert attacked.seal_key.text not in f"{attacked!r} {attacked.app!r} {attacked.seal_key!r}"
