"""What the tests of this folder say to the product, and how they read its answers."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import jwt

from storage.control import Control, control
from tenancy.principal import Role
from tests.support.house import House
from tests.support.waiting import until

Json = dict[str, Any]
ANSWER = {"run_id", "thread_id", "answer", "citations", "usage", "model"}
ENDS = {"done", "error"}
LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class Frame:
    """One server-sent event."""

    id: str
    kind: str
    payload: Json


def frames_of(body: str) -> list[Frame]:
    """Every event of a stream, read by the rules of WHATWG HTML 9.2.6; nothing may be left over."""
    frames, fields = [], {}
    *lines, rest = LINE_END.split(body)
    assert rest == ""
    for line in lines:
        if line:
            name, colon, value = line.partition(":")
            assert colon
            assert name in {"id", "event", "data"}
            assert name not in fields
            fields[name] = value.removeprefix(" ")
        else:
            frames.append(Frame(fields["id"], fields["event"], json.loads(fields["data"])))
            fields = {}
    assert fields == {}
    return frames


def kinds(frames: list[Frame]) -> list[str]:
    """The kinds of the events, those that repeat once."""
    said = [frame.kind for frame in frames]
    return [kind for index, kind in enumerate(said) if index == 0 or said[index - 1] != kind]


def text_of(frames: list[Frame]) -> str:
    """What the tokens spell."""
    return "".join(frame.payload["text"] for frame in frames if frame.kind == "token")


async def ask(
    client: httpx.AsyncClient, message: str = "Hi", *, key: str | None = None, **more: Any
) -> httpx.Response:
    """One turn, answered in one document; `key` is its Idempotency-Key."""
    headers = {} if key is None else {"Idempotency-Key": key}
    return await client.post("/v1/chat", json={"message": message, **more}, headers=headers)


async def answer(client: httpx.AsyncClient, message: str = "Hi", **more: Any) -> Json:
    """The answer of a turn that must succeed."""
    response = await ask(client, message, **more)
    assert response.status_code == 200, response.text
    found: Json = response.json()
    return found


async def stream(client: httpx.AsyncClient, message: str = "Hi", **more: Any) -> list[Frame]:
    """One turn, as events."""
    response = await ask(client, message, stream=True, **more)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    return frames_of(response.text)


async def decide(client: httpx.AsyncClient, thread: str, *decisions: Json, **more: Any) -> Any:
    """The answer to what a thread was interrupted for."""
    body = {"thread_id": thread, "resume": {"decisions": list(decisions)}, **more}
    return await client.post("/v1/chat", json=body)


async def messages(client: httpx.AsyncClient, thread: str) -> list[tuple[str, str]]:
    """Who said what in a thread."""
    said = (await client.get(f"/v1/threads/{thread}")).json()["messages"]
    return [(message["role"], message["content"]) for message in said]


def assert_problem(
    response: httpx.Response, status: int, field: str | None = None, says: str = ""
) -> Json:
    """Exactly a problem document of CONTRACT; with `field`, one of a request that names it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: Json = response.json()
    assert_document(problem, status)
    if field is not None:
        assert field in [error["field"] for error in problem["errors"]], problem
    assert says in response.text
    if status == 401:
        assert response.headers["www-authenticate"] == "Bearer"
    if status in {429, 503}:
        assert int(response.headers["retry-after"]) >= 1
    return problem


def assert_document(problem: Mapping[str, Any], status: int) -> None:
    """The members of a problem document, in a response or in a stream."""
    members = {"type", "title", "status", "detail"}
    assert set(problem) == members | ({"errors"} if status == 422 else set())
    assert problem["status"] == status
    assert all(isinstance(problem[name], str) and problem[name] for name in members - {"status"})
    for error in problem.get("errors", []):
        assert set(error) == {"field", "message"}


async def audit(product: House, tenant: str) -> list[Json]:
    """The tenant's whole audit, latest first."""
    found: list[Json] = []
    query: dict[str, Any] = {"limit": 200}
    async with product.client(tenant, "auditor", Role.ADMIN) as admin:
        while True:
            page = (await admin.get("/v1/audit", params=query)).json()
            found += page["items"]
            if page["next_cursor"] is None:
                return found
            query["cursor"] = page["next_cursor"]


async def usage(product: House, tenant: str) -> dict[str, int]:
    """What the tenant used in all, by meter."""
    async with product.client(tenant, "auditor", Role.ADMIN) as admin:
        meters = (await admin.get("/v1/usage")).json()["meters"]
    total: dict[str, int] = {}
    for row in meters:
        total[row["meter"]] = total.get(row["meter"], 0) + row["quantity"]
    return total


async def quota(client: httpx.AsyncClient) -> dict[str, Json]:
    """Where the tenant stands, by meter and period."""
    items = (await client.get("/v1/quota")).json()["items"]
    return {f"{item['meter']} {item['period']}".strip(): item for item in items}


def tools_shown(request: Mapping[str, Any]) -> list[str]:
    """The names of the tools that a model call offered."""
    return [tool["function"]["name"] for tool in request.get("tools", [])]


async def eventually(check: Callable[[], Awaitable[Any]], seconds: float = 2.0) -> None:
    """Return once `check` is true; raises `TimeoutError` when it is not within `seconds`."""
    await until(check, seconds)


@asynccontextmanager
async def admin_of(product: House) -> AsyncIterator[Control]:
    """The control database, as an operator's terminal changes it."""
    with control(product.stores.owner()) as admin:
        yield admin


def later(product: House, tenant: str, subject: str, role: Role = Role.MEMBER) -> str:
    """A token of the next second, as one's issuer gives after a revocation."""
    claims = jwt.decode(product.token(tenant, subject, role), options={"verify_signature": False})
    claims |= {"iat": claims["iat"] + 2}
    kid = product.issuer._key_id
    return jwt.encode(claims, product.issuer._key, "HS256", headers={"kid": kid})
