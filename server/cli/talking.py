"""`tenantry chat …`"""

import asyncio
import json
import sys
from collections.abc import AsyncIterable, AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from server.cli import app
from server.cli.terminal import DataDir, TenantName, say, settings_for
from tenancy.assistant import DEFAULT
from tenancy.errors import Failure, Invalid
from tenancy.ids import ThreadId, parse_subject_id, parse_tenant_id
from tenancy.principal import Role

if TYPE_CHECKING:
    from server.settings import Settings

MAX_MESSAGE_CHARACTERS = 32_000  # what `POST /v1/chat` takes, known without the web framework


@app.command("chat")
def chat(
    tenant: TenantName,
    message: Annotated[str, typer.Argument(metavar="MESSAGE")],
    subject: Annotated[str, typer.Option("--subject")] = "cli",
    thread: Annotated[UUID | None, typer.Option("--thread", help="Go on with a thread.")] = None,
    assistant: Annotated[
        str, typer.Option("--assistant", help="One of the tenant's, by id or slug.")
    ] = DEFAULT,
    data_dir: DataDir = None,
) -> None:
    """Ask a tenant's assistant; the answer streams."""
    asyncio.run(_chat(tenant, _said(message), subject, thread, assistant, data_dir))


def _said(message: str) -> str:
    """The message; raises `Invalid` for what no server would take."""
    if not message.strip() or len(message) > MAX_MESSAGE_CHARACTERS:
        raise Invalid("MESSAGE", f"must be 1 to {MAX_MESSAGE_CHARACTERS} characters")
    if any("\ud800" <= character <= "\udfff" for character in message):  # bytes of a terminal
        raise Invalid("MESSAGE", "must be UTF-8")
    return message


async def _chat(
    tenant: str,
    message: str,
    subject: str,
    thread: UUID | None,
    assistant: str,
    data_dir: Path | None,
) -> None:
    from server.beacon import running_server
    from server.settings import Environment

    settings = settings_for(data_dir)
    url = running_server(settings.data_dir)
    if url is None or settings.environment is Environment.PRODUCTION:
        known = None if thread is None else ThreadId(thread)
        events = _in_process(tenant, message, subject, known, assistant, data_dir)
    else:
        token = _token(settings, tenant, subject)
        events = _over_http(url, token, message, thread, assistant)
    async for kind, payload in events:
        _print(kind, payload)


def _token(settings: "Settings", tenant: str, subject: str) -> str:
    from server.dev_issuer import load_or_create

    return load_or_create(settings.data_dir, settings.audience).sign(
        parse_tenant_id(tenant, "--tenant"),
        parse_subject_id(subject, "--subject"),
        Role.MEMBER,
        timedelta(minutes=5),
    )


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
    url: str, token: str, message: str, thread: UUID | None, assistant: str
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    import aiohttp

    body: dict[str, Any] = {"message": message, "assistant": assistant, "stream": True}
    if thread is not None:
        body["thread_id"] = str(thread)
    headers = {"Authorization": f"Bearer {token}"}
    try:
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(f"{url}/v1/chat", json=body) as response,
        ):
            if response.status != 200:
                raise Failure(_reason(response.status, json.loads(await response.read())))
            async for event in _events(response.content):
                yield event
    except (aiohttp.ClientError, TimeoutError):
        raise Failure("The server went away before it had answered.") from None


def _reason(status: int, problem: dict[str, Any]) -> str:
    """Why the server refused; with a token of our own, 401 can only mean one thing."""
    if status == 401:
        return "The server knows no such tenant."
    errors = "; ".join(f"{each['field']} {each['message']}" for each in problem.get("errors", []))
    return errors or str(problem["detail"])


async def _events(lines: AsyncIterable[bytes]) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    kind = ""
    async for line in lines:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)


async def _in_process(
    tenant: str,
    message: str,
    subject: str,
    thread_id: ThreadId | None,
    assistant: str,
    data_dir: Path | None,
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    from server.cli.rooms import as_subject, known_tenant, services_for
    from server.execution import RunRequest

    async with services_for(data_dir) as services:
        known = await known_tenant(services.directory, tenant)
        request = RunRequest(message, thread_id, assistant, stream=True)
        run = await services.runner.start(as_subject(known.tenant_id, subject), request)
        async for event in run.events:
            yield event.kind, dict(event.payload)
        await services.runner.drain()
