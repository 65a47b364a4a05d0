"""Control data as the server sees it: read through definer functions, cached, refreshed by push."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
import psycopg
import structlog

from storage.limits import limits_of
from storage.postgres import Connection, Pool, Row, repeated, translated
from storage.queries import Query, query
from tenancy.assistant import Chosen
from tenancy.corpus import Corpus
from tenancy.credentials import ApiKey, Issuer
from tenancy.errors import Invalid, Unavailable
from tenancy.ids import KeyId, SubjectId, TenantId
from tenancy.price import Price, Prices
from tenancy.principal import Role
from tenancy.revocation import Revocations
from tenancy.tenant import Tenant, TenantStatus, ToolSetting
from tenancy.token_rules import parse_token_rules, token_rules_document

T = TypeVar("T")
log = structlog.get_logger()

CACHED = 20_000  # records: thousands of tenants with a handful of keys each
POLL_SECONDS = 0.5  # for who missed the announcement: a change acts within a second
STALE_SECONDS = 5.0  # cached records serve this long while the database is away, then nothing does


@dataclass(frozen=True, slots=True)
class Profiles:
    """What the deployment says, by plan ('' for all), and the assistants every tenant sees."""

    says: Mapping[str, Mapping[str, Any]]
    assistants: Mapping[str, Chosen]


class Directory:
    """Tenants, issuers and keys. A record is as fresh as the last announced change.

    Raises `Unavailable` when a record is not cached and the database is away.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._records: dict[tuple[str, object], Any] = {}
        self._version = -1
        self._generation = 0
        self._confirmed = 0.0
        self._changed = asyncio.Event()

    async def changed(self, since: int) -> int:
        """Wait until a record may differ from generation `since`; the generation now."""
        while self._generation == since:
            await self._changed.wait()
        return self._generation

    async def tenant(self, tenant_id: TenantId) -> Tenant | None:
        """The tenant with its plan, preferences and tool settings."""
        return await self._cached(("tenant", tenant_id), lambda: self._tenant(tenant_id))

    async def issuer(self, url: str) -> Issuer | None:
        """The registered issuer with this URL."""
        return await self._cached(("issuer", url), lambda: self._issuer(url))

    async def api_key(self, digest: bytes) -> ApiKey | None:
        """The key with this digest."""
        return await self._cached(("key", digest), lambda: self._api_key(digest))

    async def prices(self) -> Prices:
        """The price of each model that has one."""
        return await self._cached(("prices", None), self._prices) or {}

    async def profiles(self) -> Profiles:
        """What the deployment says of assistants."""
        found = await self._cached(("profiles", None), self._profiles)
        return found or Profiles({}, {})

    async def corpora(self, tenant_id: TenantId) -> Sequence[Corpus]:
        """The shared corpora, and which of them the tenant subscribes to."""
        return await self._cached(("corpora", tenant_id), lambda: self._corpora(tenant_id)) or ()

    async def subscribed(self, tenant_id: TenantId) -> Sequence[TenantId]:
        """The corpora that the tenant subscribes to."""
        return [each.corpus_id for each in await self.corpora(tenant_id) if each.subscribed]

    async def watch(self) -> None:
        """Follow the changes until cancelled: announced ones at once, missed ones by looking."""
        while True:
            try:
                async with await self._listener() as conn:
                    await self._follow(conn)
            except (psycopg.Error, OSError) as error:
                log.warning("directory_disconnected", error=type(error).__name__)
                await asyncio.sleep(POLL_SECONDS)

    async def _listener(self) -> Connection:
        kwargs = {**self._pool.kwargs} if isinstance(self._pool.kwargs, dict) else {}
        return await Connection.connect(str(self._pool.conninfo), **kwargs)

    async def _follow(self, conn: Connection) -> None:
        await conn.execute("listen tenantry_control")
        while True:
            await self._refresh(conn)
            async for _ in conn.notifies(timeout=POLL_SECONDS, stop_after=1):
                pass

    async def _refresh(self, conn: Connection) -> None:
        row = await (await conn.execute(query("control_version").sql)).fetchone()
        version = row["version"] if row else -1
        self._confirmed = asyncio.get_running_loop().time()
        if version != self._version:
            self._version = version
            self._forget()

    def _forget(self) -> None:
        self._generation += 1
        self._records.clear()
        self._changed.set()
        self._changed = asyncio.Event()

    async def _cached(
        self, key: tuple[str, object], load: Callable[[], Awaitable[T | None]]
    ) -> T | None:
        fresh = asyncio.get_running_loop().time() - self._confirmed < STALE_SECONDS
        if fresh and key in self._records:
            found: T | None = self._records[key]
            return found
        generation = self._generation
        record = await load()
        if generation == self._generation and record is not None:
            if len(self._records) >= CACHED:
                self._records.pop(next(iter(self._records)))
            self._records[key] = record
        return record

    async def _read(self, statement: Query, params: Mapping[str, object]) -> Row | None:
        with translated():
            return await repeated(self._pool, lambda: self._fetch(statement, params))

    async def _fetch(self, statement: Query, params: Mapping[str, object]) -> Row | None:
        async with self._pool.connection() as conn:
            return await (await conn.execute(statement.sql, params)).fetchone()

    async def _tenant(self, tenant_id: TenantId) -> Tenant | None:
        row = await self._read(query("tenant_record"), self._pool.database.entry(tenant_id))
        return tenant_of(row) if row else None

    async def _issuer(self, url: str) -> Issuer | None:
        platform = self._pool.database.platform_entry()
        row = await self._read(query("issuer_record"), {**platform, "url": url})
        try:
            return issuer_of(row) if row else None
        except Invalid as invalid:  # it vouches for nobody until it is mended
            log.error("issuer_invalid", issuer=url, field=invalid.field, reason=invalid.message)
            return None

    async def _api_key(self, digest: bytes) -> ApiKey | None:
        row = await self._read(query("authenticate_key"), {"digest": digest})
        return key_of(row) if row else None

    async def _prices(self) -> Prices:
        row = await self._read(query("price_records"), self._pool.database.platform_entry())
        if row is None:  # no seal of ours holds: what cannot be read is not free
            raise Unavailable
        return {model: Price(model, *nanos) for model, nanos in row["prices"].items()}

    async def _profiles(self) -> Profiles:
        row = await self._read(query("platform_profiles"), self._pool.database.platform_entry())
        if row is None:  # no seal of ours holds: policies that cannot be read still bind
            raise Unavailable
        return Profiles(row["profiles"], universal_of(row["assistants"]))

    async def _corpora(self, tenant_id: TenantId) -> Sequence[Corpus] | None:
        row = await self._read(query("corpus_records"), self._pool.database.entry(tenant_id))
        return [Corpus(**each) for each in row["corpora"]] if row else None

    async def ready(self) -> None:
        """Raise `Unavailable` unless the database answers now."""
        if await self._read(query("control_version"), {}) is None:
            raise Unavailable


def universal_of(rows: Mapping[str, Row]) -> dict[str, Chosen]:
    """The universal assistants of `platform_profiles`, by slug."""
    return {slug: Chosen(slug, row["version"], row["content"]) for slug, row in rows.items()}


def tenant_of(row: Row) -> Tenant:
    """A row of `tenant_record` as a tenant."""
    tools, limits = row["tools"] or {}, limits_of(row)
    return Tenant(
        tenant_id=TenantId(row["tenant_id"]),
        display_name=row["display_name"],
        status=TenantStatus(row["status"]),
        plan=limits.plan,
        cell_id=row["cell_id"],
        preferences=row["preferences"],
        tools={name: ToolSetting(s["enabled"], s["configuration"]) for name, s in tools.items()},
        revocations=revocations_of(row["revocations"] or [], row["revoked_keys"] or []),
        user_limits=limits.users,
        own_limits=limits.own,
    )


def revocations_of(rows: Sequence[Row], keys: Sequence[object]) -> Revocations:
    """Rows of `control.revocations`, and the ids of revoked keys, as a tenant's revocations."""
    epochs = {SubjectId(row["subject"]): float(row["at"]) for row in rows if not row["token"]}
    return Revocations(
        everyone=epochs.pop(SubjectId(""), None),
        subjects=epochs,
        credentials=frozenset(f"key:{key}" for key in keys),
        tokens=frozenset((f"issuer:{row['issuer']}", row["token"]) for row in rows if row["token"]),
    )


def issuer_of(row: Row) -> Issuer:
    """A row of `issuer_record` as an issuer."""
    tenants = row["tenants"]
    return Issuer(
        url=row["url"],
        audience=row["audience"],
        jwks=row["jwks"],
        tenants=None if tenants is None else frozenset(TenantId(t) for t in tenants),
        platform=row["platform"],
        jwks_url=row["jwks_url"],
        rules=parse_token_rules(row["rules"]),
    )


def issuer_row(issuer: Issuer) -> Row:
    """An issuer as the statements that store one take it."""
    return {
        "url": issuer.url,
        "audience": issuer.audience,
        "jwks": orjson.dumps(dict(issuer.jwks)).decode(),
        "jwks_url": issuer.jwks_url,
        "tenants": None if issuer.tenants is None else sorted(issuer.tenants),
        "platform": issuer.platform,
        "rules": orjson.dumps(token_rules_document(issuer.rules)).decode(),
    }


def key_of(row: Row) -> ApiKey:
    """A row of the key functions as an API key."""
    return ApiKey(
        key_id=KeyId(row["key_id"]),
        tenant_id=TenantId(row["tenant_id"]),
        subject_id=SubjectId(row["subject_id"]),
        role=Role(row["role"]),
        scopes=tuple(row["scopes"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        replaced_by=row.get("replaced_by"),  # these two say nothing to who authenticates
        last_used_at=row.get("last_used_at"),
    )
