"""`tenantry chat …`"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from server.cli import app
from server.cli.terminal import DataDir, TenantName, say, settings_for
from tenancy.errors import Failure
from tenancy.ids import ThreadId, parse_subject_id, parse_tenant_id
from tenancy.principal import Role


@app.command("chat")
def chat(
    tenant: TenantName,
    message: Annotated[str, typer.Argument(metavar="MESSAGE")],
    subject: Annotated[str, typer.Option("--subject")] = "cli",
    thread: Annotated[UUID | None, typer.Option("--thread", help="Go on with a thread.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Ask a tenant's assistant; the answer streams."""
    asyncio.run(_chat(tenant, message, subject, thread, data_dir))


async def _chat(
    tenant: str, message: str, subject: str, thread: UUID | None, data_dir: Path | None
) -> None:
    from server.beacon import running_server
    from server.settings import Environment

    settings = settings_for(data_dir)
    url = running_server(settings.data_dir)
    if url is None or settings.environment is Environment.PRODUCTION:
        events = _in_process(tenant, message, subject, thread, data_dir)
    else:
        events = _over_http(url, settings.data_dir, tenant, subject, message, thread)
    async for kind, payload in events:
        _print(kind, payload)


def _print(kind: str, payload: dict[str, Any]) -> None:
    if kind == "token":
        sys.stdout.write(payload["text"])
        sys.stdout.flush()
    elif kind == "done":
        sys.stdout.write("\n")
        for citation in payload["citations"]:
            say(f"[{citation['n']}] {citation['title']}")
        say(f"thread {payload['thread_id']}")
    elif kind == "error":
        raise Failure(payload["detail"])


async def _over_http(
    url: str, data_dir: Path, tenant: str, subject: str, message: str, thread: UUID | None
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    import aiohttp

    from server.dev_issuer import load_or_create

    token = load_or_create(data_dir).sign(
        parse_tenant_id(tenant, "--tenant"),
        parse_subject_id(subject, "--subject"),
        Role.MEMBER,
        timedelta(minutes=5),
    )
    body: dict[str, Any] = {"message": message, "stream": True}
    if thread is not None:
        body["thread_id"] = str(thread)
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{url}/v1/chat", json=body) as response,
    ):
        if response.status != 200:
            problem = json.loads(await response.read())
            errors = "; ".join(f"{e['field']} {e['message']}" for e in problem.get("errors", []))
            raise Failure(errors or problem["detail"])
        kind = ""
        async for line in response.content:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                yield kind, json.loads(value)


async def _in_process(
    tenant: str, message: str, subject: str, thread: UUID | None, data_dir: Path | None
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    from server.cli.rooms import as_subject, known_tenant, services_for
    from server.runs import RunRequest

    async with services_for(data_dir) as services:
        known = await known_tenant(services, tenant)
        request = RunRequest(message, None if thread is None else ThreadId(thread), stream=True)
        run = await services.runner.start(as_subject(known.tenant_id, subject), request)
        async for event in run.events:
            yield event.kind, dict(event.payload)
        await services.runner.drain()
