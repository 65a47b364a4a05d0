"""Every door of the HTTP interface, asked by a stranger, by who lacks the scope, and by a rival.

A new route without a row here fails: `test_every_door_has_a_row`.
"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from uuid import uuid4
from zipfile import ZipFile

import httpx
import pytest
from fastapi.routing import RouteContext, iter_route_contexts

from server.access import ScopedRoute
from server.app import create_app
from storage.control import control
from tenancy.principal import SCOPES_OF_ROLE, Role, Scope
from tests.support.house import House

CONSOLE = {"/console", "/console/search", "/console/documents/{document_id}", "/console/assets"}
PUBLIC = CONSOLE | {
    "/",
    "/healthz",
    "/readyz",
    "/metrics",
    "/docs",
    "/docs/assets",
    "/openapi.json",
}
FOLDERS = {"/docs/assets", "/console/assets"}


@dataclass(frozen=True, slots=True)
class Door:
    """A route: its scope, what to send, and whose id of acme's it takes, in the path or body.

    `makes` says that naming what is not there makes it, in the tenant of who asks.
    """

    method: str
    path: str
    scope: Scope
    names: str | None = None
    json: Any = None
    files: Any = None
    makes: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.path}" + (f" of {self.names}" if self.in_body else "")

    @property
    def in_body(self) -> bool:
        return self.names is not None and "{" not in self.path

    def request(self, named: object) -> dict[str, Any]:
        """The request for the thing `named`."""
        path = (
            self.path
            if self.in_body or self.names is None
            else self.path.format(**{self.names: named})
        )
        body = {**self.json, self.names: str(named)} if self.in_body else self.json
        return {"method": self.method, "url": path, "json": body, "files": self.files}


LIMITS = {"limits": {"user_tokens_per_day": 9}}
PRICE = {"model": "gpt", "input": 15, "output": 60}
RESUME = {"resume": {"decisions": [{"type": "approve"}]}}
OF_USER, OF_TENANT = "/v1/limits/users/{subject}", "/v1/tenants/{tenant_id}/limits"
OF_CORPUS = "/v1/corpora/{corpus_id}/subscription"
OF_THREAD = "/v1/threads/{thread_id}"
OF_ASSISTANT = "/v1/assistants/{assistant_id}"
TONE, FIRST = {"content": {"tone": "acmecanary"}}, {"version": 1}
OF_MEMORY = "/v1/memories/{memory_id}"
FILE = {"file": ("door.txt", b"What stands behind a door.")}


def _archive() -> bytes:
    target = BytesIO()
    with ZipFile(target, "w") as archive:
        archive.writestr("door.txt", "What stands behind a door of an archive.")
    return target.getvalue()


ARCHIVE = {"file": ("doors.zip", _archive())}
DOORS = [
    Door("POST", "/v1/chat", Scope.CHAT, json={"message": "Hi"}),
    Door("POST", "/v1/chat", Scope.CHAT, "thread_id", json={"message": "Hi"}),
    Door("POST", "/v1/chat", Scope.CHAT, "thread_id", json={"message": "Hi", "stream": True}),
    Door("POST", "/v1/chat", Scope.CHAT, "thread_id", json=RESUME),
    Door("POST", "/v1/chat", Scope.CHAT, "assistant", json={"message": "Hi"}),
    Door("GET", "/v1/runs/{run_id}", Scope.THREADS_READ, "run_id"),
    Door("POST", "/v1/threads", Scope.THREADS_WRITE, json={}),
    Door("GET", "/v1/threads", Scope.THREADS_READ),
    Door("GET", OF_THREAD, Scope.THREADS_READ, "thread_id"),
    Door("PATCH", OF_THREAD, Scope.THREADS_WRITE, "thread_id", json={"title": "Mine"}),
    Door("POST", f"{OF_THREAD}/copy", Scope.THREADS_WRITE, "thread_id"),
    Door("POST", f"{OF_THREAD}/fork", Scope.THREADS_WRITE, "thread_id", json={}),
    Door("GET", f"{OF_THREAD}/export", Scope.THREADS_READ, "thread_id"),
    Door("DELETE", OF_THREAD, Scope.THREADS_WRITE, "thread_id"),
    Door("POST", "/v1/documents", Scope.DOCUMENTS_WRITE, files=FILE),
    Door("POST", "/v1/documents", Scope.DOCUMENTS_WRITE, files=ARCHIVE),
    Door("POST", "/v1/documents/fetch", Scope.DOCUMENTS_WRITE, json={"url": "http://127.0.0.1/"}),
    Door("POST", "/v1/documents/fetch", Scope.DOCUMENTS_WRITE, json={"sitemap": "http://[::1]/"}),
    Door("GET", "/v1/documents", Scope.DOCUMENTS_READ),
    Door("GET", "/v1/documents/{document_id}", Scope.DOCUMENTS_READ, "document_id"),
    Door("GET", "/v1/documents/{document_id}/text", Scope.DOCUMENTS_READ, "document_id"),
    Door("GET", "/v1/documents/{document_id}/passages", Scope.DOCUMENTS_READ, "document_id"),
    Door("POST", "/v1/documents/{document_id}/retry", Scope.DOCUMENTS_WRITE, "document_id"),
    Door("DELETE", "/v1/documents/{document_id}", Scope.DOCUMENTS_WRITE, "document_id"),
    Door("GET", "/v1/corpora", Scope.SEARCH),
    Door("PUT", OF_CORPUS, Scope.SETTINGS_WRITE, "corpus_id"),
    Door("DELETE", OF_CORPUS, Scope.SETTINGS_WRITE, "corpus_id"),
    Door("POST", "/v1/search", Scope.SEARCH, json={"query": "doors"}),
    Door("POST", "/v1/memories", Scope.THREADS_WRITE, json={"text": "Behind the door"}),
    Door("GET", "/v1/memories", Scope.THREADS_READ),
    Door("GET", "/v1/memories/export", Scope.THREADS_READ),
    Door("PATCH", OF_MEMORY, Scope.THREADS_WRITE, "memory_id", json={"text": "acmecanary door"}),
    Door("DELETE", OF_MEMORY, Scope.THREADS_WRITE, "memory_id"),
    Door("DELETE", "/v1/memories", Scope.THREADS_WRITE),
    Door("GET", "/v1/memory", Scope.THREADS_READ),
    Door("PUT", "/v1/memory", Scope.THREADS_WRITE, json={"enabled": True}),
    Door("GET", "/v1/tools", Scope.THREADS_READ),
    Door("GET", "/v1/quota", Scope.THREADS_READ),
    Door("GET", "/v1/usage", Scope.USAGE_READ),
    Door("GET", "/v1/audit", Scope.AUDIT_READ),
    Door("POST", "/v1/keys", Scope.KEYS_WRITE, json={"subject": "robot"}),
    Door("GET", "/v1/keys", Scope.KEYS_WRITE),
    Door("POST", "/v1/keys/{key_id}/rotate", Scope.KEYS_WRITE, "key_id", json={}),
    Door("DELETE", "/v1/keys/{key_id}", Scope.KEYS_WRITE, "key_id"),
    Door("GET", "/v1/limits", Scope.THREADS_READ),
    Door("GET", "/v1/limits/users", Scope.SETTINGS_WRITE),
    Door("PUT", OF_USER, Scope.SETTINGS_WRITE, "subject", json=LIMITS, makes=True),
    Door("DELETE", OF_USER, Scope.SETTINGS_WRITE, "subject"),
    Door("POST", "/v1/assistants", Scope.SETTINGS_WRITE, json={"slug": "door"}),
    Door("GET", "/v1/assistants", Scope.THREADS_READ),
    Door("GET", OF_ASSISTANT, Scope.SETTINGS_WRITE, "assistant_id"),
    Door("PATCH", OF_ASSISTANT, Scope.SETTINGS_WRITE, "assistant_id", json=TONE),
    Door("PUT", f"{OF_ASSISTANT}/draft", Scope.SETTINGS_WRITE, "assistant_id", json=TONE),
    Door("POST", f"{OF_ASSISTANT}/publish", Scope.SETTINGS_WRITE, "assistant_id"),
    Door("POST", f"{OF_ASSISTANT}/rollback", Scope.SETTINGS_WRITE, "assistant_id", json=FIRST),
    Door("GET", f"{OF_ASSISTANT}/versions", Scope.SETTINGS_WRITE, "assistant_id"),
    Door("GET", f"{OF_ASSISTANT}/diff", Scope.SETTINGS_WRITE, "assistant_id"),
    Door("GET", f"{OF_ASSISTANT}/effective", Scope.SETTINGS_WRITE, "assistant_id"),
    Door("DELETE", OF_ASSISTANT, Scope.SETTINGS_WRITE, "assistant_id"),
    Door("GET", "/v1/profile", Scope.SETTINGS_WRITE),
    Door("PUT", "/v1/profile", Scope.SETTINGS_WRITE, json={"says": {"tone": "acmecanary"}}),
    Door("GET", "/v1/preferences", Scope.THREADS_READ),
    Door("PUT", "/v1/preferences", Scope.CHAT, json={"says": {"tone": "acmecanary"}}),
    Door("GET", "/v1/tenants", Scope.PLATFORM),
    Door("GET", "/v1/tenants/{tenant_id}", Scope.PLATFORM, "tenant_id"),
    Door("POST", "/v1/tenants/{tenant_id}/suspend", Scope.PLATFORM, "tenant_id"),
    Door("POST", "/v1/tenants/{tenant_id}/resume", Scope.PLATFORM, "tenant_id"),
    Door("GET", OF_TENANT, Scope.PLATFORM, "tenant_id"),
    Door("PUT", OF_TENANT, Scope.PLATFORM, "tenant_id", json={"limits": {}}),
    Door("GET", "/v1/plans", Scope.PLATFORM),
    Door("PUT", "/v1/plans/{plan_id}", Scope.PLATFORM, "plan_id", json={"limits": {}}),
    Door("GET", "/v1/prices", Scope.PLATFORM),
    Door("PUT", "/v1/prices", Scope.PLATFORM, json=PRICE),
    Door("DELETE", "/v1/prices", Scope.PLATFORM),
    Door("GET", "/v1/universal/profiles", Scope.PLATFORM),
    Door("PUT", "/v1/universal/profiles", Scope.PLATFORM, json={"says": {}}),
    Door("GET", "/v1/universal/assistants", Scope.PLATFORM),
    Door("PUT", "/v1/universal/assistants/{slug}", Scope.PLATFORM, "slug", json=TONE),
    Door("DELETE", "/v1/universal/assistants/{slug}", Scope.PLATFORM, "slug"),
    Door("GET", "/v1/issuers", Scope.PLATFORM),
    Door("POST", "/v1/issuers", Scope.PLATFORM, json={"url": "https://id.example/"}),
    Door("DELETE", "/v1/issuers", Scope.PLATFORM),
    Door("GET", "/v1/revocations", Scope.PLATFORM),
    Door("POST", "/v1/revocations", Scope.PLATFORM, json={"tenant": "acme", "everyone": True}),
    Door("GET", "/v1/noisiest", Scope.PLATFORM),
]
OWN = [door for door in DOORS if door.scope is not Scope.PLATFORM]
NAMING = [door for door in OWN if door.names is not None and not door.makes]
MAKING = [door for door in OWN if door.makes]
STAYING = [
    door
    for door in NAMING + MAKING
    if door.method != "DELETE" and door.json is not RESUME and door.names != "corpus_id"
]  # a tenant is no corpus, to itself either
LISTING = [door for door in OWN if door.method == "GET" and door.names is None]


@pytest.fixture(scope="module")
async def acmes(product: House) -> dict[str, str]:
    """One of each thing of acme's, all with a word that nobody else's things have."""
    async with product.client("acme", "boss", Role.ADMIN) as boss:
        said = (await boss.post("/v1/chat", json={"message": "acmecanary"})).json()
        upload = {"file": ("acmecanary.md", b"# acmecanary\n\nacmecanary doors")}
        document = (await boss.post("/v1/documents", files=upload)).json()
        key = (await boss.post("/v1/keys", json={"subject": "acmecanary"})).json()
        memory = (await boss.post("/v1/memories", json={"text": "acmecanary doors"})).json()
        subject = f"user/{uuid4()}"
        await boss.put(OF_USER.format(subject=subject), json=LIMITS)
        made = await boss.post("/v1/assistants", json={"slug": "acmecanary", **TONE})
        assistant = made.json()["assistant_id"]
        await boss.post(f"/v1/assistants/{assistant}/publish")
    return {
        "assistant_id": assistant,
        "thread_id": said["thread_id"],
        "run_id": said["run_id"],
        "document_id": document["document_id"],
        "key_id": key["key_id"],
        "memory_id": memory["memory_id"],
        "subject": subject,
        "tenant_id": "acme",
        "corpus_id": "acme",
        "plan_id": "pro",
        "slug": "acmecanary",
        "assistant": assistant,
    }


@pytest.fixture
async def rival(product: House) -> AsyncIterator[httpx.AsyncClient]:
    """Who may do everything in a tenant of its own, on a plan that never refuses."""
    limits = {"requests_per_minute": -1, "concurrent_runs": -1, "tokens_per_minute": -1}
    with_tenant = await _tenant_once(product, "rival", limits)
    async with product.client(with_tenant, "boss", Role.ADMIN) as client:
        yield client


async def _tenant_once(product: House, name: str, limits: dict[str, int]) -> str:
    with control(product.stores.owner()) as admin:
        known = {row["tenant_id"] for row in admin.tenants()}
    return name if name in known else await product.new_tenant(name, **limits)


def routes(product: House) -> Iterator[RouteContext]:
    """Every route of the application that is not public, whatever it is made of."""
    for context in iter_route_contexts(create_app(product.services, version="test").routes):
        if context.path not in PUBLIC:
            yield context


async def test_every_door_has_a_row(product: House) -> None:
    declared = {
        (method, context.path_format, getattr(context.endpoint, "scope", None))
        for context in routes(product)
        for method in context.methods or ["any"]
    }
    assert declared == {(door.method, door.path, door.scope) for door in DOORS}


async def test_every_id_in_a_path_is_asked_for_as_a_rival(product: House) -> None:
    named = {
        (method, context.path_format)
        for context in routes(product)
        for method in context.methods or ["any"]
        if "{" in (context.path or "")
    }
    doors = [door for door in DOORS if door.names is not None]
    assert named == {(door.method, door.path) for door in doors if not door.in_body}


async def test_every_door_checks_its_scope(product: House) -> None:
    assert all(isinstance(context.original_route, ScopedRoute) for context in routes(product))


async def test_the_open_doors_are_the_ones_we_know(product: House) -> None:
    async with httpx.AsyncClient(base_url=product.url) as nobody:
        openapi = (await nobody.get("/openapi.json")).json()
        for path in PUBLIC - FOLDERS:
            assert (await nobody.get(path)).status_code in {200, 307}
    described = {
        (method.upper(), path) for path, methods in openapi["paths"].items() for method in methods
    }
    assert described == {(door.method, door.path) for door in DOORS}


@pytest.mark.parametrize("door", DOORS, ids=str)
async def test_a_stranger_is_turned_away(product: House, door: Door) -> None:
    async with httpx.AsyncClient(base_url=product.url) as nobody:
        response = await nobody.request(**door.request(uuid4()))
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("door", DOORS, ids=str)
@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER, Role.ADMIN, Role.SERVICE])
async def test_who_lacks_the_scope_is_turned_away(
    product: House, acmes: dict[str, str], door: Door, role: Role
) -> None:
    lacking = sorted(scope.value for scope in Scope if scope is not door.scope)
    if role in {Role.VIEWER, Role.MEMBER} and door.scope not in SCOPES_OF_ROLE[role]:
        lacking = None  # the whole role is not enough
    named = acmes[door.names] if door.names else None
    async with product.client("acme", "boss", role, scopes=lacking) as client:
        response = await client.request(**door.request(named))
    assert response.status_code == 403
    assert door.scope.value in response.json()["detail"]


@pytest.mark.parametrize("door", NAMING, ids=str)
async def test_a_rival_asks_for_what_never_was(
    product: House, acmes: dict[str, str], rival: httpx.AsyncClient, door: Door
) -> None:
    assert door.names is not None
    foreign = await rival.request(**door.request(acmes[door.names]))
    missing = await rival.request(**door.request(uuid4()))
    assert foreign.status_code == missing.status_code == 404
    assert foreign.content == missing.content
    same = {"content-type", "content-length"}
    assert set(foreign.headers) == set(missing.headers)
    assert [foreign.headers[name] for name in same] == [missing.headers[name] for name in same]
    assert acmes[door.names] not in foreign.text
    assert product.model.chat_requests == []


@pytest.mark.parametrize("door", MAKING, ids=str)
async def test_a_rival_that_uses_a_name_of_acmes_has_one_of_its_own(
    product: House, acmes: dict[str, str], rival: httpx.AsyncClient, door: Door
) -> None:
    assert door.names is not None
    named, fresh = acmes[door.names], f"user/{uuid4()}"
    foreign, missing = [await rival.request(**door.request(name)) for name in (named, fresh)]
    assert foreign.status_code == missing.status_code == 200
    assert foreign.text.replace(named, "") == missing.text.replace(fresh, "")
    for name in (named, fresh):
        assert (await rival.delete(door.path.format(subject=name))).status_code == 204
    async with product.client("acme", "boss", Role.ADMIN) as boss:
        held = (await boss.get("/v1/limits/users")).json()["items"]
    assert named in [each["subject"] for each in held]


@pytest.mark.parametrize("door", LISTING, ids=str)
async def test_a_rivals_lists_hold_nothing_of_acmes(
    acmes: dict[str, str], rival: httpx.AsyncClient, door: Door
) -> None:
    response = await rival.request(**door.request(None))
    assert response.status_code == 200
    assert "acmecanary" not in response.text
    if door.path != "/v1/audit":  # it says which ids the rival itself asked for
        ids = [
            named for what, named in acmes.items() if what not in {"tenant_id", "plan_id", "slug"}
        ]
        assert not any(each in response.text for each in ids)


async def test_a_rival_finds_nothing_of_acmes(
    product: House, acmes: dict[str, str], rival: httpx.AsyncClient
) -> None:
    found = await rival.post("/v1/search", json={"query": "acmecanary doors"})
    assert acmes["document_id"] not in found.text
    assert (await rival.post("/v1/chat", json={"message": "acmecanary doors"})).status_code == 200
    system, *_ = product.model.chat_requests[-1]["messages"]
    assert "acmecanary" not in system["content"]


@pytest.mark.parametrize("door", OWN, ids=str)
async def test_an_operator_sees_no_content(
    product: House, acmes: dict[str, str], door: Door
) -> None:
    named = acmes[door.names] if door.names else None
    async with product.client("acme", "boss", Role.OPERATOR) as operator:
        response = await operator.request(**door.request(named))
    assert response.status_code == 403
    assert "acmecanary" not in response.text


@pytest.mark.parametrize("door", STAYING, ids=str)
async def test_acme_itself_is_let_in(product: House, acmes: dict[str, str], door: Door) -> None:
    assert door.names is not None
    async with product.client("acme", "boss", Role.ADMIN) as boss:
        response = await boss.request(**door.request(acmes[door.names]))
    assert response.status_code in {200, 201}
