"""Migrations: from nothing to the schema, each once, and never another text than what ran."""

import re
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from storage import roles
from storage.migrations import Migration, all_migrations, migrate
from storage.roles import DatabaseUrls
from tenancy.errors import Misconfigured
from tests.support.schema import STORED, dumped
from tests.support.stores import PASSWORDS, Cluster

FILES = all_migrations()
each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
NEXT = FILES[-1].number + 1
OWN_RECORD = f"insert into control.migrations values ({NEXT}, 'its own', 'x')"  # noqa: S608


@pytest.fixture
def empty(servers: Cluster) -> Iterator[DatabaseUrls]:
    """A database in which nothing was migrated."""
    name = f"empty_{secrets.token_hex(4)}"
    yield roles.create_roles(servers.postgres_url, PASSWORDS, name)
    with psycopg.connect(servers.postgres_url, autocommit=True) as admin:
        admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def applied(urls: DatabaseUrls) -> list[str]:
    """The names of what ran, by number."""
    with psycopg.connect(urls.owner) as conn:
        rows = conn.execute("select name from control.migrations order by number").fetchall()
    return [name for (name,) in rows]


# -- the files


@each_file
def test_a_file_says_its_number_and_when_it_runs(file: Migration) -> None:
    assert re.fullmatch(r"\d{4}_(pre|post)_[a-z]+(_[a-z]+)*\.sql", file.name)


def test_numbers_follow_one_another() -> None:
    assert [file.number for file in FILES] == list(range(len(FILES)))


@each_file
def test_a_file_does_not_wait_for_a_lock_for_ever(file: Migration) -> None:
    statements = [line for line in file.sql.splitlines() if line and not line.startswith("--")]
    assert re.fullmatch(r"set local lock_timeout = '\d+s';", statements[0])


@each_file
def test_a_file_says_what_it_is_for(file: Migration) -> None:
    assert file.sql.startswith("-- ")


@pytest.mark.parametrize("name", ["5_pre_x.sql", "0005_x.sql", "0005_mid_x.sql", "0005_pre_.sql"])
def test_a_file_of_another_name_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("select 1")
    with pytest.raises(Misconfigured, match=name):
        all_migrations(tmp_path)


# -- running them


def test_from_nothing_they_all_run_in_order(empty: DatabaseUrls) -> None:
    assert migrate(empty.owner) == [file.name for file in FILES] == applied(empty)


def test_a_second_time_there_is_nothing_to_do(empty: DatabaseUrls) -> None:
    migrate(empty.owner)
    assert migrate(empty.owner) == []


def test_two_migrators_at_once_run_each_file_once(empty: DatabaseUrls) -> None:
    with ThreadPoolExecutor() as pool:
        ran = [*pool.map(migrate, [empty.owner] * 3)]
    assert sorted(name for names in ran for name in names) == [file.name for file in FILES]


def test_a_new_file_runs_alone(empty: DatabaseUrls) -> None:
    migrate(empty.owner)
    new = Migration(NEXT, f"{NEXT:04}_post_x.sql", "create table control.x (y int)")
    assert migrate(empty.owner, (*FILES, new)) == [new.name]


def test_a_file_that_changed_after_it_ran_is_refused(empty: DatabaseUrls) -> None:
    migrate(empty.owner)
    changed = (FILES[0], replace(FILES[1], sql=FILES[1].sql + "\n"), *FILES[2:])
    with pytest.raises(Misconfigured, match="0001 has changed"):
        migrate(empty.owner, changed)


def test_a_file_that_ran_and_is_gone_is_refused(empty: DatabaseUrls) -> None:
    migrate(empty.owner)
    with pytest.raises(Misconfigured, match=f"knows migration {FILES[-1].number:04}"):
        migrate(empty.owner, FILES[:-1])


@pytest.mark.parametrize(
    "failing",
    ["select 1 / 0", OWN_RECORD],
    ids=["itself", "its record"],
)
def test_a_file_that_fails_leaves_nothing_of_itself(empty: DatabaseUrls, failing: str) -> None:
    bad = Migration(NEXT, "bad", f"create table control.half (x int); {failing}")
    with pytest.raises((psycopg.errors.DivisionByZero, psycopg.errors.UniqueViolation)):
        migrate(empty.owner, (*FILES, bad))
    assert applied(empty) == [file.name for file in FILES]
    with psycopg.connect(empty.owner) as conn:
        assert conn.execute("select to_regclass('control.half')").fetchone() == (None,)


def test_the_app_role_may_not_migrate(empty: DatabaseUrls) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        migrate(empty.app)


def test_from_nothing_they_make_the_schema_that_is_stored(empty: DatabaseUrls) -> None:
    migrate(empty.owner)
    assert dumped(empty.owner) == STORED.read_text(encoding="utf-8"), (
        "the schema changed: `python -m tests.support.schema` stores it anew"
    )
