"""Should something of another tenant turn up in a run, the run is killed and leaves nothing."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from langchain_core.messages import ToolMessage

from server.execution import RunRequest
from server.metrics import REGISTRY
from storage.queries import call, query
from tenancy.document import Passage
from tenancy.ids import DocumentId, PassageId, TenantId
from tenancy.principal import Role
from tests.http.speech import answer, ask, assert_problem, frames_of, kinds, messages, stream
from tests.storage.makers import principal
from tests.support.house import House
from tests.support.model_server import Reply
from tools.outcome import ToolOutcome, outcome_of

CANARY = "globexcanary"
GET_CHECKPOINT = call("get_checkpoint")
PROBLEM = {
    "type": "urn:tenantry:problem:isolation-breach",
    "title": "Stopped",
    "status": 500,
    "detail": "The request was stopped: a check of isolation failed.",
}
FOREIGN = Passage(
    TenantId("globex"), PassageId(uuid4()), DocumentId(uuid4()), CANARY, f"The {CANARY}.", 1.0
)


@pytest.fixture
async def acme(product: House) -> AsyncIterator[Any]:
    async with product.client("acme", "boss", Role.ADMIN) as client:
        yield client


def breaches(boundary: str) -> float:
    """How often the bell of a boundary has rung."""
    labels = {"boundary": boundary}
    return REGISTRY.get_sample_value("tenantry_isolation_breaches_total", labels) or 0


def leaking_index(product: House, patch: pytest.MonkeyPatch) -> None:
    """The database answers a search with another tenant's passage."""

    async def search(*_: object, **__: object) -> list[Passage]:
        return [FOREIGN]

    patch.setattr(type(product.services.documents), "search", search)


def leaking_search(product: House, patch: pytest.MonkeyPatch) -> None:
    """The port of the graph answers with another tenant's passage."""
    found = type("Found", (), {"passages": [FOREIGN]})()

    async def search(*_: object) -> object:
        return found

    patch.setattr(type(product.services.search), "search", search)


def leaking_tool(product: House, patch: pytest.MonkeyPatch) -> None:
    """A tool brings an artifact of another tenant."""
    product.model.script(Reply.tool_call("current_time"))

    async def invoke(_self: object, _tool: object, call: Any, *_: object) -> ToolMessage:
        artifact = {"rows": [{"tenant_id": "globex", "text": CANARY}]}
        return ToolMessage(CANARY, tool_call_id=call["id"], artifact=artifact)

    patch.setattr("tools.gate.Gate._invoke", invoke)


def leaking_checkpoint(product: House, patch: pytest.MonkeyPatch) -> None:
    """The database puts a checkpoint together with a row of another tenant."""
    cell = type(product.services.cells.first)
    honest = cell.call

    async def leaking(self: Any, statement: Any, *args: Any, **more: Any) -> Any:
        rows = await honest(self, statement, *args, **more)
        if statement is GET_CHECKPOINT:
            return [{**row, "tenant_ids": ["acme", "globex"]} for row in rows]
        return rows

    patch.setattr(cell, "call", leaking)


def leaking_state(product: House, patch: pytest.MonkeyPatch) -> None:
    """The memory of a thread says itself that it is another tenant's."""
    saver = type(product.services.threads._saver)
    honest = saver._load_checkpoint_tuple

    async def load(self: Any, row: Any) -> Any:
        memory = await honest(self, row)
        memory.checkpoint["channel_values"]["tenant_id"] = "globex"
        return memory

    patch.setattr(saver, "_load_checkpoint_tuple", load)


LEAKS = {
    "search": leaking_index,
    "retrieval": leaking_search,
    "tool": leaking_tool,
    "checkpoint": leaking_checkpoint,
    "state": leaking_state,
}
each_leak = pytest.mark.parametrize(("boundary", "leak"), LEAKS.items(), ids=list(LEAKS))


async def audited(client: Any, thread: str) -> list[tuple[str, str]]:
    """The actions of a thread's runs, with what they name, latest first."""
    items = (await client.get("/v1/audit?limit=200")).json()["items"]
    return [
        (item["action"], item["attributes"].get("boundary", ""))
        for item in items
        if item["thread_id"] == thread
    ]


def stored(product: House, thread: str) -> str:
    """Every byte that the database holds of a thread, as its tenant sees it."""
    pages = []
    with psycopg.connect(product.stores.app_url) as conn:
        conn.execute(query("enter").sql, product.stores.app.entry(TenantId("acme")))
        for table in ("threads", "checkpoints", "checkpoint_writes", "checkpoint_blobs"):
            statement = f"select * from tenantry.{table} where thread_id::text = %s"  # noqa: S608
            pages.append(repr(conn.execute(statement.encode(), [thread]).fetchall()))
    return "".join(pages)


@each_leak
async def test_a_breach_kills_the_run_and_quarantines_its_thread(
    product: House, acme: Any, monkeypatch: pytest.MonkeyPatch, boundary: str, leak: Any
) -> None:
    thread = (await answer(acme, "before"))["thread_id"]
    rung = breaches(boundary)
    with monkeypatch.context() as patch:
        leak(product, patch)
        stopped = await ask(acme, "unfortunate words", thread_id=thread)
    assert_problem(stopped, 500)
    assert stopped.json() == PROBLEM
    assert breaches(boundary) == rung + 1
    assert (await audited(acme, thread))[0] == ("isolation.breach", boundary)
    before, *answered = [said for _, said in await messages(acme, thread)]
    assert before == "before"
    assert len(answered) == 1
    left = stored(product, thread)
    assert "unfortunate words" not in left
    assert CANARY not in left
    asked = len(product.model.chat_requests)
    refused = await ask(acme, "and now?", thread_id=thread)
    assert_problem(refused, 409)
    assert refused.json()["type"] == "urn:tenantry:problem:thread-quarantined"
    assert len(product.model.chat_requests) == asked
    assert_problem(await acme.delete(f"/v1/threads/{thread}"), 409)
    assert_problem(await acme.post(f"/v1/threads/{thread}/copy"), 409)
    assert all(CANARY not in json.dumps(each) for each in product.model.chat_requests)


@each_leak
async def test_a_stream_with_a_breach_ends_in_one_error(
    product: House, acme: Any, monkeypatch: pytest.MonkeyPatch, boundary: str, leak: Any
) -> None:
    thread = (await answer(acme, "before"))["thread_id"]
    with monkeypatch.context() as patch:
        leak(product, patch)
        response = await ask(acme, "and then?", thread_id=thread, stream=True)
    if response.status_code == 200:
        frames = frames_of(response.text)
        assert [frame.payload for frame in frames if frame.kind == "error"] == [PROBLEM]
        assert kinds(frames)[-1] == "error"
        assert "done" not in kinds(frames)
    else:
        assert response.json() == PROBLEM
    assert "globex" not in response.text


async def test_what_was_not_sent_before_a_breach_never_is(
    product: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = principal(subject="late reader")
    with monkeypatch.context() as patch:
        leaking_tool(product, patch)
        live = await product.services.runner.start(who, RunRequest("read me late", stream=True))
        await live.events.ended.wait()
    assert [event.kind async for event in live.events] == ["error"]


async def test_a_new_thread_with_a_breach_keeps_nothing_but_its_row(
    product: House, acme: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        leaking_tool(product, patch)
        assert_problem(await ask(acme, "unfortunate words"), 500)
    [latest, *_] = (await acme.get("/v1/audit")).json()["items"]
    assert latest["action"] == "isolation.breach"
    assert latest["outcome"] == "failed"
    left = stored(product, latest["thread_id"])
    assert "unfortunate words" not in left
    run = (await acme.get(f"/v1/runs/{latest['run_id']}")).json()
    assert run["status"] == "error"
    assert run["usage"]["input_tokens"] > 0  # the model was asked once, and that is owed


async def test_an_operator_releases_a_thread(
    product: House, acme: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = (await answer(acme, "before"))["thread_id"]
    with monkeypatch.context() as patch:
        leaking_index(product, patch)
        assert (await ask(acme, "lost", thread_id=thread)).status_code == 500
    command = [sys.executable, "-m", "server.cli", "thread", "release", thread, "--tenant", "acme"]
    environment = {
        **os.environ,
        "DATABASE_URL": product.stores.app_url,
        "REDIS_URL": product.stores.redis_url,
        "TENANTRY_SEAL_KEY": product.stores.seal_key.text,
        "TENANTRY_DATA_DIR": str(product.settings.data_dir),
    }
    run = subprocess.run
    released = await asyncio.to_thread(run, command, env=environment, capture_output=True)
    assert released.returncode == 0, released.stderr
    again = await asyncio.to_thread(run, command, env=environment, capture_output=True)
    assert again.returncode == 1
    await answer(acme, "after", thread_id=thread)
    assert [said for role, said in await messages(acme, thread) if role == "user"] == [
        "before",
        "after",
    ]
    assert ("thread.release", "") in await audited(acme, thread)


async def test_a_search_outside_a_run_is_stopped_and_recorded(
    product: House, acme: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung = breaches("search")
    with monkeypatch.context() as patch:
        leaking_index(product, patch)
        stopped = await acme.post("/v1/search", json={"query": "anything"})
    assert stopped.json() == PROBLEM
    assert breaches("search") == rung + 1
    [latest, *_] = (await acme.get("/v1/audit")).json()["items"]
    assert (latest["action"], latest["resource"]) == ("isolation.breach", "POST /v1/search")
    assert "globex" not in json.dumps(latest)


async def test_reading_a_thread_with_a_foreign_row_is_stopped(
    product: House, acme: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = (await answer(acme, "mine"))["thread_id"]
    with monkeypatch.context() as patch:
        leaking_checkpoint(product, patch)
        assert (await acme.get(f"/v1/threads/{thread}")).json() == PROBLEM


async def test_a_breach_in_one_tool_ends_the_calls_beside_it(
    product: House, acme: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = asyncio.Event()
    product.model.script(
        Reply.tool_calls(("current_time", {}), ("search_documents", {"query": "x"}))
    )

    async def run(_self: object, call: Any, *_: object, **__: object) -> ToolOutcome:
        if call["name"] == "current_time":
            try:
                await asyncio.sleep(60)
            finally:
                ended.set()
        said = ToolMessage("", tool_call_id=call["id"], artifact=[FOREIGN])
        return outcome_of(call, said, TenantId("acme"))

    with monkeypatch.context() as patch:
        patch.setattr("tools.gate.Gate.run", run)
        assert (await ask(acme, "both")).status_code == 500
    assert ended.is_set()


async def test_nothing_of_this_touches_an_honest_run(product: House, acme: Any) -> None:
    product.model.script(Reply.tool_call("search_documents", {"query": "x"}))
    assert kinds(await stream(acme, "honest"))[-1] == "done"
