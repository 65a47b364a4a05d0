"""The control database as the owner role: what an operator changes from a terminal."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from storage.corpora import require_subscribed
from storage.directory import issuer_row
from storage.limits import document, limits_of, plan_of, plan_row, require_done
from storage.postgres import Row, translated
from storage.queries import query
from storage.seal import AppDatabase, SealKey
from tenancy.assistant import MAX_UNIVERSAL, Content, require_version
from tenancy.corpus import MAX_SUBSCRIPTIONS
from tenancy.credentials import ApiKey, Issuer
from tenancy.errors import Conflict, NotFound
from tenancy.ids import KeyId, PlanId, SubjectId, TenantId
from tenancy.limits import Limits, Said
from tenancy.plan import SHIPPED, Plan, change_plan, new_plan
from tenancy.price import Price
from tenancy.tenant import TenantStatus


class Control:
    """One connection as the owner; every change is announced to the running servers."""

    def __init__(self, conn: psycopg.Connection[Row]) -> None:
        self._conn = conn

    def seed(self) -> None:
        """Store the shipped plans that are not there yet; edited ones stay as they are."""
        for plan in SHIPPED:
            self._run("seed_plan", plan_row(plan))

    def plans(self) -> list[Plan]:
        """All plans."""
        return [plan_of(**row) for row in self._all("list_plans", {})]

    def plan(self, plan_id: PlanId) -> Plan | None:
        """One plan, if there is one."""
        return self._plan("get_plan", plan_id)

    def put_plan(self, plan: Plan) -> None:
        """Store a plan, new or changed."""
        self._run("put_plan", plan_row(plan))

    def change_plan(self, plan_id: PlanId, said: Said) -> Plan:
        """Create or change a plan; raises `Invalid`."""
        known = self._plan("lock_plan", plan_id)
        plan = new_plan(plan_id, said) if known is None else change_plan(known, said)
        self.put_plan(plan)
        return plan

    def create_tenant(self, tenant_id: TenantId, display_name: str, plan_id: PlanId) -> Row:
        """Make a tenant; raises `Conflict` for a taken id, `NotFound` for an unknown plan."""
        if self.plan(plan_id) is None:
            raise NotFound(f"There is no plan {plan_id}.")
        params = {"tenant_id": tenant_id, "display_name": display_name, "plan_id": plan_id}
        if not self._run("create_tenant", params):
            raise Conflict(f"There is a tenant {tenant_id} already.")
        return self.tenant(tenant_id)

    def tenant(self, tenant_id: TenantId) -> Row:
        """One tenant; raises `NotFound`."""
        rows = self._all("get_tenant", {"tenant_id": tenant_id})
        if not rows:
            raise NotFound(f"There is no tenant {tenant_id}.")
        return rows[0]

    def tenants(self) -> list[Row]:
        """All tenants."""
        return self._all("list_tenants", {})

    def erase(self, database: AppDatabase, tenant_id: TenantId) -> None:
        """Delete all that the database holds of a tenant, its usage and audit included."""
        self._conn.execute(query("enter").sql, database.entry(tenant_id))
        self._run("forget_jobs", {"tenant_id": tenant_id})  # first: so do those who work on one
        for table in self._all("tenant_tables", {}):
            name = sql.Identifier("tenantry", table["name"])
            statement = sql.SQL("delete from {} where tenant_id = %s").format(name)
            self._conn.execute(statement, [tenant_id])
        for what in ("keys", "tools", "revocations", "user_limits", "tenant"):
            self._run(f"forget_{what}", {"tenant_id": tenant_id})

    def forget_plan(self, plan_id: PlanId) -> None:
        """Delete a plan that no tenant is on."""
        self._run("forget_plan", {"plan_id": plan_id})

    def set_status(self, tenant_id: TenantId, status: TenantStatus) -> Row:
        """Suspend or resume a tenant."""
        self._run("set_status", {"tenant_id": tenant_id, "status": status})
        return self.tenant(tenant_id)

    def set_plan(self, tenant_id: TenantId, plan_id: PlanId) -> None:
        """Put a tenant on another plan; raises `NotFound` for an unknown one."""
        if self.plan(plan_id) is None:
            raise NotFound(f"There is no plan {plan_id}.")
        self._run("set_plan", {"tenant_id": tenant_id, "plan_id": plan_id})

    def set_display_name(self, tenant_id: TenantId, name: str) -> None:
        """Rename a tenant as its users see it."""
        self._run("set_display_name", {"tenant_id": tenant_id, "display_name": name})

    def set_preferences(self, tenant_id: TenantId, preferences: Mapping[str, str]) -> None:
        """Merge preferences into a tenant's; an empty one is removed."""
        text = document(preferences)
        self._run("set_preferences", {"tenant_id": tenant_id, "preferences": text})

    def limits(self, tenant_id: TenantId) -> Limits:
        """All that bounds a tenant; raises `NotFound`."""
        self.tenant(tenant_id)
        [row] = self._all("limits_of", {"tenant_id": tenant_id})
        return limits_of(row)

    def limit(self, tenant_id: TenantId, said: Said, subject_id: SubjectId | None = None) -> Limits:
        """Merge limits into a tenant's own or a user's; an empty one is removed.

        Raises `NotFound`, and `Conflict` for too many users.
        """
        self.tenant(tenant_id)
        params = {"tenant_id": tenant_id, "subject_id": subject_id, "said": document(said)}
        [row] = self._all("limit_tenant" if subject_id is None else "limit_user", params)
        require_done(row)
        return self.limits(tenant_id)

    def wishes(self) -> dict[TenantId, bool]:
        """Which tenants are promoted, or not, whatever their size."""
        return {row["tenant_id"]: row["promoted"] for row in self._all("list_wishes", {})}

    def wish(self, tenant_id: TenantId, promoted: bool | None) -> None:
        """Promote a tenant whatever its size, or never, or by its size; raises `NotFound`."""
        if not self._run("wish_promoted", {"tenant_id": tenant_id, "promoted": promoted}):
            raise NotFound(f"There is no tenant {tenant_id}.")

    def prices(self) -> list[Price]:
        """All prices, by model."""
        return [Price(**row) for row in self._all("list_prices", {})]

    def put_price(self, price: Price) -> None:
        """Say what a model costs."""
        self._run("put_price", asdict(price))

    def remove_price(self, model: str) -> None:
        """Remove a price; raises `NotFound`."""
        [row] = self._all("remove_price", {"model": model})
        if not row["done"]:
            raise NotFound(f"There is no price of {model}.")

    def profiles(self) -> list[Row]:
        """What the deployment says of assistants: of all under the empty name, and by plan."""
        return self._all("list_profiles", {})

    def put_profile(self, name: str, says: Content) -> None:
        """Replace what is said of all assistants, or of a plan's; raises `NotFound`."""
        [row] = self._all("put_profile", {"name": name, "says": document(says)})
        if not row["done"]:
            raise NotFound(f"There is no plan {name}.")

    def put_tenant_profile(self, tenant_id: TenantId, says: Content) -> None:
        """Replace what a tenant says of all its assistants."""
        self._run("put_tenant_profile", {"tenant_id": tenant_id, "says": document(says)})

    def universal_assistants(self) -> list[Row]:
        """The assistants that every tenant sees, by slug."""
        return self._all("list_universal_assistants", {})

    def put_universal_assistant(self, slug: str, content: Content) -> int:
        """Store one, new or changed; its version. Raises `Conflict` for too many."""
        params = {"slug": slug, "content": document(content), "most": MAX_UNIVERSAL}
        [row] = self._all("put_universal_assistant", params)
        return require_version(row["version"])

    def remove_universal_assistant(self, slug: str) -> None:
        """Remove one; raises `NotFound`."""
        [row] = self._all("remove_universal_assistant", {"slug": slug})
        if not row["done"]:
            raise NotFound(f"There is no assistant {slug} that every tenant sees.")

    def create_corpus(self, corpus_id: TenantId, title: str, plan_id: PlanId) -> None:
        """Make a corpus and the tenant whose documents it has; raises as `create_tenant` does."""
        self.create_tenant(corpus_id, title, plan_id)
        self._run("create_corpus", {"corpus_id": corpus_id, "title": title})

    def corpora(self) -> list[Row]:
        """All corpora."""
        return self._all("list_corpora", {})

    def subscribe(self, tenant_id: TenantId, corpus_id: TenantId) -> None:
        """Have a tenant search a corpus too; raises `NotFound` and `Conflict`."""
        self.tenant(tenant_id)
        params = {"tenant_id": tenant_id, "corpus_id": corpus_id, "most": MAX_SUBSCRIPTIONS}
        [row] = self._all("admin_subscribe", params)
        require_subscribed(row["outcome"])

    def unsubscribe(self, tenant_id: TenantId, corpus_id: TenantId) -> None:
        """Have a tenant search a corpus no more; raises `NotFound` where it does not."""
        [row] = self._all("admin_unsubscribe", {"tenant_id": tenant_id, "corpus_id": corpus_id})
        if not row["done"]:
            raise NotFound(f"{tenant_id} does not subscribe to {corpus_id}.")

    def put_issuer(self, issuer: Issuer) -> None:
        """Register an issuer, new or changed."""
        self._run("put_issuer", issuer_row(issuer))

    def issuers(self) -> list[Row]:
        """All issuers."""
        return self._all("list_issuers", {})

    def remove_issuer(self, url: str) -> None:
        """Remove an issuer; raises `NotFound`."""
        if not self._run("remove_issuer", {"url": url}):
            raise NotFound(f"There is no issuer {url}.")

    def revoke(
        self, tenant_id: TenantId, *, subject: str = "", issuer: str = "", token_id: str = ""
    ) -> None:
        """Revoke one token of an issuer, or all credentials of a subject or tenant until now.

        Raises `NotFound` for an unknown tenant.
        """
        self.tenant(tenant_id)
        params = {"subject_id": subject, "issuer": issuer, "token_id": token_id}
        self._run("revoke", params | {"tenant_id": tenant_id})

    def revocations(self, tenant_id: TenantId | None) -> list[Row]:
        """What was revoked, of a tenant or of all."""
        return self._all("list_revocations", {"tenant_id": tenant_id})

    def seal(self, key: SealKey) -> None:
        """Have the database believe this key, where it believes none yet."""
        if not self.seal_keys():
            self.add_seal_key(key)

    def seal_keys(self) -> list[Row]:
        """Which keys are believed, by name."""
        return self._all("list_seal_keys", {})

    def add_seal_key(self, key: SealKey) -> None:
        """Have the database believe this key too."""
        inner, outer = key.pads
        self._run("add_seal_key", {"key_id": key.key_id, "inner_pad": inner, "outer_pad": outer})

    def remove_seal_key(self, key_id: str) -> None:
        """Believe a key no longer; raises `NotFound`."""
        if not self._run("remove_seal_key", {"key_id": key_id}):
            raise NotFound(f"There is no seal key {key_id}.")

    def enable_tool(self, tenant_id: TenantId, tool: str, *, enabled: bool) -> None:
        """Say whether a tool is enabled for a tenant."""
        self._run("put_tool", {"tenant_id": tenant_id, "tool": tool, "enabled": enabled})

    def configure_tool(
        self, tenant_id: TenantId, tool: str, configuration: Mapping[str, str]
    ) -> None:
        """Merge settings into a tool's for a tenant; an empty one is removed."""
        params = {"tenant_id": tenant_id, "tool": tool, "configuration": document(configuration)}
        self._run("configure_tool", params)

    def add_key(self, key: ApiKey, digest: bytes) -> None:
        """Store an API key's digest."""
        params = {
            "key_id": key.key_id,
            "tenant_id": key.tenant_id,
            "digest": digest,
            "subject_id": key.subject_id,
            "role": key.role,
            "scopes": list(key.scopes),
            "expires_at": key.expires_at,
        }
        self._run("add_key", params)

    def keys(self, tenant_id: TenantId | None) -> list[Row]:
        """The API keys of a tenant, or of all."""
        return self._all("list_keys", {"tenant_id": tenant_id})

    def tenant_of_key(self, key_id: KeyId) -> TenantId:
        """Whose API key it is; raises `NotFound`."""
        rows = self._all("tenant_of_key", {"key_id": key_id})
        if not rows:
            raise NotFound(f"There is no key {key_id}.")
        return TenantId(rows[0]["tenant_id"])

    def revoke_key(self, key_id: KeyId) -> None:
        """Revoke an API key; raises `NotFound`."""
        if not self._run("revoke_key", {"key_id": key_id}):
            raise NotFound(f"There is no key {key_id}.")

    def _plan(self, name: str, plan_id: PlanId) -> Plan | None:
        rows = self._all(name, {"plan_id": plan_id})
        return plan_of(**rows[0]) if rows else None

    def _run(self, name: str, params: Mapping[str, Any]) -> int:
        return self._conn.execute(query(name, "admin").sql, params).rowcount

    def _all(self, name: str, params: Mapping[str, Any]) -> list[Row]:
        return self._conn.execute(query(name, "admin").sql, params).fetchall()


@contextmanager
def control(owner_url: str) -> Iterator[Control]:
    """The control database in one transaction; raises `Unavailable`."""
    with translated(), psycopg.connect(owner_url, row_factory=dict_row, connect_timeout=5) as conn:
        yield Control(conn)
