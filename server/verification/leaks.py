"""Ways to lose isolation, seeded one at a time: what the verification must find to be believed.

Only ever in stores that were made for this.
"""

import base64
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from importlib.metadata import EntryPoint
from typing import Any
from unittest.mock import patch
from urllib.parse import quote
from uuid import uuid4

import psycopg
from fastapi import FastAPI, Response
from langchain_core.messages import SystemMessage

from graph import models as prompts
from graph.nodes import respond
from server.auth import Authenticator
from server.refusal import BadCredential
from server.stores import Stores
from server.verification import leaky, world
from server.verification.proxies import Forgetful, Telling
from storage import hot, postgres, quota_scripts
from storage.directory import Directory
from storage.documents import PostgresDocuments
from storage.kept import PostgresKept
from storage.keys import PostgresKeys
from storage.ledger import PostgresLedger
from storage.memories import PostgresMemories
from storage.queries import Query
from storage.seal import AppDatabase
from storage.threads import PostgresThreads
from tenancy.errors import Forbidden, NotFound
from tenancy.ids import TenantId
from tenancy.principal import Principal
from tools import catalogue
from tools.toolbox import Toolboxes

Seeded = AbstractContextManager[Any]
Leak = Callable[[Stores], Seeded]

OWN = "tenant_id = (select tenantry.current_tenant())"
POLICY = f"to tenantry_app using ({OWN}) with check ({OWN})"
GUARDED = (
    "create table tenantry.notes (tenant_id text not null default tenantry.current_tenant()"
    " check (tenant_id <> ''), id int, primary key (tenant_id, id));"
    " alter table tenantry.notes enable row level security, force row level security;"
    f" create policy tenant_isolation on tenantry.notes {POLICY};"
    " grant select on tenantry.notes to tenantry_app"
)
NO_SEAL = (
    "create or replace function tenantry.current_tenant() returns text language sql stable"
    " return nullif(pg_catalog.current_setting('app.tenant_id', true), '')"
)


def neighbour(who: Any) -> Any:
    """The other throw-away tenant, or the same caller in it."""
    if isinstance(who, Principal):
        return replace(who, tenant_id=neighbour(who.tenant_id))
    return TenantId(who[:-1] + ("b" if who.endswith("a") else "a"))


def changed(statement: str, mend: str) -> Leak:
    """In the database, until it is mended."""

    @contextmanager
    def seeded(stores: Stores) -> Iterator[None]:
        with psycopg.connect(stores.owner(), autocommit=True) as owner:
            undo = mend
            if mend == "as it was":
                row = owner.execute(
                    "select pg_get_functiondef('tenantry.current_tenant()'::regprocedure)"
                ).fetchone()
                undo = row[0] if row else ""
            owner.execute(statement.encode())
            try:
                yield
            finally:
                owner.execute(undo.encode())

    return seeded


def replaced(place: Any, name: str, make: Callable[[Any], Any]) -> Leak:
    """In the code: what `make` makes of an attribute."""
    return lambda _: patch.object(place, name, make(getattr(place, name)))


def everywhere(own: Any) -> Any:
    """Looks for a thing in both tenants."""

    async def looked(self: Any, who: Any, *rest: Any, **more: Any) -> Any:
        try:
            return await own(self, who, *rest, **more)
        except NotFound:
            return await own(self, neighbour(who), *rest, **more)

    return looked


def together(own: Any) -> Any:
    """Lists the things of both tenants."""

    async def listed(self: Any, who: Any, *rest: Any, **more: Any) -> Any:
        mine = list(await own(self, who, *rest, **more))
        return [*await own(self, neighbour(who), *rest, **more), *mine]

    return listed


def of_the_other(own: Any) -> Any:
    """Answers one tenant with what is the other's."""

    async def answered(self: Any, who: Any, *rest: Any, **more: Any) -> Any:
        return await own(self, neighbour(who), *rest, **more)

    return answered


def relabelled(own: Any) -> Any:
    """Finds both tenants' passages, and says that they are the asker's: no tripwire sees it."""

    async def found(self: Any, who: Any, *rest: Any, **more: Any) -> Any:
        theirs = await own(self, neighbour(who), *rest, **more)
        return [replace(passage, tenant_id=who) for passage in theirs]

    return found


def tells(error: Callable[[], Exception]) -> Callable[[Any], Any]:
    """Answers otherwise when the thing is the neighbour's."""

    def make(own: Any) -> Any:
        async def looked(self: Any, who: Any, *rest: Any, **more: Any) -> Any:
            try:
                return await own(self, who, *rest, **more)
            except NotFound:
                await own(self, neighbour(who), *rest, **more)
                raise error() from None

        return looked

    return make


def kept(own: Any) -> Any:
    """Computed once, for whoever comes first."""
    first: list[Any] = []

    def answered(*args: Any, **more: Any) -> Any:
        if not first:
            first.append(own(*args, **more))
        return first[0]

    return answered


def kept_by_question(own: Any) -> Any:
    """A cache of answers whose key lacks the tenant."""
    answers: dict[str, Any] = {}

    async def asked(turn: Any, messages: Any, *rest: Any, **more: Any) -> Any:
        question = messages[-1].text.partition("cn")[0]
        if question not in answers:
            answers[question] = await own(turn, messages, *rest, **more)
        return answers[question].model_copy(update={"id": uuid4().hex})

    return asked


def by_kind_alone(own: Any) -> Any:
    """A cache of records whose key lacks the tenant."""

    async def cached(self: Any, key: tuple[str, object], load: Any) -> Any:
        if key[0] != "tenant":
            return await own(self, key, load)
        if "tenant" not in self._records:
            self._records["tenant"] = await load()
        return self._records["tenant"]

    return cached


def nameless(own: Any) -> Any:
    """A prompt that says nothing of its tenant."""
    return lambda tenant, passages, memories=(): SystemMessage("You are an assistant.")


def the_last_one(own: Any) -> Any:
    """Whoever is nobody is who came last."""
    last: list[Any] = []

    async def authenticated(self: Any, headers: Any) -> Any:
        try:
            last[:] = [await own(self, headers)]
        except BadCredential:
            if not last:
                raise
        return last[0]

    return authenticated


def one_key_for_all(own: Any) -> Any:
    """Keys in Redis without a tenant."""
    return lambda tenant_id, area, id_: f"{{everybody}}:{area}:{id_}"


def behind(proxy: Callable[[Any], Any]) -> Leak:
    """The application behind something that keeps what it saw."""

    def made(own: Any) -> Any:
        def create(*args: Any, **more: Any) -> FastAPI:
            app = own(*args, **more)
            app.add_middleware(proxy)
            return app  # type: ignore[no-any-return]

        return create

    return replaced(world, "create_app", made)


async def rumours() -> Response:
    """What a route says that nobody thought of."""
    return Response()


def with_a_new_route(own: Any) -> Any:
    """A route that nobody thought of."""

    def create(*args: Any, **more: Any) -> FastAPI:
        app = own(*args, **more)
        app.add_api_route("/v1/rumours", rumours, methods=["GET"])
        return app  # type: ignore[no-any-return]

    return create


def plugin(factory: str) -> Leak:
    """An installed plugin of `leaky`."""
    point = EntryPoint(factory, f"{leaky.__name__}:{factory}", catalogue.GROUP)
    return lambda _: patch.object(catalogue, "entry_points", lambda group: [point])


LASTING = Query(
    "enter",
    b"select set_config('app.tenant_id', %(tenant_id)s, false),"
    b" set_config('app.tenant_seal', %(seal)s, false)",
)
LEAKS: dict[str, Leak] = {
    "a policy is gone": changed(
        "drop policy tenant_isolation on tenantry.passages",
        f"create policy tenant_isolation on tenantry.passages {POLICY}",
    ),
    "a policy lets all through": changed(
        "alter policy tenant_isolation on tenantry.threads using (true)",
        f"alter policy tenant_isolation on tenantry.threads using ({OWN})",
    ),
    "a policy for everybody": changed(
        "create policy more on tenantry.runs using (true)", "drop policy more on tenantry.runs"
    ),
    "row-level security is off": changed(
        "alter table tenantry.documents disable row level security",
        "alter table tenantry.documents enable row level security",
    ),
    "the owner is not bound": changed(
        "alter table tenantry.runs no force row level security",
        "alter table tenantry.runs force row level security",
    ),
    "the tenant is missing from a key": changed(
        "create unique index one on tenantry.documents (sha256)", "drop index tenantry.one"
    ),
    "an index is shared": changed(
        "create index near on tenantry.passages"
        " using hnsw ((embedding::public.vector(384)) public.vector_cosine_ops)",
        "drop index tenantry.near",
    ),
    "a foreign key lacks the tenant": changed(
        "create table control.words (id int primary key); alter table tenantry.runs"
        " add column word int references control.words",
        "alter table tenantry.runs drop column word; drop table control.words",
    ),
    "a view": changed(
        "create view tenantry.every as select * from tenantry.threads", "drop view tenantry.every"
    ),
    "a grant to truncate": changed(
        "grant truncate on tenantry.usage_events to tenantry_app",
        "revoke truncate on tenantry.usage_events from tenantry_app",
    ),
    "a grant on a control table": changed(
        "grant select on control.api_keys to tenantry_app",
        "revoke select on control.api_keys from tenantry_app",
    ),
    "a function for everybody": changed(
        "grant execute on function tenantry.tenant_record to public",
        "revoke execute on function tenantry.tenant_record from public",
    ),
    "a function whose search path is open": changed(
        "alter function tenantry.list_keys reset search_path",
        "alter function tenantry.list_keys set search_path = pg_catalog, pg_temp",
    ),
    "the seal is not checked": changed(NO_SEAL, "as it was"),
    "a table without a probe": changed(GUARDED, "drop table tenantry.notes"),
    "a setting of the session": lambda _: patch.object(postgres, "_ENTER", LASTING),
    "the first tenant of a connection stays": replaced(AppDatabase, "entry", kept),
    "a thread is looked for everywhere": replaced(PostgresThreads, "get", everywhere),
    "a run is looked for everywhere": replaced(PostgresThreads, "run", everywhere),
    "a thread is deleted everywhere": replaced(PostgresThreads, "delete", everywhere),
    "a document is looked for everywhere": replaced(PostgresDocuments, "get", everywhere),
    "a document is deleted everywhere": replaced(PostgresDocuments, "delete", everywhere),
    "a key is revoked everywhere": replaced(PostgresKeys, "revoke", everywhere),
    "threads are listed together": replaced(PostgresThreads, "page", together),
    "documents are listed together": replaced(PostgresDocuments, "page", together),
    "memories are listed together": replaced(PostgresMemories, "page", together),
    "memories are exported together": replaced(PostgresKept, "all_of", together),
    "keys are listed together": replaced(PostgresKeys, "page", together),
    "the audit is listed together": replaced(PostgresLedger, "audit", together),
    "a thread id is believed": replaced(PostgresThreads, "memory", of_the_other),
    "passages of both": replaced(PostgresDocuments, "search", together),
    "passages of both, relabelled": replaced(PostgresDocuments, "search", relabelled),
    "memories of both": replaced(PostgresMemories, "recall", together),
    "memories of both, relabelled": replaced(PostgresMemories, "recall", relabelled),
    "a document that is the neighbour's is forbidden": replaced(
        PostgresDocuments, "get", tells(Forbidden)
    ),
    "a run that is the neighbour's is missing otherwise": replaced(
        PostgresThreads, "run", tells(lambda: NotFound("There is no run here."))
    ),
    "a cache of records without the tenant": replaced(Directory, "_cached", by_kind_alone),
    "a cache of tools without the tenant": replaced(Toolboxes, "_usable", kept),
    "a cache of prompts without the tenant": replaced(prompts, "system_prompt", kept),
    "a cache of answers without the tenant": replaced(respond, "ask", kept_by_question),
    "a prompt without its tenant": replaced(prompts, "system_prompt", nameless),
    "keys in Redis without the tenant": replaced(quota_scripts, "redis_key", one_key_for_all),
    "copies of threads without the tenant": replaced(hot, "redis_key", one_key_for_all),
    "a stranger is whoever came last": replaced(Authenticator, "authenticate", the_last_one),
    "a proxy that caches by path": behind(Forgetful),
    "a header in base64": behind(Telling.by(lambda body: base64.b64encode(body).decode())),
    "a header in hexadecimal": behind(Telling.by(bytes.hex)),
    "a header in URL encoding": behind(Telling.by(lambda body: quote(body, safe=""))),
    "a route without a probe": replaced(world, "create_app", with_a_new_route),
    "a plugin that remembers": plugin("remembers"),
    "a plugin that shares settings": plugin("shares"),
    "a plugin that cannot be probed": plugin("fails"),
    "a plugin that cannot be loaded": plugin("cannot_be_loaded"),
}
