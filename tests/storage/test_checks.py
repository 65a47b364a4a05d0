"""What a server refuses to serve from, and that the roles it serves as can be made anywhere."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from server.stores import Stores
from storage import embedded, roles
from storage.catalogue_lint import all_rules
from storage.checks import refuse_unsafe
from storage.control import control
from storage.migrations import all_migrations, migrate
from tenancy.errors import Misconfigured
from tests.storage.makers import Trips, open_cells, superuser
from tests.support.stores import PASSWORDS, Cluster, open_folder

WORD = "a-test-password"


async def refusal(stores: Stores, url: str | None = None) -> str:
    """Why a server refuses to start here."""
    with pytest.raises(Misconfigured) as refused:
        await check(stores if url is None else replace(stores, app_url=url))
    return str(refused.value)


async def check(stores: Stores) -> None:
    async with open_cells(stores, size=1) as cells:
        await refuse_unsafe(cells.first.pool)


@contextmanager
def role(servers: Cluster, stores: Stores, attributes: str = "", member: str = "") -> Iterator[str]:
    """The URL of a role with `attributes` that is a member of another."""
    name = f"probe_{secrets.token_hex(4)}"
    with superuser(servers, stores) as admin:
        admin.execute(
            sql.SQL("create role {} login password {} {}").format(
                sql.Identifier(name), sql.Literal(WORD), sql.SQL(attributes)
            )
        )
        if member:
            admin.execute(
                sql.SQL("grant {} to {}").format(sql.Identifier(member), sql.Identifier(name))
            )
        try:
            yield roles.with_role(stores.app_url, name, WORD)
        finally:
            admin.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


# -- the role


async def test_a_migrated_database_is_served_as_the_app_role(stores: Stores) -> None:
    await check(stores)


async def test_a_superuser_is_refused(servers: Cluster, stores: Stores) -> None:
    name = conninfo_to_dict(stores.app_url)["dbname"]
    assert "is a superuser" in await refusal(
        stores, make_conninfo(servers.postgres_url, dbname=name)
    )


@pytest.mark.parametrize(
    ("attribute", "fault"),
    [
        ("bypassrls", "may bypass row-level security"),
        ("createrole", "may create roles"),
        ("createdb", "may create databases"),
    ],
)
async def test_a_role_that_could_do_more_is_refused(
    servers: Cluster, stores: Stores, attribute: str, fault: str
) -> None:
    with role(servers, stores, attribute) as url:
        said = await refusal(stores, url)
    assert fault in said
    assert str(conninfo_to_dict(url)["user"]) in said


async def test_the_owner_is_refused(stores: Stores) -> None:
    said = await refusal(stores, stores.owner())
    assert "tenantry_owner" in said
    assert "owns tables" in said


async def test_a_role_that_could_become_the_owner_is_refused(
    servers: Cluster, stores: Stores
) -> None:
    with role(servers, stores, "noinherit", member=roles.OWNER) as url:
        assert "owns tables" in await refusal(stores, url)


async def test_a_role_that_could_become_a_superuser_is_refused(
    servers: Cluster, stores: Stores
) -> None:
    boss = str(conninfo_to_dict(servers.postgres_url)["user"])
    with role(servers, stores, "noinherit", member=boss) as url:
        assert "is a member of a role" in await refusal(stores, url)


async def test_a_role_that_could_become_one_that_bypasses_is_refused(
    servers: Cluster, stores: Stores
) -> None:
    with role(servers, stores, "bypassrls") as free:
        name = str(conninfo_to_dict(free)["user"])
        with role(servers, stores, "noinherit", member=name) as url:
            assert "member of a role that bypasses" in await refusal(stores, url)


async def test_a_refusal_tells_how_it_is_mended(stores: Stores) -> None:
    assert "tenantry migrate" in await refusal(stores, stores.owner())


# -- the schema


async def test_an_empty_database_is_refused(servers: Cluster, stores: Stores) -> None:
    name = sql.Identifier(f"empty_{secrets.token_hex(4)}")
    with superuser(servers, stores) as admin:
        admin.execute(sql.SQL("create database {}").format(name))
        try:
            url = make_conninfo(stores.app_url, dbname=name.as_string().strip('"'))
            assert "The database is empty" in await refusal(stores, url)
        finally:
            admin.execute(sql.SQL("drop database {} with (force)").format(name))


async def test_a_database_that_is_behind_is_refused(
    stores: Stores, owner: psycopg.Connection
) -> None:
    last = all_migrations()[-1]
    owner.execute("delete from control.migrations where number = %s", [last.number])
    said = await refusal(stores)
    owner.execute(
        "insert into control.migrations values (%s, %s, %s)",
        [last.number, last.name, last.checksum],
    )
    assert last.name in said


async def test_a_database_that_is_ahead_is_refused(
    stores: Stores, owner: psycopg.Connection
) -> None:
    owner.execute("insert into control.migrations values (9999, '9999_post_x.sql', 'x')")
    said = await refusal(stores)
    owner.execute("delete from control.migrations where number = 9999")
    assert "9999" in said


async def test_a_database_of_other_migrations_is_refused(
    stores: Stores, owner: psycopg.Connection
) -> None:
    owner.execute("update control.migrations set checksum = 'x' || checksum where number = 2")
    said = await refusal(stores)
    owner.execute("update control.migrations set checksum = substr(checksum, 2) where number = 2")
    assert "0002" in said


@pytest.mark.parametrize(
    ("breach", "mend"),
    [
        ("create table tenantry.forgotten (x int)", "drop table tenantry.forgotten"),
        (
            "alter table tenantry.runs disable row level security",
            "alter table tenantry.runs enable row level security",
        ),
        (
            "alter table tenantry.runs no force row level security",
            "alter table tenantry.runs force row level security",
        ),
        (
            "alter policy tenant_isolation on tenantry.runs to tenantry_operator",
            "alter policy tenant_isolation on tenantry.runs to tenantry_app",
        ),
    ],
    ids=["no policy", "not enabled", "not forced", "for another role"],
)
async def test_a_table_that_nothing_guards_is_refused(
    stores: Stores, owner: psycopg.Connection, breach: str, mend: str
) -> None:
    owner.execute(breach.encode())
    said = await refusal(stores)
    owner.execute(mend.encode())
    assert ("forgotten" if "forgotten" in breach else "runs") in said


async def test_the_check_costs_few_round_trips(stores: Stores) -> None:
    trips = Trips()
    async with open_cells(stores, trips, size=1) as cells:
        await refuse_unsafe(cells.first.pool)
    rules = str(all_rules().sql)
    assert trips == [
        *("who_am_i", "has_schema", "applied_migrations"),
        *("empty_search_path", rules),
        *("enter", "current_tenant"),
    ]


# -- the roles, where the admin is not a superuser


@pytest.fixture(scope="module")
def cloud() -> Iterator[str]:
    """A Postgres as clouds give it: an admin that owns a database and may make roles, no more."""
    with open_folder() as folder, embedded.start(folder / "cloud", redis=False) as running:
        url = running.servers.postgres_url
        assert url
        with psycopg.connect(url, autocommit=True) as boss:
            boss.execute(f"create role cloud_admin login createrole createdb password '{WORD}'")
            boss.execute("create role weak login password 'a-test-password'")
            boss.execute("create database app owner cloud_admin")
            boss.execute("create database bare owner cloud_admin template template0")
        for name in ("app", "template1"):
            with psycopg.connect(make_conninfo(url, dbname=name), autocommit=True) as boss:
                boss.execute("create extension vector")
        yield url


def as_admin(cloud: str, database: str = "app", role: str = "cloud_admin") -> str:
    return roles.with_role(cloud, role, WORD, database)


@pytest.mark.parametrize("database", [None, "of_its_own"], ids=["given", "made"])
async def test_an_admin_that_is_no_superuser_makes_everything(
    cloud: str, stores: Stores, database: str | None
) -> None:
    urls = roles.create_roles(as_admin(cloud), PASSWORDS, database)
    assert len(migrate(urls.owner)) == len(all_migrations())
    with control(urls.owner) as admin:
        admin.seal(stores.seal_key)
    await check(replace(stores, app_url=urls.app))


def test_making_the_roles_again_changes_their_passwords(cloud: str) -> None:
    roles.create_roles(as_admin(cloud), PASSWORDS)
    changed = dict.fromkeys(PASSWORDS, "another-password")
    urls = roles.create_roles(as_admin(cloud), changed)
    with psycopg.connect(urls.app) as conn:
        assert conn.execute("select current_user").fetchone() == (roles.APP,)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(roles.with_role(urls.app, roles.APP, PASSWORDS[roles.APP]))


def test_an_admin_that_may_not_make_roles_is_told_so(cloud: str) -> None:
    with pytest.raises(Misconfigured, match="CREATEROLE"):
        roles.create_roles(as_admin(cloud, role="weak"), PASSWORDS)


def test_an_extension_that_cannot_be_made_is_named(cloud: str) -> None:
    with pytest.raises(Misconfigured, match="pgvector"):
        roles.create_roles(as_admin(cloud, "bare"), PASSWORDS)


def test_an_admin_is_told_from_the_app(cloud: str, stores: Stores) -> None:
    assert roles.is_administrator(as_admin(cloud))
    assert not roles.is_administrator(stores.app_url)


def test_urls_keep_their_passwords_to_themselves(cloud: str) -> None:
    urls = roles.DatabaseUrls("postgresql://secret", "postgresql://secret", "")
    assert "secret" not in repr(urls)
