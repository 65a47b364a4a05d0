"""Before any route: who is calling, and how much they send."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Annotated

import httpx
import pytest
from fastapi import FastAPI, File, Request, UploadFile
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from server.api_keys import mint
from server.auth import Authenticator
from server.client_address import ClientAddresses
from server.ended_keys import EndedKeys
from server.middleware import (
    BODY_BYTES,
    UPLOAD_BYTES,
    AuthenticationMiddleware,
    BodyLimitMiddleware,
    principal_in,
)
from server.problems import install, problem_of
from server.slowdown import Slowdown
from server.strangers import Strangers
from tenancy.credentials import ApiKey
from tenancy.errors import NotAuthenticated, Unavailable
from tenancy.ids import SubjectId, TenantId
from tenancy.plan import FREE
from tenancy.principal import ADMIN_SCOPES, MEMBER_SCOPES, Principal, Role, Scope
from tenancy.revocation import NOTHING_REVOKED, Revocations
from tenancy.tenant import Tenant, TenantStatus
from tests.idp import BROKEN, FOREIGN, HOME, ISSUERS, NOW, Idp

PLATFORM = Idp("https://ops.example/", record={"tenants": None, "platform": True})
KEY = mint()


@dataclass
class FewTenants:
    """The directory of a deployment with two tenants, one of them suspended."""

    issuers: dict = field(default_factory=lambda: {**ISSUERS, PLATFORM.url: PLATFORM.issuer()})
    keys: dict = field(default_factory=dict)
    away: bool = False
    revoked: bool = False

    async def issuer(self, url):
        url.encode()  # as a driver would
        if self.away:
            raise Unavailable
        return self.issuers.get(url)

    async def api_key(self, digest):
        if self.away:
            raise Unavailable
        return self.keys.get(digest)

    async def tenant(self, tenant_id):
        if tenant_id not in ("acme", "globex"):
            return None
        status = TenantStatus.SUSPENDED if tenant_id == "globex" else TenantStatus.ACTIVE
        revocations = Revocations(everyone=NOW.timestamp()) if self.revoked else NOTHING_REVOKED
        return Tenant(tenant_id, tenant_id, status, FREE, "first", revocations=revocations)


def api_key(**changes):
    tenant, subject = TenantId("acme"), SubjectId("robot")
    key = ApiKey(KEY.key_id, tenant, subject, Role.SERVICE, ("chat",), created_at=NOW)
    return replace(key, **changes)


class Message(BaseModel):
    text: str


@dataclass
class Ledger:
    """What was recorded, by tenant."""

    events: list = field(default_factory=list)

    async def record(self, tenant_id, *, audit):
        self.events += [(tenant_id, event) for event in audit]


@dataclass
class Door:
    """Whose failures wait for how long, on a clock of its own; and what the audit says of them."""

    trusted: str = ""
    now: float = 0.0
    pauses: list = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)

    async def pause(self, seconds):
        self.pauses.append(seconds)

    def strangers(self):
        slowdown = Slowdown(lambda: self.now, self.pause)
        return Strangers(EndedKeys(self.ledger), ClientAddresses(self.trusted), slowdown)


def serve(directory, now=NOW, strangers=None, client=("192.0.2.1", 4711)):
    app = FastAPI()
    install(app)

    @app.get("/v1/me")
    async def me(request: Request) -> dict[str, str]:
        principal = principal_in(request.scope)
        assert request.state.principal is principal
        return {"tenant": principal.tenant_id, "credential": principal.credential}

    @app.post("/v1/chat")
    async def chat(message: Message) -> dict[str, int]:
        return {"characters": len(message.text)}

    @app.post("/v1/documents")
    async def upload(file: Annotated[UploadFile, File()]) -> dict[str, int | None]:
        return {"bytes": file.size}

    @app.post("/v1/raw")
    async def raw(request: Request) -> dict[str, int]:
        return {"bytes": len(await request.body())}

    @app.get("/healthz")
    async def healthz() -> None: ...

    app.add_middleware(BodyLimitMiddleware)
    app.add_middleware(
        AuthenticationMiddleware,
        authenticator=Authenticator(directory, lambda: now),
        strangers=strangers or Door().strangers(),
    )
    transport = httpx.ASGITransport(app, client=client)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


@pytest.fixture
def directory():
    return FewTenants(keys={KEY.digest: api_key()})


@pytest.fixture
async def client(directory):
    async with serve(directory) as client:
        yield client


def bearer(token):
    return {"authorization": f"Bearer {token}"}


def assert_refused(response):
    assert response.status_code == 401
    assert response.content == problem_of(NotAuthenticated()).body()
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.headers["content-type"] == "application/problem+json"
    assert set(response.headers) == {"www-authenticate", "content-type", "content-length"}


async def test_a_token_and_a_key_pass_in_either_header(client):
    for text, credential in (
        (HOME.token(), f"issuer:{HOME.url}"),
        (KEY.text, f"key:{KEY.key_id}"),
    ):
        for headers in (
            bearer(text),
            {"authorization": f"bearer   {text} "},
            {"x-api-key": text},
            {"x-api-key": text, **bearer(text)},
        ):
            response = await client.get("/v1/me", headers=headers)
            assert response.json() == {"tenant": "acme", "credential": credential}


@pytest.mark.parametrize("name", BROKEN)
async def test_every_broken_token_gets_the_same_answer(client, name):
    token = BROKEN[name]()
    assert_refused(await client.get("/v1/me", headers=bearer(token)))
    assert_refused(await client.get("/v1/me", headers={"x-api-key": token}))


def headers_that_do_not_hold():
    token = HOME.token()
    return {
        "nothing": [],
        "empty": [("authorization", "")],
        "scheme alone": [("authorization", "Bearer")],
        "empty token": [("authorization", "Bearer ")],
        "empty key": [("x-api-key", "")],
        "no scheme": [("authorization", token)],
        "basic": [("authorization", "Basic YTpi")],
        "basic beside a token": [("authorization", "Basic YTpi"), ("x-api-key", token)],
        "scheme in the key's header": [("x-api-key", f"Bearer {token}")],
        "two tokens": [("authorization", f"Bearer {token}"), ("x-api-key", HOME.token(sub="bob"))],
        "a token and a key": [("authorization", f"Bearer {token}"), ("x-api-key", KEY.text)],
        "a token twice, different": [
            ("authorization", f"Bearer {token}"),
            ("authorization", f"Bearer {HOME.token(sub='bob')}"),
        ],
        "two in one header": [("authorization", f"Bearer {token}, Bearer {token}")],
        "a word after the token": [("authorization", f"Bearer {token} please")],
        "unknown key": [("x-api-key", mint().text)],
        "mistyped key": [("x-api-key", KEY.text[:-1])],
        "query instead": [],
    }


@pytest.mark.parametrize("name", headers_that_do_not_hold())
async def test_a_credential_that_does_not_hold_gets_the_same_answer(client, name):
    headers = headers_that_do_not_hold()[name]
    assert_refused(await client.get(f"/v1/me?access_token={KEY.text}", headers=headers))


async def test_the_same_credential_twice_is_one(client):
    twice = [("authorization", f"Bearer {KEY.text}")] * 2
    assert (await client.get("/v1/me", headers=twice)).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"revoked_at": NOW},
        {"revoked_at": NOW + timedelta(days=1)},
        {"expires_at": NOW},
        {"tenant_id": "nowhere"},
        {"role": Role.OPERATOR},
    ],
    ids=repr,
)
async def test_a_key_that_ended_is_refused(client, directory, changes):
    directory.keys[KEY.digest] = api_key(**changes)
    assert_refused(await client.get("/v1/me", headers=bearer(KEY.text)))


async def test_a_key_holds_until_it_expires(client, directory):
    directory.keys[KEY.digest] = api_key(expires_at=NOW + timedelta(seconds=1))
    assert (await client.get("/v1/me", headers=bearer(KEY.text))).status_code == 200


async def test_a_tenant_nobody_knows_is_like_a_bad_token(directory):
    directory.issuers[HOME.url] = replace(ISSUERS[HOME.url], tenants=None)
    async with serve(directory) as client:
        assert_refused(await client.get("/v1/me", headers=bearer(HOME.token(tenant_id="nowhere"))))


async def test_a_suspended_tenant_is_refused_after_its_token_holds(client):
    suspended = FOREIGN.token(tenant_id="globex")
    response = await client.get("/v1/me", headers=bearer(suspended))
    assert response.status_code == 403
    assert response.json()["type"] == "urn:tenantry:problem:tenant-suspended"
    assert_refused(await client.get("/v1/me", headers=bearer(suspended[:-6] + "AAAAAA")))


async def test_an_operator_needs_no_served_tenant(client):
    for tenant_id in ("platform", "globex"):
        token = PLATFORM.token(role="operator", tenant_id=tenant_id)
        assert (await client.get("/v1/me", headers=bearer(token))).status_code == 200


async def test_a_store_that_is_away_is_no_401(client, directory):
    directory.away = True
    for text in (HOME.token(), KEY.text):
        response = await client.get("/v1/me", headers=bearer(text))
        assert (response.status_code, response.headers["retry-after"]) == (503, "2")
        assert response.json()["type"] == "urn:tenantry:problem:unavailable"


@pytest.mark.parametrize("path", ["/healthz", "/docs", "/openapi.json"])
async def test_public_paths_need_no_credential(client, path):
    assert (await client.get(path)).status_code == 200
    assert (await client.get(path, headers=bearer("garbage"))).status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs/swagger-ui.css", "/metrics", "/readyz"])
async def test_public_paths_are_public_where_nothing_is_served(client, path):
    assert (await client.get(path)).status_code == 404


@pytest.mark.parametrize(
    "path", ["/healthz/", "/HEALTHZ", "/v1", "/docsx", "//healthz", "/v1/me", "/openapi.json/x"]
)
async def test_every_other_path_needs_one(client, path):
    assert_refused(await client.get(f"http://test{path}"))


async def call(app, scope):
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "websocket.connect"}

    await app(scope, receive, send)
    return sent


async def answers(scope, receive, send):
    await send({"type": "reached", "path": scope.get("path")})


async def test_websockets_are_refused_and_lifespan_passes(directory):
    app = AuthenticationMiddleware(answers, Authenticator(directory), Door().strangers())
    assert await call(app, {"type": "websocket", "path": "/healthz", "headers": []}) == [
        {"type": "websocket.close", "code": 1008}
    ]
    assert (await call(app, {"type": "lifespan"}))[0]["type"] == "reached"


async def test_a_mount_prefix_opens_nothing(directory):
    app = AuthenticationMiddleware(answers, Authenticator(directory), Door().strangers())
    scope = {"type": "http", "headers": [], "path": "/docs/v1/me", "root_path": "/docs"}
    assert (await call(app, scope))[0]["status"] == 401
    mounted = {"type": "http", "headers": [], "path": "/api/healthz", "root_path": "/api"}
    assert (await call(app, mounted))[0]["type"] == "reached"


async def test_the_servers_own_state_is_not_shared_between_requests(directory):
    app = AuthenticationMiddleware(
        answers, Authenticator(directory, lambda: NOW), Door().strangers()
    )
    state = {"pool": object()}
    scope = {"type": "http", "path": "/x", "state": state}
    scope["headers"] = [(b"x-api-key", KEY.text.encode())]
    await call(app, scope)
    assert principal_in(scope).tenant_id == "acme"
    assert scope["state"]["pool"] is state["pool"]
    assert "principal" not in state


def test_without_a_principal_there_is_no_caller():
    for scope in ({}, {"state": {}}, {"state": {"principal": {"tenant_id": "acme"}}}):
        with pytest.raises(NotAuthenticated):
            principal_in(scope)


def principal_of(headers, directory) -> Principal:
    return asyncio.run(Authenticator(directory, lambda: NOW).authenticate(headers))


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"role": "member"}, MEMBER_SCOPES),
        ({"role": "member", "scope": "chat openid"}, {Scope.CHAT}),
        ({"role": "member", "scope": "threads:all chat"}, {Scope.CHAT}),
        ({"role": "member", "scope": "threads:debug"}, set()),
        ({"role": "admin"}, ADMIN_SCOPES),
        ({"role": "admin", "scopes": ["threads:debug"]}, {Scope.THREADS_DEBUG}),
        ({"role": "admin", "permissions": "platform:*"}, set()),
        ({"role": "service"}, set()),
        ({"role": "service", "scope": "chat usage:read"}, {Scope.CHAT, Scope.USAGE_READ}),
        ({"role": "service", "scope": "threads:debug platform:*"}, set()),
    ],
    ids=repr,
)
def test_a_claim_narrows_the_role_and_never_widens_it(claims, scopes):
    headers = [(b"authorization", f"Bearer {HOME.token(**claims)}".encode())]
    assert principal_of(headers, FewTenants()).scopes == scopes


@pytest.mark.parametrize(
    ("role", "words", "scopes"),
    [
        (Role.SERVICE, (), set()),
        (Role.SERVICE, ("chat", "threads:debug"), {Scope.CHAT, Scope.THREADS_DEBUG}),
        (Role.SERVICE, ("platform:*",), set()),
        (Role.MEMBER, (), MEMBER_SCOPES),
        (Role.MEMBER, ("chat", "keys:write"), {Scope.CHAT}),
        (Role.VIEWER, ("threads:debug",), set()),
    ],
)
def test_a_key_has_what_was_granted_on_it(role, words, scopes):
    directory = FewTenants(keys={KEY.digest: api_key(role=role, scopes=words)})
    assert principal_of([(b"X-API-Key", KEY.text.encode())], directory).scopes == scopes


NAMES = st.sampled_from([b"authorization", b"x-api-key", b"Authorization", b"cookie", b"host"])
TOKENISH = st.lists(st.binary(max_size=40), max_size=5).map(b".".join)
VALUES = st.one_of(
    st.binary(max_size=100),
    TOKENISH.map(lambda text: b"Bearer " + text),
    st.text(max_size=100).map(lambda text: b"Bearer " + text.encode()),
    st.binary(max_size=60).map(lambda text: b"tnk_" + text),
)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=4))
def test_arbitrary_headers_are_refused_and_nothing_else(headers):
    with pytest.raises(NotAuthenticated):
        principal_of(headers, FewTenants())


@given(st.data())
def test_a_damaged_token_is_refused_and_nothing_else(data):
    token = HOME.token().encode()
    position = data.draw(st.integers(0, len(token) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != token[position]))
    damaged = token[:position] + bytes([byte]) + token[position + 1 :]
    if byte in b" \t" and position == len(token) - 1:
        damaged += b"x"
    with pytest.raises(NotAuthenticated):
        principal_of([(b"authorization", b"Bearer " + damaged)], FewTenants())


async def chunks(total, size=64 * 1024):
    for _ in range(0, total, size):
        yield b"x" * size


@dataclass
class Upload:
    """A body that counts how much of it was taken."""

    total: int
    taken: int = 0

    async def __aiter__(self):
        async for chunk in chunks(self.total):
            self.taken += len(chunk)
            yield chunk


JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
MULTIPART = {"content-type": "multipart/form-data; boundary=x"}
BODIES: dict[str, Callable[[], object]] = {
    "announced": lambda: b"x" * (BODY_BYTES + 1),
    "chunked": lambda: chunks(BODY_BYTES + 64 * 1024),
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("path", ["/v1/chat", "/v1/raw"])
async def test_a_body_over_the_limit_is_a_413(client, body, path):
    headers = {**bearer(KEY.text), **JSON}
    response = await client.post(path, content=BODIES[body](), headers=headers)
    assert response.status_code == 413
    assert response.json()["type"] == "urn:tenantry:problem:payload-too-large"
    assert response.headers["connection"] == "close"


@pytest.mark.parametrize("body", BODIES)
async def test_401_and_404_come_before_413(client, body):
    refused = await client.post("/v1/chat", content=BODIES[body](), headers=JSON)
    assert_refused(refused)
    missing = await client.post("/v1/no", content=BODIES[body](), headers=bearer(KEY.text))
    assert missing.status_code == 404


async def test_413_comes_before_422(client):
    headers = {**bearer(KEY.text), **JSON}
    broken = await client.post("/v1/chat", content=b"{" * (BODY_BYTES + 1), headers=headers)
    assert broken.status_code == 413
    assert (await client.post("/v1/chat", content=b"{", headers=headers)).status_code == 422


async def test_401_comes_before_422(client):
    assert_refused(await client.post("/v1/chat", content=b"{", headers=JSON))


async def test_a_chunked_body_is_not_read_beyond_its_limit(client):
    body = Upload(100 * BODY_BYTES)
    response = await client.post("/v1/raw", content=aiter(body), headers=bearer(KEY.text))
    assert response.status_code == 413
    assert body.taken <= BODY_BYTES + 64 * 1024


async def read_of(headers, *messages):
    """What a reader of the body gets, and how many messages were taken from the server."""
    taken = []

    async def receive():
        taken.append(messages[len(taken)])
        return taken[-1]

    async def read(scope, receive, send):
        while (await receive()).get("more_body"):
            pass

    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
    try:
        await BodyLimitMiddleware(read, lambda _: 10)(scope, receive, None)
    except HTTPException as error:
        return error.status_code, len(taken)
    return None, len(taken)


def part(size, *, more):
    return {"type": "http.request", "body": b"x" * size, "more_body": more}


async def test_a_body_announced_too_large_is_not_read_at_all():
    announced = [(b"content-length", b"11")]
    assert await read_of(announced, part(11, more=False)) == (413, 0)


async def test_the_last_part_of_a_body_counts():
    assert await read_of([], part(11, more=False)) == (413, 1)
    assert await read_of([], part(6, more=True), part(5, more=False)) == (413, 2)
    assert await read_of([], part(5, more=True), part(5, more=False)) == (None, 2)


async def test_an_announcement_that_is_no_number_is_not_believed():
    for length in (b"-1", b"ten", b"\xb2", b""):
        headers = [(b"content-length", length)]
        assert await read_of(headers, part(11, more=False)) == (413, 1)


async def test_a_body_of_exactly_the_limit_is_taken(client):
    response = await client.post("/v1/raw", content=b"x" * BODY_BYTES, headers=bearer(KEY.text))
    assert response.json() == {"bytes": BODY_BYTES}


async def test_a_document_may_have_25_mebibytes(client):
    files = {"file": ("a.txt", b"x" * UPLOAD_BYTES)}
    response = await client.post("/v1/documents", files=files, headers=bearer(KEY.text))
    assert response.json() == {"bytes": UPLOAD_BYTES}
    files = {"file": ("a.txt", b"x" * (UPLOAD_BYTES + 64 * 1024))}
    response = await client.post("/v1/documents", files=files, headers=bearer(KEY.text))
    assert (response.status_code, response.headers["connection"]) == (413, "close")


@pytest.mark.parametrize(("path", "kind"), [("/v1/documents", FORM), ("/v1/raw", MULTIPART)])
async def test_only_an_upload_has_the_larger_limit(client, path, kind):
    headers = {**bearer(KEY.text), **kind}
    response = await client.post(path, content=b"x" * (BODY_BYTES + 1), headers=headers)
    assert response.status_code == 413
