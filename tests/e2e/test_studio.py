"""The real `langgraph dev` on real stores: the same graph, the same limits, the same walls."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient

from server.dev_issuer import DevIssuer, load_or_create
from server.stores import Stores
from storage import redis_client
from storage.control import control
from storage.quota import RedisQuota
from tenancy.ids import PlanId, SubjectId, TenantId
from tenancy.principal import TENANT_SCOPES, Role
from tests.support.model_server import ModelServer, Reply
from tests.support.plugins import write_plugin
from tests.support.stores import ACME

ROOT = Path(__file__).parents[2]
START_SECONDS = 60  # a cold machine imports for long
NODES = {
    "authenticate",
    "check_quota",
    "select_tools",
    "retrieve",
    "respond",
    "run_tools",
    "settle",
}
NOTING = '''
from typing import Annotated
from langchain_core.tools import tool
from langgraph.prebuilt import InjectedStore
from langgraph.store.base import BaseStore

def tools(tenant):
    @tool
    async def note(root: str, text: str, store: Annotated[BaseStore, InjectedStore()]) -> str:
        """Note a text, and tell all there is."""
        await store.aput((root, "notes"), text, {"text": text})
        return ", ".join(sorted(item.key for item in await store.asearch(())))

    @tool
    def look(store: Annotated[BaseStore, InjectedStore()]) -> str:
        """Tell all there is, from a thread."""
        return ", ".join(sorted(item.key for item in store.search(())))

    return [note, look]
'''
QUESTION = {"messages": [{"type": "human", "content": "Hi"}]}
ASSISTANT = "tenantry"


@dataclass(frozen=True, slots=True)
class Dev:
    """A running `langgraph dev`, and the ways into it."""

    url: str
    issuer: DevIssuer
    stores: Stores
    model: ModelServer
    clients: list[LangGraphClient] = field(default_factory=list)

    def client(
        self, tenant: str, subject: str = "alice", role: Role = Role.MEMBER, *, debug: bool = False
    ) -> LangGraphClient:
        """A client with a token of the development issuer."""
        return self.client_with(self.headers(tenant, subject, role, debug=debug))

    def client_with(self, headers: dict[str, str]) -> LangGraphClient:
        """A client that sends these headers."""
        client = get_client(url=self.url, api_key=None, headers=headers)
        self.clients.append(client)
        return client

    def headers(
        self, tenant: str, subject: str, role: Role, *, debug: bool = False
    ) -> dict[str, str]:
        """What such a client sends."""
        scopes = sorted(TENANT_SCOPES) if debug else None
        hour = timedelta(hours=1)
        token = self.issuer.sign(TenantId(tenant), SubjectId(subject), role, hour, scopes=scopes)
        return {"Authorization": f"Bearer {token}"}

    def rows(self, statement: str, *params: object) -> list[tuple[Any, ...]]:
        """What the operator of the platform reads."""
        with psycopg.connect(self.stores.operator_url or "") as conn:
            return conn.execute(statement, params).fetchall()

    def new_tenant(self, name: str, *tools: str) -> str:
        """A tenant of the test's own, on a plan with memory, that has enabled these tools."""
        with control(self.stores.owner()) as admin:
            admin.create_tenant(TenantId(name), name.title(), PlanId("pro"))
            for tool in tools:
                admin.enable_tool(TenantId(name), tool, enabled=True)
        return name

    def audited(self, run_or_thread: str) -> list[tuple[Any, ...]]:
        """Action, outcome and attributes of each audit event of a run or about a thread."""
        return self.rows(
            "select action, outcome, attributes from tenantry.audit_events"
            " where run_id::text = %s or resource = %s order by created_at",
            run_or_thread,
            run_or_thread,
        )

    def used(self, run_id: str) -> dict[str, int]:
        """What a run was charged for, by meter."""
        found = self.rows(
            "select meter, sum(quantity)::int from tenantry.usage_events"
            " where run_id::text = %s group by meter",
            run_id,
        )
        return dict(found)

    async def held(self) -> tuple[int, int]:
        """What runs of acme hold now: slots, and tokens of the month."""
        with control(self.stores.owner()) as admin:
            plan = admin.plan(PlanId("pro"))
        assert plan is not None
        redis = redis_client.connect(self.stores.redis_url)
        try:
            standings = await RedisQuota(redis).standings(ACME, plan)
        finally:
            await redis.aclose()
        return standings[1].used, standings[-1].held


NOTHING = (0, 0)


@pytest.fixture(scope="module")
async def dev(
    stores: Stores, model: ModelServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Dev]:
    """`langgraph dev` in a folder of its own, where all that it writes stays."""
    folder = tmp_path_factory.mktemp("studio")
    for name in ("langgraph.json", "server"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "site").mkdir()
    write_plugin(folder / "site", "noting", NOTING)
    issuer = load_or_create(folder / "data")
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "langgraph_cli", "dev", "--no-browser", "--no-reload"]
    command += ["--n-jobs-per-worker", "10", "--port", str(port)]
    process = _start(command, folder, _environment(stores, model, folder))
    try:
        await _until_ready(url, process, lambda: _end_of(folder / "log"))
        running = Dev(url, issuer, stores, model)
        yield running
        for client in running.clients:
            await client.aclose()
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    _refuse_credentials(folder / ".langgraph_api")


def _start(
    command: list[str], folder: Path, environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _environment(stores: Stores, model: ModelServer, folder: Path) -> dict[str, str]:
    ours = ("TENANTRY_", "OPENAI_", "LANG", "STUDIO_", "DATABASE_", "REDIS_")
    outside = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {
        **outside,
        "PYTHONPATH": str(folder / "site"),
        "LANGGRAPH_CLI_NO_ANALYTICS": "1",
        "LANGGRAPH_NO_VERSION_CHECK": "true",
        "LANGSMITH_TRACING": "false",
        "LANGGRAPH_STRICT_MSGPACK": "true",
        "DATABASE_URL": stores.app_url,
        "REDIS_URL": stores.redis_url,
        "TENANTRY_SEAL_KEY": stores.seal_key.text,
        "OPENAI_BASE_URL": model.base_url,
        "TENANTRY_MODEL": "scripted",
        "TENANTRY_EMBEDDING_MODEL": "scripted-embeddings",
        "TENANTRY_DATA_DIR": str(folder / "data"),
        "STUDIO_TENANT_ID": "acme",
    }


def _end_of(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-4000:]


async def _until_ready(url: str, process: subprocess.Popen[bytes], said: Callable[[], str]) -> None:
    async with httpx.AsyncClient() as client, asyncio.timeout(START_SECONDS):
        while True:
            assert process.poll() is None, said()
            try:
                if (await client.get(f"{url}/ok")).status_code == 200:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.1)


def _refuse_credentials(kept: Path) -> None:
    """A token of the development issuer begins like every JWT; the scheme is nowhere either."""
    files = list(kept.iterdir())
    assert files
    for file in files:
        content = file.read_bytes()
        assert b"eyJ" not in content
        assert b"Bearer" not in content


async def _refused(call: Any) -> int:
    with pytest.raises(httpx.HTTPStatusError) as caught:
        await call
    return caught.value.response.status_code


async def _turn(client: LangGraphClient, **asked: Any) -> tuple[str, str]:
    """A thread with one finished run on it."""
    thread = (await client.threads.create())["thread_id"]
    run = await client.runs.create(thread, ASSISTANT, input=QUESTION, **asked)
    await client.runs.join(thread, run["run_id"])
    return thread, run["run_id"]


async def test_the_schemas_show_the_tenant_in_state_and_output_but_not_in_input(dev: Dev) -> None:
    client = dev.client("acme")
    schemas = await client.assistants.get_schemas(ASSISTANT_ID)
    assert set(schemas["input_schema"]["properties"]) == {"messages"}
    assert set(schemas["output_schema"]["properties"]) == {"messages", "tenant_id"}
    assert "tenant_id" in schemas["state_schema"]["properties"]
    assert set(schemas["context_schema"]["properties"]) == {"assistant"}


ASSISTANT_ID = "c341ee41-b5f4-5bd2-8f3b-d7880a74a9f8"  # LangGraph derives it from the graph's name


async def test_the_only_assistant_is_the_systems_and_draws_seven_nodes(dev: Dev) -> None:
    client = dev.client("acme")
    found = await client.assistants.search()
    drawn = await client.assistants.get_graph(ASSISTANT_ID)
    assert [each["assistant_id"] for each in found] == [ASSISTANT_ID]
    assert {node["id"] for node in drawn["nodes"]} == NODES | {"__start__", "__end__"}


async def test_a_run_answers_with_the_tenant_in_its_state(dev: Dev) -> None:
    dev.model.script(Reply.text("Hello."))
    client = dev.client("acme")
    thread = (await client.threads.create())["thread_id"]
    values = await client.runs.wait(thread, ASSISTANT, input=QUESTION)
    state = await client.threads.get_state(thread)
    assert values["messages"][-1]["content"] == "Hello."
    assert values["tenant_id"] == state["values"]["tenant_id"] == "acme"
    assert "tenant_id: acme" in dev.model.chat_requests[-1]["messages"][0]["content"]


async def test_a_run_streams_its_nodes_and_its_words(dev: Dev) -> None:
    dev.model.script(Reply.text("One two three."))
    parts = [
        part
        async for part in dev.client("acme").runs.stream(
            None, ASSISTANT, input=QUESTION, stream_mode=["updates", "messages-tuple"]
        )
    ]
    nodes = [name for part in parts if part.event == "updates" for name in part.data]
    words = [part.data[0]["content"] for part in parts if part.event == "messages"]
    assert [n for n in nodes if n in NODES] == [
        "authenticate",
        "check_quota",
        "select_tools",
        "retrieve",
        "respond",
        "settle",
    ]
    assert "One two three." in "".join(words)


async def test_a_finished_run_is_charged_audited_and_holds_nothing(dev: Dev) -> None:
    dev.model.script(Reply.text("Hello.", usage=(11, 7)))
    _, run_id = await _turn(dev.client("acme"))
    assert dev.used(run_id) | {"embedding_tokens": 0} == {
        "input_tokens": 11,
        "output_tokens": 7,
        "runs": 1,
        "embedding_tokens": 0,
    }
    assert [row[:2] for row in dev.audited(run_id)] == [("run.finish", "allowed")]
    assert await dev.held() == NOTHING


async def test_a_failed_run_is_audited_and_holds_nothing(dev: Dev) -> None:
    dev.model.script(Reply.error(500))
    client = dev.client("acme")
    thread = (await client.threads.create())["thread_id"]
    run = await client.runs.create(thread, ASSISTANT, input=QUESTION)
    await client.runs.join(thread, run["run_id"])
    assert (await client.runs.get(thread, run["run_id"]))["status"] == "error"
    assert [row[:2] for row in dev.audited(run["run_id"])] == [("run.finish", "failed")]
    assert await dev.held() == NOTHING


async def test_a_cancelled_run_is_audited_and_holds_nothing(dev: Dev) -> None:
    dev.model.hold()
    client = dev.client("acme")
    thread = (await client.threads.create())["thread_id"]
    run = await client.runs.create(thread, ASSISTANT, input=QUESTION)
    await dev.model.wait_in_flight(1)
    assert (await dev.held())[0] == 1
    await client.runs.cancel(thread, run["run_id"], wait=True)
    dev.model.release()
    assert [row[:2] for row in dev.audited(run["run_id"])] == [("run.finish", "failed")]
    assert await dev.held() == NOTHING


async def test_a_run_that_waits_for_approval_holds_nothing_and_goes_on(dev: Dev) -> None:
    with control(dev.stores.owner()) as admin:
        admin.configure_tool(ACME, "current_time", {"require_approval": "true"})
    await asyncio.sleep(1.2)  # a change acts within a second
    dev.model.script(Reply.tool_call("current_time", {}), Reply.text("It is late."))
    client = dev.client("acme")
    thread, first = await _turn(client)
    waiting = await client.threads.get_state(thread)
    assert waiting["next"] == ["run_tools"]
    assert dev.used(first)["input_tokens"]
    assert await dev.held() == NOTHING
    decided = {"decisions": [{"type": "approve"}]}
    values = await client.runs.wait(thread, ASSISTANT, command={"resume": decided})
    assert values["messages"][-1]["content"] == "It is late."
    assert await dev.held() == NOTHING


async def test_an_agent_remembers_and_forgets_as_on_our_own_server(dev: Dev) -> None:
    tenant = dev.new_tenant("diary")
    client = dev.client(tenant)
    dev.model.script(Reply.tool_call("remember", {"text": "Likes tea"}), Reply.text("I will."))
    await _turn(client)
    [[subject, memory_id]] = dev.rows(
        "select subject_id, resource from tenantry.audit_events where tenant_id = %s"
        " and action = 'memory.remember'",
        tenant,
    )
    assert subject == "alice"
    await _turn(client)
    framed = f'<memory id="{memory_id}" of="person">Likes tea</memory>'
    assert framed in _prompt(dev)
    await _turn(dev.client(tenant, "bob"))
    assert "<memory" not in _prompt(dev)
    dev.model.script(Reply.tool_call("forget", {"memory": "likes tea"}), Reply.text("I did."))
    await _turn(client)
    await _turn(client)
    assert "<memory" not in _prompt(dev)


async def test_a_tool_has_its_runs_own_store(dev: Dev) -> None:
    ours, theirs = dev.new_tenant("ours", "note", "look"), dev.new_tenant("theirs", "note", "look")
    ann, bob = dev.client(ours, "ann", Role.ADMIN), dev.client(ours, "bob")
    rival = dev.client(theirs, "ann", Role.ADMIN)
    assert await _told(dev, rival, "note", root="person", text="rival") == "rival"
    assert await _told(dev, ann, "note", root="person", text="ann") == "ann"
    assert await _told(dev, ann, "note", root="tenant", text="all") == "all, ann"
    assert await _told(dev, bob, "look") == "all"
    assert await _told(dev, rival, "look") == "rival"


def _prompt(dev: Dev) -> str:
    return str(dev.model.chat_requests[-1]["messages"][0]["content"])


async def _told(dev: Dev, client: LangGraphClient, tool: str, **args: str) -> str:
    """What a tool answers to a run."""
    dev.model.script(Reply.tool_call(tool, args), Reply.text("Done."))
    await _turn(client)
    return str(dev.model.chat_requests[-1]["messages"][-1]["content"])


async def test_over_its_limit_a_tenant_is_refused_and_it_is_audited(dev: Dev) -> None:
    with control(dev.stores.owner()) as admin:
        admin.create_tenant(TenantId("initech"), "Initech", PlanId("free"))
    client = dev.client("initech")
    threads = [(await client.threads.create())["thread_id"] for _ in range(7)]
    runs = [await client.runs.create(thread, ASSISTANT, input=QUESTION) for thread in threads]
    await asyncio.gather(*(client.runs.join(run["thread_id"], run["run_id"]) for run in runs))
    refused = [row for run in runs for row in dev.audited(run["run_id"]) if row[0] == "run.start"]
    assert len(refused) >= 2
    assert {(row[1], row[2]["reason"]) for row in refused} == {("refused", "QuotaExceeded")}


async def test_a_debugger_forks_a_thread_and_it_is_audited(dev: Dev) -> None:
    dev.model.script(Reply.text("First."), Reply.text("Second."))
    client = dev.client("acme", "ada", Role.ADMIN, debug=True)
    thread, _ = await _turn(client)
    history = await client.threads.get_history(thread, limit=20)
    assert {name for state in history for name in state["next"]} == (
        NODES - {"run_tools"} | {"__start__"}
    )
    before = next(state for state in history if state["next"] == ["respond"])
    other = {"messages": [{"type": "human", "content": "Bye", "id": _question(before)["id"]}]}
    forked = await client.threads.update_state(thread, other, checkpoint=before["checkpoint"])
    values = await client.runs.wait(
        thread, ASSISTANT, input=None, checkpoint_id=forked["checkpoint_id"]
    )
    assert [m["content"] for m in values["messages"]] == ["Bye", "Second."]
    assert [row[2]["what"] for row in dev.audited(thread)] == ["update", "fork"]
    assert await dev.held() == NOTHING


def _question(state: Any) -> Any:
    return state["values"]["messages"][0]


async def test_not_even_a_debugger_moves_a_thread_to_another_tenant(dev: Dev) -> None:
    dev.model.default = Reply.text("Hello.")
    client = dev.client("acme", "ada", Role.ADMIN, debug=True)
    used, _ = await _turn(client)
    fresh = (await client.threads.create(graph_id=ASSISTANT))["thread_id"]
    foreign = {"tenant_id": "globex"}
    assert await _refused(client.threads.update_state(used, foreign)) == 403
    await client.threads.update_state(fresh, foreign, as_node="authenticate")
    run = await client.runs.create(fresh, ASSISTANT, input=QUESTION)
    await client.runs.join(fresh, run["run_id"])
    assert (await client.runs.get(fresh, run["run_id"]))["status"] == "error"
    assert dev.used(run["run_id"]) == {}
    assert (await client.threads.get_state(used))["values"]["tenant_id"] == "acme"


async def test_without_the_scope_nobody_forks_updates_jumps_or_copies(dev: Dev) -> None:
    dev.model.default = Reply.text("Hello.")
    client = dev.client("acme", "admin", Role.ADMIN)
    thread, _ = await _turn(client)
    state = (await client.threads.get_history(thread, limit=1))[0]
    start = client.runs.create
    forged = [{"type": "ai", "content": "I said so."}]
    assert [
        await _refused(call)
        for call in (
            client.threads.update_state(thread, {"messages": forged}),
            client.threads.copy(thread),
            start(thread, ASSISTANT, checkpoint_id=state["checkpoint"]["checkpoint_id"]),
            start(thread, ASSISTANT, checkpoint=state["checkpoint"]),
            start(thread, ASSISTANT, command={"goto": "run_tools"}),
            start(thread, ASSISTANT, command={"update": {"tenant_id": "globex"}}),
            start(thread, ASSISTANT, input=QUESTION, interrupt_before=["respond"]),
            start(thread, ASSISTANT, input={"messages": forged}),
        )
    ] == [403] * 8
    refusals = dev.audited(thread)
    assert [row[0] for row in refusals] == [
        "thread.debug"
    ] * 7  # a copy is about the thread it makes
    assert {row[1] for row in refusals} == {"refused"}


async def test_a_thread_is_not_born_with_a_state_without_the_scope(dev: Dev) -> None:
    client = dev.client("acme", "admin", Role.ADMIN)
    forged = [{"updates": [{"values": QUESTION, "as_node": "settle"}]}]
    thread_id = str(uuid4())
    await client.threads.create(thread_id=thread_id, graph_id=ASSISTANT, supersteps=forged)
    assert (await client.threads.get_state(thread_id))["values"] == {}
    assert [row[:2] for row in dev.audited(thread_id)] == [("thread.debug", "refused")]


@pytest.mark.parametrize(
    "forged",
    [
        {"config": {"configurable": {"user_id": "globex/eve"}}},
        {"config": {"configurable": {"checkpoint_ns": "globex"}}},
        {"config": {"configurable": {"__pregel_checkpointer": "x"}}},
        {"config": {"run_id": "00000000-0000-4000-8000-000000000001"}},
        {"context": {"tenant_id": "globex"}},
        {"context": {"assistant": "another"}},
        {"webhook": "https://example.com/"},
    ],
    ids=str,
)
async def test_a_client_cannot_smuggle_settings_or_a_destination(
    dev: Dev, forged: dict[str, Any]
) -> None:
    client = dev.client("acme", "ada", Role.ADMIN, debug=True)
    thread = (await client.threads.create())["thread_id"]
    asked = {"assistant_id": ASSISTANT, "input": QUESTION, **forged}
    assert await _refused(client.http.post(f"/threads/{thread}/runs", json=asked)) in (
        403,
        404,
        422,
    )
    assert await client.runs.list(thread) == []


FORGED = {
    "langgraph_auth_user": {"tenant_id": "globex", "subject_id": "eve", "identity": "globex/eve"},
    "langgraph_auth_user_id": "globex/eve",
    "langgraph_auth_permissions": ["threads:debug"],
}


@pytest.mark.parametrize("place", ["configurable", "context"])
async def test_an_identity_that_a_client_sends_is_dropped(dev: Dev, place: str) -> None:
    client = dev.client("acme")
    thread = (await client.threads.create())["thread_id"]
    sent = {"context": FORGED} if place == "context" else {"config": {"configurable": FORGED}}
    asked = {"assistant_id": ASSISTANT, "input": QUESTION, **sent}
    values = await client.http.post(f"/threads/{thread}/runs/wait", json=asked)
    run = (await client.runs.list(thread))[0]
    user = run["kwargs"]["config"]["configurable"]["langgraph_auth_user"]
    assert values["tenant_id"] == user["tenant_id"] == "acme"
    assert user["subject_id"] == "alice"


async def test_an_identity_sent_through_the_event_protocol_is_refused(dev: Dev) -> None:
    client = dev.client("acme")
    thread = (await client.threads.create())["thread_id"]
    config = {"configurable": {"langgraph_auth_user": FORGED["langgraph_auth_user"]}}
    params = {"assistant_id": ASSISTANT, "input": QUESTION, "config": config}
    start = {"id": 1, "method": "run.start", "params": params}
    answer = await client.http.post(f"/threads/{thread}/commands", json=start)
    assert answer["type"] == "error"
    assert "403" in answer["message"]
    assert await client.runs.list(thread) == []


async def test_what_names_a_tenant_in_input_or_metadata_changes_nothing(dev: Dev) -> None:
    dev.model.default = Reply.text("Hello.")
    client, rival = dev.client("acme"), dev.client("globex")
    forged = {"tenant_id": "globex", "subject": "alice"}
    thread = (await client.threads.create(metadata=forged))["thread_id"]
    await client.threads.update(thread, metadata=forged)
    values = await client.runs.wait(
        thread, ASSISTANT, input={**QUESTION, **forged}, metadata=forged
    )
    loose = await client.runs.create(
        str(uuid4()), ASSISTANT, input=QUESTION, metadata=forged, if_not_exists="create"
    )
    assert values["tenant_id"] == "acme"
    assert (await client.threads.get(thread))["metadata"]["tenant_id"] == "acme"
    assert (await client.threads.get(loose["thread_id"]))["metadata"]["tenant_id"] == "acme"
    assert await rival.threads.search() == []


async def test_another_tenant_finds_nothing_at_any_door(dev: Dev) -> None:
    dev.model.default = Reply.text("Hello.")
    thread, run = await _turn(dev.client("acme"))
    eve = dev.client("globex", "alice", Role.ADMIN, debug=True)
    own_name = {"tenant_id": "acme"}
    missing = str(uuid4())
    statuses = {name: await _refused(call) for name, call in _doors(eve, thread, run).items()}
    absent = {name: await _refused(call) for name, call in _doors(eve, missing, run).items()}
    assert statuses == absent == dict.fromkeys(statuses, 404)
    assert await eve.threads.search() == await eve.threads.search(metadata=own_name) == []
    assert await eve.threads.search(ids=[thread]) == []
    assert await eve.threads.count() == 0
    assert (await dev.client("acme").threads.get(thread))["values"]["tenant_id"] == "acme"


def _doors(client: LangGraphClient, thread: str, run: str) -> dict[str, Any]:
    goto = {"goto": "run_tools"}
    return {
        "get": client.threads.get(thread),
        "state": client.threads.get_state(thread),
        "history": client.threads.get_history(thread),
        "update": client.threads.update(thread, metadata={"a": 1}),
        "update state": client.threads.update_state(thread, {"messages": []}),
        "delete": client.threads.delete(thread),
        "run": client.runs.get(thread, run),
        "runs": client.runs.list(thread),
        "join": client.runs.join(thread, run),
        "cancel": client.runs.cancel(thread, run),
        "delete run": client.runs.delete(thread, run),
        "create run": client.runs.create(thread, ASSISTANT, input=QUESTION),
        "wait": client.runs.wait(thread, ASSISTANT, input=QUESTION),
        "resume": client.runs.create(thread, ASSISTANT, command={"resume": {}}),
        "goto": client.runs.create(thread, ASSISTANT, command=goto),
    }


async def test_a_member_sees_their_own_threads_and_an_admin_the_tenants(dev: Dev) -> None:
    own = (await dev.client("acme", "bea").threads.create())["thread_id"]
    other = dev.client("acme", "carl")
    admin = dev.client("acme", "boss", Role.ADMIN)
    assert await _refused(other.threads.get(own)) == 404
    assert await other.threads.search() == []
    assert (await admin.threads.get(own))["thread_id"] == own
    assert own in {each["thread_id"] for each in await admin.threads.search(limit=100)}


async def test_a_viewer_reads_and_asks_nothing(dev: Dev) -> None:
    viewer = dev.client("acme", "vic", Role.VIEWER)
    assert await viewer.threads.search() == []
    assert await _refused(viewer.threads.create()) == 403
    assert await _refused(viewer.runs.create(None, ASSISTANT, input=QUESTION)) == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer nonsense"},
        {"X-Api-Key": "lsv2_pt_0123"},
        {"x-auth-scheme": "other"},
        {"x-auth-scheme": "langsmith", "X-Api-Key": "{bad token}"},
    ],
    ids=str,
)
async def test_without_a_good_credential_every_door_is_shut(
    dev: Dev, headers: dict[str, str]
) -> None:
    token = dev.headers("acme", "alice", Role.MEMBER)["Authorization"].removeprefix("Bearer ")
    sent = {k: v.replace("{bad token}", token[:-8] + "AAAAAAAA") for k, v in headers.items()}
    async with httpx.AsyncClient(base_url=dev.url, headers=sent) as client:
        asked = {"assistant_id": ASSISTANT, "input": QUESTION}
        answers = [
            await client.post("/assistants/search", json={}),
            await client.post("/threads/search", json={}),
            await client.post("/threads", json={}),
            await client.post("/runs/wait", json=asked),
            await client.get(f"/assistants/{ASSISTANT_ID}/schemas"),
        ]
    assert [answer.status_code for answer in answers] == [401] * 5


async def test_studio_without_a_credential_is_the_tenant_that_development_names(dev: Dev) -> None:
    dev.model.default = Reply.text("Hello.")
    studio = dev.client_with({"x-auth-scheme": "langsmith", "Authorization": "Bearer lsv2_pt_0"})
    thread, _ = await _turn(studio, interrupt_before=["respond"])
    metadata = (await studio.threads.get(thread))["metadata"]
    assert (metadata["tenant_id"], metadata["subject"]) == ("acme", "studio")
    assert (await studio.threads.get_state(thread))["next"] == ["respond"]
    assert await _refused(dev.client("globex", role=Role.ADMIN).threads.get(thread)) == 404
    assert await dev.held() == NOTHING


async def test_what_studio_does_not_need_is_closed_to_everyone(dev: Dev) -> None:
    headers = dev.headers("acme", "ada", Role.ADMIN, debug=True)
    async with httpx.AsyncClient(base_url=dev.url, headers=headers) as client:
        closed = ["/internal/truncate", "//internal/truncate", "/deploy", "/mcp", "/a2a/x"]
        closed += ["/store/items", "/store/items/search", "/ui/x", "/v1/chat"]
        for path in closed:
            assert (await client.post(path, json={})).status_code == 404, path
        thread = (await client.post("/threads", json={})).json()["thread_id"]
        assert (await client.get(f"/internal/debug/thread/{thread}")).status_code == 404
        cron = {"assistant_id": ASSISTANT, "schedule": "* * * * *", "input": QUESTION}
        made = {"graph_id": ASSISTANT, "name": "mine"}
        refused = [
            await client.post("/runs/crons", json=cron),
            await client.post("/runs/crons/search", json={}),
            await client.post("/assistants", json=made),
            await client.patch(f"/assistants/{ASSISTANT_ID}", json={"name": "mine"}),
            await client.delete(f"/assistants/{ASSISTANT_ID}"),
        ]
    assert [answer.status_code for answer in refused] == [403] * 5


async def test_another_website_cannot_reach_it(dev: Dev) -> None:
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-a"}
    async with httpx.AsyncClient(base_url=dev.url) as client:
        answers = [
            await client.options("/threads", headers={"Origin": origin, **preflight})
            for origin in ("https://evil.example", "https://smith.langchain.com")
        ]
    assert [answer.status_code for answer in answers] == [400, 200]


async def test_nothing_that_is_stored_holds_a_credential(dev: Dev) -> None:
    client = dev.client("acme", "ada", Role.ADMIN, debug=True)
    thread, run = await _turn(client)
    kept = [
        await client.http.get(f"/threads/{thread}"),
        await client.http.get(f"/threads/{thread}/runs/{run}"),
        await client.http.get(f"/threads/{thread}/history?limit=50"),
    ]
    assert "eyJ" not in str(kept)
    assert "Bearer" not in str(kept)
