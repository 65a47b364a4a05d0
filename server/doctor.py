"""`tenantry doctor`: what a deployment needs, checked one by one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from server.setting_names import unknown_settings
from server.settings import DEFAULT_BASE_URL, Settings
from server.stores import Stores, attached
from server.wiring import build_services
from storage.checks import refuse_unsafe
from storage.redis_client import ping
from tenancy.errors import ModelFailed, TenantryError

Finding = dict[str, Any]


def examine(settings: Settings) -> list[Finding]:
    """Findings, each `{"check", "ok", "detail"}`; a store that cannot be reached ends the list."""
    strangers = unknown_settings()
    findings = [_finding("settings", not strangers, "; ".join(strangers))]
    try:
        with attached(settings) as stores:
            return findings + asyncio.run(_examine(settings, stores))
    except TenantryError as error:
        return [*findings, _finding("stores", False, error.detail)]


async def _examine(settings: Settings, stores: Stores) -> list[Finding]:
    services = build_services(settings, stores.app, stores.redis_url)
    await services.open()
    checks: dict[str, Callable[[], Awaitable[str]]] = {
        "database": lambda: _said(services.control.ready(), "reachable"),
        "isolation": lambda: _said(refuse_unsafe(services.cells.first.pool), "row-level security"),
        "redis": lambda: _said(ping(services.cells.first.redis, every_node=True), "reachable"),
        "model": lambda: _model(settings),
        "embeddings": lambda: _embeddings(services.models.embedder),
    }
    try:
        findings = [await _run(name, check) for name, check in checks.items()]
    finally:
        await services.close()
    problems = services.catalogue.problems
    return [*findings, _finding("tools", not problems, "; ".join(problems) or _names(services))]


def _names(services: Any) -> str:
    return ", ".join(spec.name for spec in services.catalogue.specs())


async def _said(work: Awaitable[None], detail: str) -> str:
    await work
    return detail


async def _model(settings: Settings) -> str:
    if not settings.has_endpoint:
        return settings.chat_model
    base = settings.openai_base_url or DEFAULT_BASE_URL
    key = settings.openai_api_key
    headers = {} if key is None else {"Authorization": f"Bearer {key.get_secret_value()}"}
    timeout = aiohttp.ClientTimeout(total=5)
    try:
        async with (
            aiohttp.ClientSession(headers=headers, timeout=timeout) as session,
            session.get(f"{base.rstrip('/')}/models") as response,
        ):
            if response.status != 200:
                raise ModelFailed(f"The model endpoint answered {response.status}.")
    except (aiohttp.ClientError, TimeoutError):
        raise ModelFailed("The model endpoint is not reachable.") from None
    return settings.chat_model


async def _embeddings(embedder: Any) -> str:
    embedded = await embedder.embed(["Is anybody there?"])
    return f"{embedder.model}, {len(embedded.vectors[0])} dimensions"


async def _run(name: str, check: Callable[[], Awaitable[str]]) -> Finding:
    try:
        return _finding(name, True, await check())
    except TenantryError as error:
        return _finding(name, False, error.detail)


def _finding(check: str, ok: bool, detail: str) -> Finding:
    return {"check": check, "ok": ok, "detail": detail}
