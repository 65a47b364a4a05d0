"""A database that somebody changed by hand is told from one that keeps tenants apart.

Each rule is broken in every way we know of, one at a time, and undone.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row

from server.stores import Stores
from storage.catalogue_lint import RULES, Violation, lint
from storage.postgres import Row
from storage.queries import load
from tests.storage.makers import open_cells
from tests.support.stores import Cluster

COLUMN = "tenant_id text not null default tenantry.current_tenant() check (tenant_id <> '')"
OWN = "(tenant_id = (select tenantry.current_tenant()))"
GUARDED = (
    "alter table tenantry.t enable row level security, force row level security;"
    f" create policy tenant_isolation on tenantry.t to tenantry_app using {OWN} with check {OWN}"
)
RUNS = "tenant_isolation on tenantry.runs"


def of_own(columns: str) -> str:
    """A guarded table of these columns."""
    return f"create table tenantry.t ({columns}); {GUARDED}"


BREACHES: dict[str, list[tuple[str, str]]] = {
    "unknown_kind": [
        ("create sequence tenantry.runs_so_far", "tenantry.runs_so_far"),
        ("create view tenantry.v with (security_invoker) as select 1", "tenantry.v"),
        ("create view control.v as select * from control.tenants", "control.v"),
        ("create materialized view tenantry.m as select 1 as x", "tenantry.m"),
    ],
    "foreign_owner": [
        ("reset role; alter table tenantry.runs owner to tenantry_operator", "tenantry.runs"),
        ("reset role; alter table control.tenants owner to postgres", "control.tenants"),
        (
            "reset role; alter function tenantry.control_version() owner to postgres",
            "tenantry.control_version()",
        ),
    ],
    "open_table": [
        ("alter table tenantry.runs disable row level security", "tenantry.runs"),
        ("alter table tenantry.documents no force row level security", "tenantry.documents"),
    ],
    "no_policy": [
        ("drop policy tenant_isolation on tenantry.passages", "tenantry.passages"),
        (
            "drop policy tenant_isolation on tenantry.usage_events",
            "tenantry.usage_events",
        ),
    ],
    "unknown_policy": [
        ("create policy mine on tenantry.runs using (true)", "mine on tenantry.runs"),
        (
            f"create policy p on tenantry.runs as restrictive to tenantry_app using {OWN}",
            "p on tenantry.runs",
        ),
        (
            "create policy operator_reads on tenantry.passages for select"
            " to tenantry_operator using (true)",
            "operator_reads on tenantry.passages",
        ),
        ("alter policy tenant_isolation on tenantry.runs using (true)", RUNS),
        ("alter policy tenant_isolation on tenantry.runs with check (true)", RUNS),
        ("alter policy tenant_isolation on tenantry.runs to public", RUNS),
        (
            "alter policy tenant_isolation on tenantry.runs"
            " using (tenant_id = current_setting('app.tenant_id'))",
            RUNS,
        ),
        (
            "alter policy tenant_isolation on tenantry.runs"
            f" using ({OWN} or subject_id = 'support')",
            RUNS,
        ),
        ("alter policy operator_reads on tenantry.audit_events to tenantry_app", "operator_reads"),
    ],
    "tenant_column": [
        ("alter table tenantry.runs alter tenant_id drop default", "tenantry.runs"),
        ("alter table tenantry.runs alter tenant_id set default 'acme'", "tenantry.runs"),
        ("alter table tenantry.runs drop constraint runs_tenant_id_check", "tenantry.runs"),
        (of_own(f"{COLUMN.replace('not null', '')}, x int, unique (tenant_id)"), "tenantry.t"),
    ],
    "no_key": [(of_own(COLUMN), "tenantry.t")],
    "shared_key": [
        ("create unique index first on tenantry.threads (thread_id, tenant_id)", "tenantry.first"),
        ("create unique index lower on tenantry.threads (lower(tenant_id))", "tenantry.lower"),
        (
            "create unique index one on tenantry.threads (title) where tenant_id = 'acme'",
            "tenantry.one",
        ),
    ],
    "shared_index": [
        ("create index titles on tenantry.threads (title)", "tenantry.titles"),
        (
            "create index two on tenantry.threads (title)"
            " where tenant_id = 'acme' or tenant_id = 'globex'",
            "tenantry.two",
        ),
        (
            "create index near on tenantry.passages"
            " using hnsw ((embedding::public.vector(2)) public.vector_cosine_ops)",
            "tenantry.near",
        ),
    ],
    "shared_reference": [
        (
            "create table tenantry.parents (tenant_id text, id int, primary key (tenant_id, id),"
            " unique (id)); create table tenantry.children (tenant_id text, id int"
            " constraint to_any references tenantry.parents (id))",
            "to_any on tenantry.children",
        ),
    ],
    "hidden_code": [
        (
            "create trigger copy after insert on tenantry.runs"
            " for each statement execute function control.announce()",
            "copy on tenantry.runs",
        ),
        (
            "create rule copy as on insert to tenantry.runs do also select 1",
            "copy on tenantry.runs",
        ),
    ],
    "unknown_definer": [
        ("alter function tenantry.enter(text, text) security definer", "tenantry.enter"),
        (
            "create function tenantry.add_key() returns int language sql security definer"
            " set search_path = pg_catalog, pg_temp return 1;"
            " revoke execute on function tenantry.add_key() from public",
            "tenantry.add_key()",
        ),
    ],
    "open_path": [
        (
            "alter function tenantry.tenant_record(text) reset search_path",
            "tenantry.tenant_record(text)",
        ),
        (
            "alter function tenantry.revoke_key(uuid) set search_path = pg_temp, pg_catalog",
            "tenantry.revoke_key(uuid)",
        ),
    ],
    "altered_seal": [
        (
            "create or replace function tenantry.current_tenant() returns text language plpgsql"
            " stable security definer set search_path = pg_catalog, pg_temp"
            " as $$begin return current_setting('app.tenant_id'); end$$",
            "tenantry.current_tenant()",
        ),
        ("alter function tenantry.current_tenant() security invoker", "tenantry.current_tenant()"),
        (
            "create function tenantry.current_tenant(p_tenant text) returns text"
            " language sql return p_tenant",
            "tenantry.current_tenant(text)",
        ),
    ],
    "function_grant": [
        (
            "create function tenantry.fresh() returns int language sql return 1",
            "tenantry.fresh() by everybody",
        ),
        (
            "grant execute on function tenantry.list_keys to tenantry_operator",
            "by tenantry_operator",
        ),
        (
            "grant execute on function tenantry.list_keys to tenantry_app with grant option",
            "by tenantry_app",
        ),
        ("grant execute on function control.announce to tenantry_app", "control.announce()"),
    ],
    "table_grant": [
        ("grant truncate on tenantry.runs to tenantry_app", "TRUNCATE tenantry.runs"),
        ("grant references on tenantry.runs to tenantry_app", "REFERENCES tenantry.runs"),
        ("grant trigger on tenantry.runs to tenantry_app", "TRIGGER tenantry.runs"),
        ("grant update on tenantry.usage_events to tenantry_app", "UPDATE tenantry.usage_events"),
        ("grant delete on tenantry.audit_events to tenantry_app", "DELETE tenantry.audit_events"),
        ("grant select on control.api_keys to tenantry_app", "SELECT control.api_keys"),
        ("grant select on control.tenants to tenantry_operator", "SELECT control.tenants"),
        ("grant select on tenantry.passages to tenantry_operator", "SELECT tenantry.passages"),
        ("grant insert on tenantry.usage_events to tenantry_operator", "to tenantry_operator"),
        ("grant select on tenantry.runs to public", "SELECT tenantry.runs to everybody"),
        ("grant select on tenantry.runs to pg_monitor", "SELECT tenantry.runs to pg_monitor"),
        ("grant select on tenantry.runs to tenantry_app with grant option", "tenantry.runs"),
    ],
    "column_grant": [
        (
            "grant select (preferences) on control.tenants to tenantry_operator",
            "control.tenants.preferences",
        ),
        ("grant update (status) on control.tenants to tenantry_operator", "UPDATE control.tenants"),
        ("grant update (quantity) on tenantry.usage_events to tenantry_app", "usage_events"),
        ("grant select (tenant_id) on control.tenants to public", "to everybody"),
    ],
    "schema_grant": [
        ("grant create on schema tenantry to tenantry_app", "CREATE tenantry to tenantry_app"),
        ("grant usage on schema control to tenantry_app", "USAGE control to tenantry_app"),
        ("grant usage on schema tenantry to public", "USAGE tenantry to everybody"),
    ],
    "grant_elsewhere": [
        (
            "reset role; create table public.notes (x int);"
            " grant select on public.notes to tenantry_app",
            "SELECT public.notes to tenantry_app",
        ),
        ("reset role; grant create on schema public to public", "creating in public"),
    ],
}
ALLOWED = [
    "create unique index once on tenantry.threads (tenant_id, title)",
    "create index own on tenantry.threads (title) where tenant_id = 'acme'",
    "create index near on tenantry.passages"
    " using hnsw ((embedding::public.vector(2)) public.vector_cosine_ops)"
    " where tenant_id = 'acme' and embedding_model = 'm' and dimensions = 2",
    of_own(f"{COLUMN}, id uuid, primary key (tenant_id, id)"),
    "create table public.notes (x int); grant select on public.notes to public",
]
EACH = [(rule, *breach) for rule, breaches in BREACHES.items() for breach in breaches]


@asynccontextmanager
async def changed(servers: Cluster, stores: Stores, statement: str) -> AsyncIterator[list[str]]:
    """What the lint says of a database in which `statement` ran as the owner."""
    database = conninfo_to_dict(stores.app_url)["dbname"]
    url = make_conninfo(servers.postgres_url, dbname=database)
    conn: AsyncConnection[Row]
    async with (
        await AsyncConnection.connect(url, row_factory=dict_row) as conn,
        conn.transaction(force_rollback=True),
    ):
        await conn.execute("set local role tenantry_owner")
        await conn.execute(statement.replace("postgres", conn.info.user).encode())
        yield [f"{found.rule}: {found}" for found in await lint(conn)]


async def test_a_migrated_database_breaks_no_rule(stores: Stores) -> None:
    async with open_cells(stores, size=1) as cells, cells.first.pool.connection() as conn:
        assert await lint(conn) == []


@pytest.mark.parametrize(("rule", "statement", "name"), EACH, ids=[f"{e[0]}-{e[2]}" for e in EACH])
async def test_what_breaks_a_rule_is_named(
    servers: Cluster, stores: Stores, rule: str, statement: str, name: str
) -> None:
    async with changed(servers, stores, statement) as said:
        broken = [line for line in said if line.startswith(f"{rule}: ")]
        assert len(broken) == 1, said
        assert name in broken[0]


@pytest.mark.parametrize("statement", ALLOWED)
async def test_what_keeps_the_rules_is_let_be(
    servers: Cluster, stores: Stores, statement: str
) -> None:
    async with changed(servers, stores, f"reset role; {statement}") as said:
        assert [line for line in said if not line.startswith("foreign_owner")] == []


def test_every_rule_is_seen_broken() -> None:
    assert list(BREACHES) == list(load(RULES))


def test_a_violation_reads_as_a_sentence() -> None:
    assert str(Violation("open_table", "tenantry.runs")) == (
        "tenantry.runs has row-level security off, or not forced upon its owner"
    )
