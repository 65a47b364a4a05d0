"""Numbered SQL files, applied once each, in order, by the owner role."""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psycopg

from tenancy.errors import Misconfigured

FOLDER = Path(__file__).parent / "sql" / "migrations"
LOCK = 7_264_113_905  # advisory, of the whole database: one migrator at a time
_NAME = re.compile(r"(\d{4})_(pre|post)_\w+\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One file. *pre* runs before the new code, *post* after the old code is gone."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text: a migration that ran never changes."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


@cache
def all_migrations(folder: Path = FOLDER) -> tuple[Migration, ...]:
    """The migrations of `folder`, by number."""
    return tuple(_read(path) for path in sorted(folder.glob("*.sql")))


def _read(path: Path) -> Migration:
    name = _NAME.fullmatch(path.name)
    if name is None:
        raise Misconfigured(f"{path.name} is not named NNNN_pre_… or NNNN_post_….")
    return Migration(int(name[1]), path.name, path.read_text(encoding="utf-8"))


def migrate(owner_url: str, migrations: tuple[Migration, ...] | None = None) -> list[str]:
    """Apply what is missing and return its names; each file is one transaction.

    Raises `Misconfigured` when a file that ran has changed since, or is gone.
    """
    known = migrations if migrations is not None else all_migrations()
    with psycopg.connect(owner_url, autocommit=True, connect_timeout=5) as conn:
        conn.execute("select pg_advisory_lock(%s)", [LOCK])
        applied = _applied(conn)
        if reason := difference(known, applied):
            raise Misconfigured(reason)
        return [_apply(conn, m) for m in known if m.number not in applied]


def difference(known: tuple[Migration, ...], applied: dict[int, str]) -> str | None:
    """Why `applied` cannot be continued with `known`; None when it can."""
    checksums = {m.number: m.checksum for m in known}
    for number, checksum in applied.items():
        if number not in checksums:
            return f"the database is newer: it knows migration {number:04}, this version does not"
        if checksums[number] != checksum:
            return f"migration {number:04} has changed since it was applied"
    return None


def behind(known: tuple[Migration, ...], applied: dict[int, str]) -> list[str]:
    """Names of the migrations a server needs before it may serve."""
    return [m.name for m in known if m.number not in applied and "_pre_" in m.name]


def _applied(conn: psycopg.Connection[tuple[object, ...]]) -> dict[int, str]:
    row = conn.execute("select to_regclass('control.migrations')").fetchone()
    if row is None or row[0] is None:
        return {}
    rows = conn.execute("select number, checksum from control.migrations").fetchall()
    return {int(str(number)): str(checksum) for number, checksum in rows}


def _apply(conn: psycopg.Connection[tuple[object, ...]], migration: Migration) -> str:
    with conn.transaction():
        conn.execute(migration.sql)
        conn.execute(
            "insert into control.migrations (number, name, checksum) values (%s, %s, %s)",
            [migration.number, migration.name, migration.checksum],
        )
    return migration.name
