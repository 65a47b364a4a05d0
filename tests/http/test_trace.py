"""What a run leaves behind: usage, audit and log lines, and never a word of what was said."""

import io
import logging
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from uuid import UUID, uuid5

import orjson
import psycopg
import pytest
import structlog

from server import logs
from storage.queries import query
from tenancy.ids import TenantId
from tenancy.principal import Role
from tenancy.usage import NAMESPACE, Meter, usage_event_id
from tests.http.speech import admin_of, answer, ask, assert_problem, audit, decide, frames_of
from tests.support.house import House
from tests.support.model_server import Reply

AUDIT = {
    "event_id",
    "actor",
    "subject",
    "action",
    "resource",
    "outcome",
    "run_id",
    "thread_id",
    "attributes",
    "created_at",
}


def usage_rows(product: House, tenant: str, run_id: str) -> dict[UUID, tuple[str, int, str]]:
    """The usage events of a run, as they are stored."""
    with psycopg.connect(product.stores.app_url) as conn:
        conn.execute(query("enter").sql, product.stores.app.entry(TenantId(tenant)))
        rows = conn.execute(
            "select event_id, meter, quantity, model from tenantry.usage_events where run_id = %s",
            [run_id],
        ).fetchall()
    return {event_id: (meter, quantity, model) for event_id, meter, quantity, model in rows}


async def test_usage_events_have_ids_that_follow_from_the_run(product: House) -> None:
    tenant = await product.new_tenant("traced")
    product.model.script(
        Reply.tool_call("current_time", usage=(11, 3)), Reply.text("x", usage=(17, 5))
    )
    async with product.client(tenant) as client:
        run_id = (await answer(client, "Time?"))["run_id"]
    run = UUID(run_id)
    found = usage_rows(product, tenant, run_id)
    expected = {
        usage_event_id(run, Meter.INPUT_TOKENS, "call/0"): ("input_tokens", 11, "scripted"),
        usage_event_id(run, Meter.OUTPUT_TOKENS, "call/0"): ("output_tokens", 3, "scripted"),
        usage_event_id(run, Meter.INPUT_TOKENS, "call/1"): ("input_tokens", 17, "scripted"),
        usage_event_id(run, Meter.OUTPUT_TOKENS, "call/1"): ("output_tokens", 5, "scripted"),
        usage_event_id(run, Meter.RUNS, "run"): ("runs", 1, ""),
    }
    assert expected.items() <= found.items()
    rest = Counter(found[event_id][0] for event_id in found.keys() - expected.keys())
    assert rest == {"tool_calls": 1, "embedding_tokens": 1}


async def test_every_run_leaves_an_audit_of_who_did_what(product: House) -> None:
    tenant = await product.new_tenant("audited")
    product.model.script(Reply.tool_calls(("current_time", {}), ("no_such_tool", {})))
    async with product.client(tenant, "ann") as client:
        said = await answer(client, "Time?")
    trail = await audit(product, tenant)
    assert all(set(event) == AUDIT for event in trail)
    assert [(e["action"], e["resource"], e["outcome"]) for e in trail[::-1]] == [
        ("tool.run", "current_time", "allowed"),
        ("tool.run", "no_such_tool", "refused"),
        ("run.finish", "", "allowed"),
    ]
    for number, event in enumerate(trail[::-1], start=1):
        assert event["event_id"] == str(uuid5(NAMESPACE, f"{said['run_id']}/audit/{number}"))
        assert (event["run_id"], event["thread_id"]) == (said["run_id"], said["thread_id"])
        assert event["subject"] == "ann"
        assert event["actor"].startswith("issuer:")
        assert datetime.fromisoformat(event["created_at"]).tzinfo


async def test_a_decision_of_a_person_is_audited(product: House) -> None:
    tenant = await product.new_tenant("decided")
    async with admin_of(product) as admin:
        admin.configure_tool(tenant, "current_time", {"require_approval": "true"})
    product.model.script(Reply.tool_call("current_time"))
    async with product.client(tenant) as client:
        said = await answer(client)
        await decide(client, said["thread_id"], {"type": "reject"})
    trail = [(e["action"], e["outcome"]) for e in await audit(product, tenant)]
    assert trail[:2] == [("run.finish", "allowed"), ("tool.run", "refused")]


async def test_usage_is_asked_for_a_span_of_time(product: House) -> None:
    tenant = await product.new_tenant("spans")
    async with product.client(tenant, "boss", Role.ADMIN) as boss:
        await answer(boss)
        now = datetime.now(UTC)
        spans = {
            "all": {},
            "around": {"from": now - timedelta(minutes=5), "to": now + timedelta(minutes=5)},
            "before": {"to": now - timedelta(minutes=5), "from": now - timedelta(minutes=9)},
        }
        found = {}
        for name, span in spans.items():
            query = {key: time.isoformat() for key, time in span.items()}
            body = (await boss.get("/v1/usage", params=query)).json()
            assert set(body) == {"from", "to", "meters", "currency"}
            assert all(set(row) == {"meter", "model", "quantity", "cost"} for row in body["meters"])
            found[name] = {row["meter"]: row["quantity"] for row in body["meters"]}
    assert found["all"] == found["around"]
    assert found["all"]["input_tokens"] == 120
    assert found["before"] == {}


async def test_the_trail_is_the_tenants_own(product: House) -> None:
    async with product.client("acme") as acme:
        said = await answer(acme)
    assert said["run_id"] in str(await audit(product, "acme"))
    assert said["run_id"] not in str(await audit(product, "globex"))
    async with product.client("acme") as member:
        assert_problem(await member.get("/v1/audit"), 403)
        assert_problem(await member.get("/v1/usage"), 403)


@pytest.fixture
def log_lines() -> Iterator[io.BytesIO]:
    """The lines that the product logs, as it is configured to log them."""
    before, handlers = structlog.get_config(), logging.root.handlers[:]
    level, sink = logging.root.level, io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs.sys, "stderr", SimpleNamespace(buffer=sink))
        logs.configure_logs(logging.DEBUG)
    structlog.configure(cache_logger_on_first_use=False)
    yield sink
    structlog.configure(**before)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


async def test_logs_name_the_run_and_never_what_was_said(
    product: House, log_lines: io.BytesIO
) -> None:
    product.model.script(
        Reply.tool_calls(
            ("search_documents", {"query": "canary-arguments"}),
            ("current_time", {"timezone": "canary-zone"}),
            ("current_time", '{"canary-broken'),
        ),
        Reply.text("canary-answer"),
        Reply.raw(500, '{"error": {"message": "canary-endpoint"}}'),
        Reply.raw(200, '{"canary-nonsense": 1}'),
        Reply.raw(
            200,
            '{"choices": [{"message": {"tool_calls": [{"id": "1", "function": '
            '{"name": "current_time", "arguments": "\\"canary-odd\\""}}]}}]}',
        ),
    )
    async with product.client("acme", "canary-subject@example.com", Role.ADMIN) as acme:
        said = await answer(acme, "canary-message", key="canary-idempotency")
        for number in range(3):
            response = await ask(acme, f"canary-message-{number}", stream=number == 1)
            if response.status_code == 200:
                assert frames_of(response.text)[-1].kind == "error"
            else:
                assert response.status_code in {500, 502}
        upload = {"file": ("canary-file.md", b"# canary-title\n\ncanary-text")}
        assert (await acme.post("/v1/documents", files=upload)).status_code == 201
        assert (await acme.post("/v1/search", json={"query": "canary-query"})).status_code == 200
        key = (await acme.post("/v1/keys", json={"subject": "canary-robot"})).json()["key"]
        assert_problem(await ask(acme, "", canary_field="canary-value"), 422)
        token = acme.headers["authorization"].removeprefix("Bearer ")
        for bad in (token[:-4] + "AAAA", key[:-2] + "zz", "canary-nonsense"):
            headers = {"authorization": f"Bearer {bad}"}
            assert_problem(await acme.get("/v1/threads", headers=headers), 401)
    text = log_lines.getvalue()
    assert b"canary" not in text
    assert token.encode() not in text
    assert token.split(".")[1].encode() not in text
    assert key.encode() not in text
    lines = [orjson.loads(line) for line in text.splitlines()]
    finished = [line for line in lines if line.get("run_id") == said["run_id"]]
    assert [line["event"] for line in finished] == ["run_finished"]
    for line in finished:
        assert (line["tenant_id"], line["thread_id"]) == ("acme", said["thread_id"])
        assert line["level"]
        assert line["at"]
