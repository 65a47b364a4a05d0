"""The database itself keeps tenants apart, whatever the code above it does.

Parametrised over the tables found in a migrated database: a new table of the schema `tenantry` is
asked the same questions, and fails until it has an answer. How tables, policies, keys, functions
and grants must look is `storage/catalogue_lint.py`'s business; here they are tried.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from server.stores import Stores
from storage.cells import Cells
from storage.control import control
from storage.ledger import PostgresLedger
from storage.queries import Query, query
from storage.seal import AppDatabase
from tenancy.errors import NotFound
from tenancy.ids import PlanId, TenantId
from tests.storage.makers import ACME, GLOBEX, Trips, audit_event, open_cells
from tests.support.stores import SEAL_KEY, Cluster

Conn = psycopg.Connection[Any]

TENANT_TABLES = (
    "assistant_versions",
    "assistants",
    "audit_events",
    "checkpoint_blobs",
    "checkpoint_writes",
    "checkpoints",
    "document_texts",
    "documents",
    "memories",
    "memory_switches",
    "next_vectors",
    "passages",
    "runs",
    "staged_passages",
    "threads",
    "uploads",
    "usage_events",
    "user_preferences",
    "word_lists",
)
APPEND_ONLY = ("audit_events", "usage_events")
CONTROL_TABLES = (
    "api_keys",
    "cells",
    "corpora",
    "issuers",
    "key_uses",
    "migrations",
    "plan_limits",
    "plans",
    "prices",
    "profiles",
    "revocations",
    "seal_keys",
    "subscriptions",
    "tenants",
    "tool_settings",
    "universal_assistants",
    "user_limits",
    "version",
)
DATABASE = AppDatabase("", SEAL_KEY)
OF_ACME = str(uuid4())  # every id of the one row that acme has in each table
ROWS = {
    "threads": "thread_id, subject_id) values (%(id)s, 'alice'",
    "runs": "run_id, thread_id, subject_id) values (%(id)s, %(id)s, 'alice'",
    "documents": "document_id, subject_id, title, media_type, size, sha256, passages,"
    " embedding_model, status) values (%(id)s, 'alice', 't', 'text/plain', 1, sha256('a'), 1, 'm',"
    " 'ready'",
    "document_texts": "document_id, body) values (%(id)s, 'secret'",
    "passages": "passage_id, document_id, ordinal, body, embedding_model, embedding)"
    " values (%(id)s, %(id)s, 0, 'secret', 'm', '[1,0]'",
    "next_vectors": "passage_id, embedding_model, embedding) values (%(id)s, 'secret', '[1,0]'",
    "staged_passages": "passage_id, document_id, ordinal, body) values (%(id)s, %(id)s, 0, 'x'",
    "uploads": "document_id, name, content) values (%(id)s, 'secret', ''",
    "assistants": "assistant_id, slug, draft) values (%(id)s::uuid, %(id)s::text, '{}'",
    "assistant_versions": "assistant_id, version, content, subject_id)"
    " values (%(id)s, 1, '{}', 'alice'",
    "user_preferences": "subject_id, says) values (%(id)s, '{}'",
    "word_lists": "word, segment, block, passages, passage_ids, weights)"
    " values ('secret', 1, 0, 1, array[%(id)s::uuid], '{1}'",
    "memories": "memory_id, subject_id, key, value) values (%(id)s, 'alice', 'k', '{}'",
    "memory_switches": "subject_id, enabled) values (%(id)s, true",
    "usage_events": "event_id, meter, quantity, subject_id) values (%(id)s, 'runs', 1, 'alice'",
    "audit_events": "event_id, actor, subject_id, action, outcome)"
    " values (%(id)s, 'key', 'alice', 'act', 'allowed'",
    "checkpoints": "thread_id, checkpoint_id, checkpoint) values (%(id)s, %(id)s, '{}'",
    "checkpoint_blobs": "thread_id, channel, version, type, blob)"
    " values (%(id)s, 'c', '1', 't', ''",
    "checkpoint_writes": "thread_id, checkpoint_id, task_id, idx, channel, blob)"
    " values (%(id)s, %(id)s, 't', 0, 'c', ''",
}
IN_ORDER = tuple(ROWS)  # parents before children
each_table = pytest.mark.parametrize("table", TENANT_TABLES)


@dataclass(frozen=True, slots=True)
class Doors:
    """One connection a role, each in autocommit."""

    app: Conn
    owner: Conn
    operator: Conn


@pytest.fixture(scope="module")
def doors(stores: Stores) -> Iterator[Doors]:
    assert stores.operator_url
    with (
        psycopg.connect(stores.app_url, autocommit=True) as app,
        psycopg.connect(stores.owner(), autocommit=True) as owner,
        psycopg.connect(stores.operator_url, autocommit=True) as operator,
    ):
        with app.transaction():
            become(app, ACME)
            for table in IN_ORDER:
                insert(app, table)
        yield Doors(app, owner, operator)


def become(conn: Conn, tenant_id: TenantId | str) -> None:
    """Until the end of the transaction."""
    conn.execute(query("enter").sql, DATABASE.entry(TenantId(tenant_id)))


@contextmanager
def acting(conn: Conn, tenant_id: TenantId) -> Iterator[None]:
    """What `tenant_id` does in here is undone."""
    with conn.transaction(force_rollback=True):
        become(conn, tenant_id)
        yield


def named(table: str) -> sql.Identifier:
    return sql.Identifier("tenantry", table)


def insert(conn: Conn, table: str, tenant_id: str | None = None, id_: str = OF_ACME) -> None:
    """A row of `table`; of the transaction's own tenant unless one is claimed."""
    columns, values = ROWS[table].split(") values (")
    if tenant_id is not None:
        columns, values = f"tenant_id, {columns}", f"%(tenant)s, {values}"
    statement = f"insert into tenantry.{table} ({columns}) values ({values})"  # noqa: S608
    conn.execute(statement.encode(), {"id": id_, "tenant": tenant_id})


def seen(conn: Conn, table: str) -> int:
    row = conn.execute(sql.SQL("select count(*) from {}").format(named(table))).fetchone()
    return int(row[0]) if row else 0


def catalogue(conn: Conn, statement: str, *params: object) -> list[tuple[Any, ...]]:
    return conn.execute(statement.encode(), params).fetchall()


# -- the tables there are


def test_every_table_of_the_schema_is_asked(doors: Doors) -> None:
    found = catalogue(
        doors.owner,
        "select relname from pg_class c join pg_namespace n on n.oid = relnamespace"
        " where nspname = 'tenantry' and relkind in ('r', 'p', 'f') order by 1",
    )
    assert [name for (name,) in found] == sorted(TENANT_TABLES)


def test_every_control_table_is_asked(doors: Doors) -> None:
    found = catalogue(
        doors.owner,
        "select relname from pg_class c join pg_namespace n on n.oid = relnamespace"
        " where nspname = 'control' and relkind in ('r', 'p', 'f') order by 1",
    )
    assert [name for (name,) in found] == sorted(CONTROL_TABLES)


# -- what tenant B can do with A's rows


@each_table
def test_a_tenant_sees_its_own_row(doors: Doors, table: str) -> None:
    with doors.app.transaction():
        become(doors.app, ACME)
        assert seen(doors.app, table) == 1


@each_table
def test_another_tenant_selects_nothing(doors: Doors, table: str) -> None:
    with doors.app.transaction():
        become(doors.app, GLOBEX)
        assert seen(doors.app, table) == 0


@each_table
@pytest.mark.parametrize("verb", ["update", "delete"])
def test_another_tenant_changes_nothing(doors: Doors, table: str, verb: str) -> None:
    change = "update {} set tenant_id = tenant_id" if verb == "update" else "delete from {}"
    with acting(doors.app, GLOBEX):
        if table in APPEND_ONLY:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                doors.app.execute(sql.SQL(change).format(named(table)))
        else:
            assert doors.app.execute(sql.SQL(change).format(named(table))).rowcount == 0


@each_table
def test_another_tenant_cannot_plant_a_row(doors: Doors, table: str) -> None:
    with (
        acting(doors.app, GLOBEX),
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"),
    ):
        insert(doors.app, table, tenant_id=ACME, id_=str(uuid4()))


@pytest.mark.parametrize("table", [t for t in TENANT_TABLES if t not in APPEND_ONLY])
def test_a_tenant_cannot_give_its_row_away(doors: Doors, table: str) -> None:
    with (
        acting(doors.app, ACME),
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"),
    ):
        doors.app.execute(sql.SQL("update {} set tenant_id = 'globex'").format(named(table)))


@pytest.mark.parametrize("table", ["passages", "runs"])
def test_another_tenants_parent_is_no_parent(doors: Doors, table: str) -> None:
    with acting(doors.app, GLOBEX), pytest.raises(psycopg.errors.ForeignKeyViolation):
        insert(doors.app, table)


@each_table
def test_an_id_that_another_tenant_has_is_free(doors: Doors, table: str) -> None:
    """Whether it is taken elsewhere cannot be found out by trying."""
    with acting(doors.app, GLOBEX):
        for parent in IN_ORDER[: IN_ORDER.index(table) + 1]:
            insert(doors.app, parent)


# -- without a tenant


@pytest.fixture(params=["never set", "over", "empty"])
def nobody(request: pytest.FixtureRequest, stores: Stores) -> Iterator[Conn]:
    """A connection in a transaction without a tenant: after one, the setting is '' and not null."""
    with psycopg.connect(stores.app_url, autocommit=True) as conn:
        if request.param == "over":
            with conn.transaction():
                become(conn, ACME)
        with conn.transaction(force_rollback=True):
            if request.param == "empty":
                become(conn, "")
            yield conn


@each_table
def test_without_a_tenant_nothing_is_seen(nobody: Conn, table: str) -> None:
    assert seen(nobody, table) == 0


@each_table
@pytest.mark.parametrize("claimed", [None, "", "acme"], ids=["none", "empty", "acme"])
def test_without_a_tenant_nothing_is_inserted(
    nobody: Conn, table: str, claimed: str | None
) -> None:
    with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.IntegrityError)):
        insert(nobody, table, tenant_id=claimed, id_=str(uuid4()))


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_a_tenant_ends_with_its_transaction(doors: Doors, ending: str) -> None:
    with doors.app.transaction(force_rollback=ending == "rollback"):
        become(doors.app, ACME)
    current = doors.app.execute("select tenantry.current_tenant()").fetchone()
    assert current == (None,)


@pytest.mark.parametrize("way", ["as_tenant", "as_tenant with an error", "call"])
async def test_a_pooled_connection_comes_back_without_a_tenant(stores: Stores, way: str) -> None:
    async with open_cells(stores, size=1) as cells:
        await _use(cells, way)
        async with cells.first.pool.connection() as conn:
            row = await (await conn.execute("select tenantry.current_tenant() as who")).fetchone()
            assert row == {"who": None}


async def _use(cells: Cells, way: str) -> None:
    if way == "call":
        await PostgresLedger(cells).record(ACME, audit=[audit_event()])
        return
    try:
        async with cells.first.as_tenant(ACME) as conn:
            await conn.fetch(Query("one", b"select 1"))
            if "error" in way:
                raise ZeroDivisionError
    except ZeroDivisionError:
        return


async def test_the_tenant_of_a_connection_cannot_be_given_as_a_parameter(stores: Stores) -> None:
    async with open_cells(stores) as cells, cells.first.as_tenant(ACME) as conn:
        told = Query("who", b"select %(tenant_id)s::text as who")
        assert await conn.fetch_one(told, {"tenant_id": "globex"}) == {"who": "acme"}


async def test_every_trip_of_a_transaction_comes_after_the_tenant(stores: Stores) -> None:
    trips = Trips()
    async with open_cells(stores, trips) as cells, cells.first.as_tenant(ACME) as conn:
        await conn.fetch(query("count_documents"))
    assert trips == ["enter", "count_documents"]


# -- what the app role may not do at all


@each_table
@pytest.mark.parametrize(
    "statement",
    [
        "truncate {}",
        "alter table {} disable row level security",
        "alter table {} no force row level security",
        "drop policy tenant_isolation on {}",
        "create policy mine on {} using (true)",
        "create index on {} (tenant_id)",
        "drop table {}",
    ],
)
def test_the_app_role_cannot_change_a_table(doors: Doors, table: str, statement: str) -> None:
    with (
        pytest.raises(psycopg.errors.InsufficientPrivilege),
        doors.app.transaction(force_rollback=True),
    ):
        doors.app.execute(sql.SQL(statement).format(named(table)))


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize("verb", ["update", "delete"])
def test_what_was_recorded_is_not_changed(doors: Doors, table: str, verb: str) -> None:
    change = "update {} set subject_id = 'nobody'" if verb == "update" else "delete from {}"
    with acting(doors.app, ACME), pytest.raises(psycopg.errors.InsufficientPrivilege):
        doors.app.execute(sql.SQL(change).format(named(table)))


@pytest.mark.parametrize("verb", ["select * from", "delete from", "truncate"])
@pytest.mark.parametrize("table", CONTROL_TABLES)
def test_the_app_role_cannot_touch_a_control_table(doors: Doors, table: str, verb: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        doors.app.execute(sql.SQL("{} {}").format(sql.SQL(verb), sql.Identifier("control", table)))


@pytest.mark.parametrize("schema", ["tenantry", "control", "public"])
@pytest.mark.parametrize("role", ["app", "operator"])
def test_nobody_but_the_owner_creates(doors: Doors, schema: str, role: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        getattr(doors, role).execute(
            sql.SQL("create table {} (x int)").format(sql.Identifier(schema, "mine"))
        )


@pytest.mark.parametrize("role", ["tenantry_owner", "tenantry_operator", "the superuser"])
def test_the_app_role_cannot_become_another(servers: Cluster, doors: Doors, role: str) -> None:
    name = conninfo_to_dict(servers.postgres_url)["user"] if role == "the superuser" else role
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        doors.app.execute(sql.SQL("set role {}").format(sql.Identifier(str(name))))


def test_the_owner_itself_sees_no_row(doors: Doors) -> None:
    assert [table for table in TENANT_TABLES if seen(doors.owner, table)] == []


@each_table
def test_the_owner_erases_the_tenant_it_entered_and_no_other(doors: Doors, table: str) -> None:
    erase = sql.SQL("delete from {}").format(named(table))
    with acting(doors.owner, GLOBEX):
        assert doors.owner.execute(erase).rowcount == 0
    with acting(doors.owner, ACME):
        assert doors.owner.execute(erase).rowcount >= 1


@each_table
def test_the_owner_writes_no_row(doors: Doors, table: str) -> None:
    with acting(doors.owner, ACME):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), doors.owner.transaction():
            doors.owner.execute(sql.SQL("update {} set tenant_id = 'globex'").format(named(table)))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            insert(doors.owner, table, id_=str(uuid4()))


def test_a_tenant_is_erased_and_its_neighbour_is_not(stores: Stores) -> None:
    gone = TenantId("gone")
    with control(stores.owner()) as admin:
        admin.create_tenant(gone, "Gone", PlanId("free"))
    with psycopg.connect(stores.app_url) as app:
        for tenant in (gone, TenantId("stays")):
            become(app, tenant)
            for table in IN_ORDER:
                insert(app, table)
    with control(stores.owner()) as admin:
        admin.erase(stores.app, gone)
    with psycopg.connect(stores.app_url) as app:
        become(app, gone)
        assert [table for table in TENANT_TABLES if seen(app, table)] == []
        become(app, "stays")
        assert [table for table in TENANT_TABLES if seen(app, table) != 1] == []
    with control(stores.owner()) as admin:
        admin.erase(stores.app, TenantId("stays"))
        with pytest.raises(NotFound):
            admin.tenant(gone)


@pytest.mark.parametrize(
    "call",
    ["list_issuers(null, 10)", "set_status('globex', 'suspended')", "list_revocations('globex')"],
)
def test_the_app_role_cannot_do_what_operators_do(doors: Doors, call: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        doors.app.execute(f"select control.{call}".encode())


# -- the operator


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_the_operator_sees_usage_and_audit_of_all(doors: Doors, table: str) -> None:
    assert seen(doors.operator, table) >= 1


def test_the_operator_sees_the_tenants(doors: Doors) -> None:
    found = catalogue(doors.operator, "select tenant_id, plan_id from control.tenants order by 1")
    assert found == [("acme", "pro"), ("globex", "free")]


@pytest.mark.parametrize("table", [t for t in TENANT_TABLES if t not in APPEND_ONLY])
def test_the_operator_never_sees_content(doors: Doors, table: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        seen(doors.operator, table)


@pytest.mark.parametrize(
    "statement",
    [
        "select preferences from control.tenants",
        "select * from control.tenants",
        "select limits from control.tenants",
        "select * from control.plans",
        "select * from control.plan_limits",
        "select * from control.user_limits",
        "insert into control.user_limits values ('acme', 'x')",
        "select * from control.prices",
        "delete from control.prices",
        "select control.merge_user_limits('acme', 'x', '{}', '{}')",
        "select * from control.profiles",
        "insert into control.universal_assistants values ('x', 1, '{}')",
        "select * from control.api_keys",
        "select * from control.key_uses",
        "select * from control.issuers",
        "select * from control.tool_settings",
        "select * from control.revocations",
        "delete from control.revocations",
        "select * from control.seal_keys",
        "select * from control.cells",
        "update control.tenants set status = 'active'",
        "delete from tenantry.usage_events",
        "update tenantry.audit_events set outcome = 'allowed'",
        "insert into tenantry.usage_events (tenant_id, event_id, meter, quantity, subject_id)"
        " values ('acme', gen_random_uuid(), 'runs', 1, 'x')",
    ],
)
def test_the_operator_reads_no_secret_and_writes_nothing(doors: Doors, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        doors.operator.execute(statement.encode())


# -- functions


@pytest.mark.parametrize(
    "statement",
    [
        "select * from tenantry.get_checkpoint('globex', %(id)s, '', null)",
        "select * from tenantry.load_checkpoint('globex', %(id)s, '', null)",
        "select * from tenantry.search_passages('globex', 'secret', '[1,0]', 'm', 10)",
        "select * from tenantry.open_run('globex', gen_random_uuid(), %(id)s, false, 'alice', true,"
        " 15, null, null) where outcome <> 'missing'",
        "select * from tenantry.open_run_as('globex', gen_random_uuid(), %(id)s::text::uuid, false,"
        " 'alice', true, 15, null, null, %(id)s::text, true, false, '{}')"
        " where outcome <> 'unknown'",
        "select * from tenantry.who_speaks('globex', 'alice', %(id)s, true)"
        " where preferences is not null or assistant_id is not null",
    ],
    ids=[
        "get_checkpoint",
        "load_checkpoint",
        "search_passages",
        "open_run",
        "open_run_as",
        "who_speaks",
    ],
)
def test_a_tenant_function_shows_its_own_tenants_rows_only(doors: Doors, statement: str) -> None:
    with acting(doors.app, ACME):  # what was set before does not matter either
        assert doors.app.execute(statement.encode(), {"id": OF_ACME}).fetchall() == []


@pytest.mark.parametrize("tenant", ["", None])
def test_a_tenant_function_without_a_tenant_writes_nothing(
    doors: Doors, tenant: str | None
) -> None:
    row = '{"u": [{"event_id": "%s", "meter": "runs", "quantity": 1, "subject_id": "a"}]}'
    with (
        pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.IntegrityError)),
        doors.app.transaction(force_rollback=True),
    ):
        doors.app.execute(
            "select tenantry.commit_turn(%s, null, null, null, %s, null)",
            [tenant, row % uuid4()],
        )


@pytest.mark.parametrize("tenant", ["", None, "globex"])
def test_an_event_is_recorded_first_in_ones_own_tenant_only(
    doors: Doors, tenant: str | None
) -> None:
    event = (
        '{"event_id": "%s", "actor": "a", "subject_id": "a", "action": "a", "resource": "",'
        ' "outcome": "allowed", "attributes": {}, "created_at": "2026-01-01"}'
    )
    with (
        pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.IntegrityError)),
        acting(doors.app, ACME),
    ):
        doors.app.execute("select tenantry.record_first(%s, %s)", [tenant, event % uuid4()])
