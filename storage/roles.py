"""The three database roles: the owner migrates, the app serves, the operator counts."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tenancy.errors import Misconfigured

OWNER, APP, OPERATOR = "tenantry_owner", "tenantry_app", "tenantry_operator"
Conn = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class DatabaseUrls:
    """The same database as three roles. Each carries a password: never log one."""

    owner: str
    app: str
    operator: str

    def __repr__(self) -> str:
        return "DatabaseUrls(…)"


def with_role(url: str, role: str, password: str, database: str | None = None) -> str:
    """`url` as another role, and in another database if one is named."""
    changes = {"user": role, "password": password}
    if database is not None:
        changes["dbname"] = database
    return make_conninfo(url, **changes)


def is_administrator(url: str) -> bool:
    """Whether the role of `url` could make the others: it is an admin's URL, not the app's."""
    with psycopg.connect(url, autocommit=True, connect_timeout=5) as conn:
        row = conn.execute(
            "select rolsuper or rolcreaterole or rolbypassrls from pg_roles"
            " where rolname = current_user"
        ).fetchone()
        return bool(row and row[0])


def create_roles(
    admin_url: str, passwords: Mapping[str, str], database: str | None = None
) -> DatabaseUrls:
    """Make what is missing of the three roles, the database and the extension.

    `admin_url` needs CREATEROLE and the right to create objects in the database, not superuser.
    """
    with psycopg.connect(admin_url, autocommit=True, connect_timeout=5) as conn:
        for role in (OWNER, APP, OPERATOR):
            _make_role(conn, role, passwords[role])
        if database is not None:
            _make_database(conn, database)
    target = admin_url if database is None else make_conninfo(admin_url, dbname=database)
    with psycopg.connect(target, autocommit=True, connect_timeout=5) as conn:
        _prepare_database(conn)
    return DatabaseUrls(
        *(with_role(target, role, passwords[role]) for role in (OWNER, APP, OPERATOR))
    )


def create_missing_roles(owner_url: str, urls: Mapping[str, str | None]) -> None:
    """As an owner with CREATEROLE: make the app and operator roles that `urls` speak of."""
    with psycopg.connect(owner_url, autocommit=True, connect_timeout=5) as conn:
        for role in (APP, OPERATOR):
            if not _exists(conn, role):
                _make_role(conn, role, _password(urls.get(role)) or secrets.token_urlsafe(24))
        conn.execute("create extension if not exists vector")


def _password(url: str | None) -> str | None:
    if url is None:
        return None
    password = conninfo_to_dict(url).get("password")
    return unquote(str(password)) if password else None


def _make_role(conn: Conn, role: str, password: str) -> None:
    verb = "alter" if _exists(conn, role) else "create"
    statement = sql.SQL(
        "{} role {} with login nocreatedb nocreaterole noinherit password {}"
    ).format(sql.SQL(verb), sql.Identifier(role), sql.Literal(password))
    try:
        conn.execute(statement)
    except psycopg.errors.InsufficientPrivilege as error:
        raise Misconfigured(
            f"The role of the database URL may not {verb} the role {role}: it needs CREATEROLE."
        ) from error


def _exists(conn: Conn, role: str) -> bool:
    return conn.execute("select from pg_roles where rolname = %s", [role]).fetchone() is not None


def _make_database(conn: Conn, database: str) -> None:
    if conn.execute("select from pg_database where datname = %s", [database]).fetchone() is None:
        conn.execute(sql.SQL("create database {}").format(sql.Identifier(database)))


def _prepare_database(conn: Conn) -> None:
    name = sql.Identifier(conn.info.dbname)
    conn.execute(
        sql.SQL("grant connect, create on database {} to {}").format(name, sql.Identifier(OWNER))
    )
    for role in (APP, OPERATOR):
        conn.execute(
            sql.SQL("grant connect on database {} to {}").format(name, sql.Identifier(role))
        )
    try:
        conn.execute("create extension if not exists vector")
    except psycopg.Error as error:
        raise Misconfigured(f"The extension pgvector cannot be created: {error}") from error
