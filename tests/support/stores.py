"""Real stores for tests: one embedded Postgres and Redis a session, one database a module."""

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from server.stores import Stores
from storage import embedded, roles
from storage.control import Control, control
from storage.migrations import migrate
from storage.seal import SealKey
from tenancy.ids import PlanId, TenantId

TEMPLATE = "template_tenantry"
PASSWORDS = dict.fromkeys((roles.OWNER, roles.APP, roles.OPERATOR), "a-test-password")
SEAL_KEY = SealKey("a-seal-key-of-tests-and-nothing-else")
ACME, GLOBEX = TenantId("acme"), TenantId("globex")


@dataclass(frozen=True, slots=True)
class Cluster:
    """The session's servers, with a migrated database to clone."""

    postgres_url: str
    redis_url: str

    @contextmanager
    def database(self) -> Iterator[Stores]:
        """A database of one's own, with the tenants acme (pro) and globex (free)."""
        name = f"test_{secrets.token_hex(6)}"
        identifier = sql.Identifier(name)
        with psycopg.connect(self.postgres_url, autocommit=True) as conn:
            conn.execute(
                sql.SQL("create database {} template {}").format(
                    identifier, sql.Identifier(TEMPLATE)
                )
            )
        try:
            yield self._stores(name)
        finally:
            with psycopg.connect(self.postgres_url, autocommit=True) as conn:
                conn.execute(sql.SQL("drop database {} with (force)").format(identifier))

    def _stores(self, name: str) -> Stores:
        url = make_conninfo(self.postgres_url, dbname=name)
        owner, app, operator = (
            roles.with_role(url, role, PASSWORDS[role])
            for role in (roles.OWNER, roles.APP, roles.OPERATOR)
        )
        return Stores(app, self.redis_url, SEAL_KEY, owner, operator)


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that servers under another account can enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="tenantry-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Start the servers and make the template; everything is gone afterwards."""
    with open_folder() as folder, embedded.start(folder / "stores") as running:
        postgres_url, redis_url = running.servers.postgres_url, running.servers.redis_url
        assert postgres_url
        assert redis_url
        urls = roles.create_roles(postgres_url, PASSWORDS, TEMPLATE)
        migrate(urls.owner)
        with control(urls.owner) as admin:
            admin.seal(SEAL_KEY)
            add_tenants(admin)
        yield Cluster(postgres_url, redis_url)


def add_tenants(admin: Control) -> None:
    """The two tenants of most tests."""
    admin.seed()
    admin.create_tenant(ACME, "Acme Office Supply", PlanId("pro"))
    admin.create_tenant(GLOBEX, "Globex Workspace", PlanId("free"))
