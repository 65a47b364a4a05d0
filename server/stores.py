"""Which Postgres and Redis this deployment uses, and as which roles: given, or embedded."""

import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
from psycopg import errors

from server.beacon import running_server
from server.settings import Settings
from storage import embedded, roles
from storage.control import control
from storage.migrations import migrate
from storage.postgres import translated
from storage.seal import KEPT_IN, AppDatabase, SealKey, new_key
from tenancy.errors import Misconfigured, Unavailable

DATABASE = "tenantry"  # of the embedded server
PASSWORDS = Path("secrets", "database-roles.json")
REPORT_KEY = Path("secrets", "report-key")
LEAVING_SECONDS = 15.0  # an `up` whose server is gone ends its stores, and then it is gone
STEP_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Stores:
    """The URLs of both stores. They carry passwords: never log them."""

    app_url: str
    redis_url: str
    seal_key: SealKey | None
    owner_url: str | None = None
    operator_url: str | None = None

    @property
    def app(self) -> AppDatabase:
        """The database as the server sees it."""
        return AppDatabase(self.app_url, self.seal_key)

    def __repr__(self) -> str:
        return "Stores(…)"

    def owner(self) -> str:
        """The owner's URL; raises `Misconfigured` where this process does not know it."""
        if self.owner_url is None:
            raise Misconfigured(
                "This needs the owner of the database: set TENANTRY_OWNER_DATABASE_URL."
            )
        return self.owner_url


@contextmanager
def attached(settings: Settings, *, makes_roles: bool = False) -> Iterator[Stores]:
    """The stores, beside a running server or without one; migrated when they are embedded.

    In a database that is given, roles are made only by who says so: their passwords belong to
    the whole cluster, and a command in the wrong folder must not change them.
    """
    with _embedded(settings) as servers, _explained():
        stores = resolve(settings, servers, makes_roles=makes_roles)
        if settings.database_url is None:
            prepare(stores)
        yield stores


@contextmanager
def _embedded(settings: Settings) -> Iterator[embedded.Servers]:
    """What is embedded of the stores; without that, the data directory may be anybody's."""
    wanted = _wanted(settings)
    if not any(wanted.values()):
        yield embedded.Servers(None, None)
        return
    with embedded.attach_or_start(settings.data_dir, **wanted) as servers:
        yield servers


@contextmanager
def served(settings: Settings) -> Iterator[Stores]:
    """What a server alone may know of the stores: a given URL is taken as it is.

    Raises `Unavailable` when the database does not answer, so that a server says so at once.
    """
    given = _secret(settings.database_url)
    if given is None:
        with attached(settings) as stores:
            yield replace(stores, owner_url=None)
        return
    with _named("DATABASE_URL"):
        psycopg.connect(given, connect_timeout=5).close()
    with _embedded(settings) as servers:
        operator = _secret(settings.operator_database_url)
        redis = _redis(settings, servers)
        yield Stores(given, redis, _seal_key(settings), operator_url=operator)


@contextmanager
def owned(settings: Settings) -> Iterator[Stores]:
    """The stores, for the one `up` of this data directory, which starts and stops them.

    Raises `Misconfigured` when another live process has the data directory.
    """
    with _start(settings) as running, _explained():
        yield resolve(settings, running.servers, makes_roles=True)


def _start(settings: Settings) -> embedded.EmbeddedServers:
    """The servers, ours; an owner without a server is leaving, and waited for."""
    deadline = time.monotonic() + LEAVING_SECONDS
    while True:
        try:
            return embedded.start(settings.data_dir, **_wanted(settings))
        except embedded.DataDirectoryInUse:
            if running_server(settings.data_dir) or time.monotonic() > deadline:
                raise
        time.sleep(STEP_SECONDS)


def _wanted(settings: Settings) -> dict[str, bool]:
    return {"postgres": settings.database_url is None, "redis": settings.redis_url is None}


def resolve(settings: Settings, servers: embedded.Servers, *, makes_roles: bool) -> Stores:
    """The URLs of each role, from the settings, the embedded servers and the stored passwords."""
    redis = _redis(settings, servers)
    if servers.postgres_url is not None:
        urls = _roles_of(settings, servers.postgres_url, DATABASE, makes_roles=True)
        key = _seal_key(settings, made=True)
        return Stores(urls.app, redis, key, urls.owner, urls.operator)
    return _resolve_given(settings, redis, makes_roles=makes_roles)


def _redis(settings: Settings, servers: embedded.Servers) -> str:
    redis = _secret(settings.redis_url) or servers.redis_url
    if redis is None:
        raise Misconfigured("There is no Redis: set REDIS_URL.")
    return redis


def _resolve_given(settings: Settings, redis: str, *, makes_roles: bool) -> Stores:
    given = _secret(settings.database_url) or ""
    owner, operator = _secret(settings.owner_database_url), _secret(settings.operator_database_url)
    key = _seal_key(settings, made=makes_roles)
    if owner is not None and makes_roles:
        with _named("TENANTRY_OWNER_DATABASE_URL"):
            roles.create_missing_roles(owner, {roles.APP: given, roles.OPERATOR: operator})
    with _named("DATABASE_URL"):
        if roles.is_administrator(given):
            urls = _roles_of(settings, given, makes_roles=makes_roles)
            return Stores(urls.app, redis, key, owner or urls.owner, operator or urls.operator)
    if owner is None and (settings.data_dir / PASSWORDS).exists():
        passwords = _passwords(settings.data_dir)
        owner = roles.with_role(given, roles.OWNER, passwords[roles.OWNER])
        operator = operator or roles.with_role(given, roles.OPERATOR, passwords[roles.OPERATOR])
    return Stores(given, redis, key, owner, operator)


def _roles_of(
    settings: Settings, admin_url: str, database: str | None = None, *, makes_roles: bool
) -> roles.DatabaseUrls:
    """Our roles' URLs; made, or given the stored passwords, only when those do not open them."""
    passwords = _passwords(settings.data_dir)
    urls = roles.urls_of(admin_url, passwords, database)
    if roles.are_made(urls):
        return urls
    if not makes_roles:
        raise Misconfigured(
            f"The passwords in {settings.data_dir / PASSWORDS} do not open this database: "
            f"run `tenantry migrate`, or name the data directory that has them."
        )
    return roles.create_roles(admin_url, passwords, database)


@contextmanager
def _explained() -> Iterator[None]:
    """What an empty database and a role that may not do its work have to say for themselves."""
    try:
        yield
    except (errors.InvalidSchemaName, errors.UndefinedTable, errors.UndefinedFunction):
        raise Misconfigured("The database is empty. Run `tenantry migrate` first.") from None
    except errors.InsufficientPrivilege as error:
        reason = str(error).splitlines()[0]
        raise Misconfigured(f"The role of the database URL may not do this: {reason}.") from None


@contextmanager
def _named(variable: str) -> Iterator[None]:
    """Say which of the URLs it is that leads nowhere."""
    try:
        yield
    except psycopg.OperationalError as error:
        reason = str(error).splitlines()[0].removeprefix("connection failed: ")
        raise Unavailable(f"{variable}: {reason}") from None


def prepare(stores: Stores) -> list[str]:
    """Migrate, store the shipped plans and seal; returns the names of the migrations that ran."""
    with translated():
        applied = migrate(stores.owner())
    with control(stores.owner()) as admin:
        admin.seed()
        if stores.seal_key is None:
            raise stores.app.not_believed()
        admin.seal(stores.seal_key)
    return applied


def _secret(value: object) -> str | None:
    return None if value is None else str(value.get_secret_value())  # type: ignore[attr-defined]  # a SecretStr


def _passwords(data_dir: Path) -> dict[str, str]:
    """The roles' passwords, made at the first call."""
    fresh = {r: secrets.token_urlsafe(24) for r in (roles.OWNER, roles.APP, roles.OPERATOR)}
    passwords: dict[str, str] = json.loads(_kept(data_dir / PASSWORDS, json.dumps(fresh)))
    return passwords


def _seal_key(settings: Settings, *, made: bool = False) -> SealKey | None:
    """The given key, or the stored one; `made` at the first call, if at all."""
    if given := _secret(settings.seal_key):
        return SealKey(given)
    path = settings.data_dir / KEPT_IN
    return SealKey(_kept(path, new_key())) if made or path.exists() else None


def report_key(settings: Settings) -> str:
    """What reports of this data directory are signed with, made at the first call."""
    return _kept(settings.data_dir / REPORT_KEY, secrets.token_urlsafe(32))


def _kept(path: Path, fresh: str) -> str:
    """The text of a file that its owner alone may read; `fresh` the first time."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(fresh)
        with suppress(FileExistsError):  # of two processes one wins, and both read its file
            os.link(draft, path)
        draft.unlink()
    return path.read_text(encoding="utf-8")
