"""The three database roles: the owner migrates, the app serves, the operator counts."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tenancy.errors import Misconfigured

OWNER, APP, OPERATOR = "tenantry_owner", "tenantry_app", "tenantry_operator"
LOCK = 7_264_113_906  # advisory: two commands must not change a role at the same time
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


def urls_of(
    admin_url: str, passwords: Mapping[str, str], database: str | None = None
) -> DatabaseUrls:
    """The three roles' URLs, whether they are there or not."""
    return DatabaseUrls(
        *(with_role(admin_url, role, passwords[role], database) for role in (OWNER, APP, OPERATOR))
    )


def are_made(urls: DatabaseUrls) -> bool:
    """Whether the roles are there with these passwords, and the database is prepared for them."""
    try:
        for url in (urls.app, urls.operator):
            psycopg.connect(url, connect_timeout=5).close()
        with psycopg.connect(urls.owner, connect_timeout=5) as conn:
            row = conn.execute(
                "select has_database_privilege(current_database(), 'create')"
                " and exists (select from pg_extension where extname = 'vector')"
            ).fetchone()
    except psycopg.OperationalError:
        return False
    return bool(row and row[0])


def create_roles(
    admin_url: str, passwords: Mapping[str, str], database: str | None = None
) -> DatabaseUrls:
    """Make what is missing of the three roles, the database and the extension.

    `admin_url` needs CREATEROLE and the right to create objects in the database, not superuser.
    """
    target = admin_url if database is None else make_conninfo(admin_url, dbname=database)
    with psycopg.connect(admin_url, autocommit=True, connect_timeout=5) as conn:
        conn.execute("select pg_advisory_lock(%s)", [LOCK])
        for role in (OWNER, APP, OPERATOR):
            _make_role(conn, role, passwords[role])
        if database is not None:
            _make_database(conn, database)
        with psycopg.connect(target, autocommit=True, connect_timeout=5) as inside:
            _prepare_database(inside)
    return urls_of(admin_url, passwords, database)


def create_missing_roles(owner_url: str, urls: Mapping[str, str | None]) -> None:
    """As an owner with CREATEROLE: make the app and operator roles that `urls` speak of."""
    with psycopg.connect(owner_url, autocommit=True, connect_timeout=5) as conn:
        conn.execute("select pg_advisory_lock(%s)", [LOCK])
        for role in (APP, OPERATOR):
            if not _exists(conn, role):
                password = _password(urls.get(role), role)
                _make_role(conn, role, password or secrets.token_urlsafe(24))
        _make_extension(conn)


def _password(url: str | None, role: str) -> str | None:
    """The password that `url` says `role` has; another role's is none of its business."""
    named = {} if url is None else conninfo_to_dict(url)
    return str(named["password"]) if named.get("user") == role and "password" in named else None


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
    _make_extension(conn)


def _make_extension(conn: Conn) -> None:
    try:
        conn.execute("create extension if not exists vector")
    except psycopg.Error as error:
        reason = str(error).splitlines()[0]
        raise Misconfigured(
            f"The extension pgvector cannot be created: {reason}."
            f" Have a superuser run `create extension vector` in {conn.info.dbname}."
        ) from error
