"""Which Postgres and Redis this deployment uses, and as which roles: given, or embedded."""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from server.settings import Settings
from storage import embedded, roles
from storage.control import control
from storage.migrations import migrate
from storage.postgres import translated
from tenancy.errors import Misconfigured

DATABASE = "tenantry"  # of the embedded server
PASSWORDS = Path("secrets", "database-roles.json")


@dataclass(frozen=True, slots=True)
class Stores:
    """The URLs of both stores. They carry passwords: never log them."""

    app_url: str
    redis_url: str
    owner_url: str | None = None
    operator_url: str | None = None

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
def attached(settings: Settings) -> Iterator[Stores]:
    """The stores, beside a running server or without one; migrated when they are embedded."""
    wanted = _wanted(settings)
    with embedded.attach_or_start(settings.data_dir, **wanted) as servers:
        stores = resolve(settings, servers)
        if wanted["postgres"]:
            prepare(stores)
        yield stores


@contextmanager
def owned(settings: Settings) -> Iterator[Stores]:
    """The stores, for the one `up` of this data directory, which starts and stops them.

    Raises `Misconfigured` when another live process has the data directory.
    """
    with embedded.start(settings.data_dir, **_wanted(settings)) as running:
        yield resolve(settings, running.servers)


def _wanted(settings: Settings) -> dict[str, bool]:
    return {"postgres": settings.database_url is None, "redis": settings.redis_url is None}


def resolve(settings: Settings, servers: embedded.Servers) -> Stores:
    """The URLs of each role, from the settings, the embedded servers and the stored passwords."""
    redis = _secret(settings.redis_url) or servers.redis_url
    if redis is None:
        raise Misconfigured("There is no Redis: set REDIS_URL.")
    if servers.postgres_url is not None:
        urls = roles.create_roles(servers.postgres_url, _passwords(settings.data_dir), DATABASE)
        return Stores(urls.app, redis, urls.owner, urls.operator)
    with translated():
        return _resolve_given(settings, redis)


def _resolve_given(settings: Settings, redis: str) -> Stores:
    given = _secret(settings.database_url) or ""
    owner, operator = _secret(settings.owner_database_url), _secret(settings.operator_database_url)
    try:
        if roles.is_administrator(given):
            urls = roles.create_roles(given, _passwords(settings.data_dir))
            return Stores(urls.app, redis, owner or urls.owner, operator or urls.operator)
    except psycopg.ProgrammingError as error:
        raise Misconfigured(f"DATABASE_URL: {error}".splitlines()[0]) from None
    if owner is not None:
        roles.create_missing_roles(owner, {roles.APP: given, roles.OPERATOR: operator})
    elif (settings.data_dir / PASSWORDS).exists():
        passwords = _passwords(settings.data_dir)
        owner = roles.with_role(given, roles.OWNER, passwords[roles.OWNER])
        operator = operator or roles.with_role(given, roles.OPERATOR, passwords[roles.OPERATOR])
    return Stores(given, redis, owner, operator)


def prepare(stores: Stores) -> list[str]:
    """Migrate, and store the shipped plans; returns the names of the migrations that ran."""
    with translated():
        applied = migrate(stores.owner())
    with control(stores.owner()) as admin:
        admin.seed()
    return applied


def _secret(value: object) -> str | None:
    return None if value is None else str(value.get_secret_value())  # type: ignore[attr-defined]  # a SecretStr


def _passwords(data_dir: Path) -> dict[str, str]:
    """The roles' passwords, made at the first call and readable by the owner of the file only."""
    path = data_dir / PASSWORDS
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = {r: secrets.token_urlsafe(24) for r in (roles.OWNER, roles.APP, roles.OPERATOR)}
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(fresh, file)
        draft.replace(path)
    passwords: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return passwords
