"""What a verification stands on: two tenants, and a server over the deployment's own stores."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import aiohttp
import uvicorn

from server import api_keys
from server.app import create_app
from server.listener import listening, url_of
from server.services import Services
from server.settings import Settings
from server.slowdown import Slowdown
from server.stores import Stores
from server.throwaway import add_key, erase, erase_leftovers, forget_in_redis
from server.verification.model import ListeningModels
from server.verification.rivals import Masked, Observer, Rival
from server.wiring import build_services
from storage.control import Control, control
from storage.redis_keys import Area
from tenancy.ids import PlanId, TenantId
from tenancy.plan import new_plan
from tenancy.principal import TENANT_SCOPES
from tools.spec import REQUIRE_APPROVAL, ToolSpec

LIMITS = (
    "requests_per_minute concurrent_runs tokens_per_minute tokens_per_day tokens_per_month"
    " documents memories"
)
NAME = re.compile(r"(?P<plan>verify-[0-9a-f]{8})-[ab]")
TOKEN = re.compile(rb'"text":"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class World:
    """Everything that a check may use."""

    stores: Stores
    services: Services
    observer: Observer
    app: Any
    sessions: Mapping[TenantId, aiohttp.ClientSession]
    keys_before: frozenset[str]  # in Redis
    areas: Collection[Area]  # of which keys are made here: who has none has them by another name

    @property
    def rivals(self) -> tuple[Rival, Rival]:
        """Both tenants."""
        return self.observer.rivals

    async def ask(self, rival: Rival, method: str, path: str, **request: Any) -> Masked:
        """Ask as `rival`, and look through the whole answer."""
        files = request.pop("files", None)
        if files is not None:
            form = aiohttp.FormData()
            name, content = files
            form.add_field("file", content, filename=name, content_type="text/plain")
            request["data"] = form
        async with self.sessions[rival.tenant_id].request(method, path, **request) as response:
            body = await response.read()
            answer = Masked(response.status, dict(response.headers), body)
        where = f"{method} {path}"
        self.observer.saw(rival, where, repr(sorted(answer.headers.items())))
        self.observer.saw(rival, where, body)
        if answer.headers.get("Content-Type", "").startswith("text/event-stream"):
            self.observer.saw(rival, f"{where}, tokens joined", b"".join(TOKEN.findall(body)))
        return answer


@asynccontextmanager
async def world(settings: Settings, stores: Stores) -> AsyncIterator[World]:
    """Two tenants and a server; whatever they left is erased at the end."""
    models = ListeningModels(settings)
    services = build_services(
        settings, stores.app, stores.redis_url, stores.operator_url, models=models
    )
    # the strangers here are our own: none is to be slowed down
    strangers = replace(services.strangers, slowdown=Slowdown(pause=_at_once))
    services = replace(services, strangers=strangers)
    with made(stores, services.catalogue.specs()) as rivals:
        observer = models.observer = Observer(rivals)
        app = create_app(services, version="verification")
        async with AsyncExitStack() as rooms:
            url = await rooms.enter_async_context(_served(app))
            sessions = {
                rival.tenant_id: await rooms.enter_async_context(_session(url, rival))
                for rival in rivals
            }
            redis = services.cells.first.redis
            before = frozenset([text_of(key) async for key in redis.scan_iter(count=1000)])
            areas = (Area.QUOTA, Area.HOT) if settings.hot_context else (Area.QUOTA,)
            here = World(stores, services, observer, app, sessions, before, areas)
            try:
                yield here
            finally:
                await forget_in_redis(redis, [rival.tenant_id for rival in rivals])


async def _at_once(_seconds: float) -> None:
    return None


@asynccontextmanager
async def _session(url: str, rival: Rival) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {rival.key}"}
    connector = aiohttp.TCPConnector(limit=16)
    async with aiohttp.ClientSession(url, headers=headers, connector=connector) as session:
        yield session


@asynccontextmanager
async def _served(app: Any) -> AsyncIterator[str]:
    with listening("127.0.0.1", 0) as listener:
        config = uvicorn.Config(app, lifespan="on", log_config=None, access_log=False)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server._serve([listener]))  # not `serve`: it takes signals
        while not server.started and not serving.done():  # noqa: ASYNC110  # there is no event
            await asyncio.sleep(0.01)
        try:
            yield url_of(listener)
        finally:
            server.should_exit = True
            await serving


@contextmanager
def made(stores: Stores, specs: Collection[ToolSpec]) -> Iterator[tuple[Rival, Rival]]:
    """The two tenants, on a plan of their own without limits; gone at the end, whatever happens."""
    name = f"verify-{secrets.token_hex(4)}"
    plan_id, secret = PlanId(name), secrets.token_hex(16)
    tenants = [TenantId(f"{name}-{letter}") for letter in "ab"]
    limits = dict.fromkeys(LIMITS.split(), "-1")
    try:
        with control(stores.owner()) as admin:
            erase_leftovers(admin, stores, NAME)
            admin.put_plan(new_plan(plan_id, {**limits, "tools": "all"}))
            one, two = (_tenant(admin, tenant_id, plan_id, secret) for tenant_id in tenants)
            for rival in (one, two):
                _enable(admin, rival, specs)
        yield one, two
    finally:
        erase(stores, tenants, [plan_id])


def _tenant(admin: Control, tenant_id: TenantId, plan_id: PlanId, secret: str) -> Rival:
    key = api_keys.mint()
    rival = Rival(tenant_id, secret, key.text)
    admin.create_tenant(tenant_id, rival.canary("display name"), plan_id)
    for preference in ("persona", "instructions"):
        admin.set_preferences(tenant_id, {preference: rival.canary(preference)})
    add_key(admin, tenant_id, key, rival.canary("subject"), TENANT_SCOPES)
    rival.ids.update(tenant_id=tenant_id, plan_id=plan_id, key_id=str(key.key_id))
    return rival


def _enable(admin: Control, rival: Rival, specs: Collection[ToolSpec]) -> None:
    """Every tool, with a canary for each setting; the first is one that wants to be asked."""
    for number, spec in enumerate(specs):
        asked = {REQUIRE_APPROVAL: "true"} if number == 0 else {}
        settings = {key: rival.canary(f"setting {key} of {spec.name}") for key in spec.settings}
        admin.enable_tool(rival.tenant_id, spec.name, enabled=True)
        admin.configure_tool(rival.tenant_id, spec.name, {**settings, **asked})


def text_of(key: bytes | str) -> str:
    """The name of a key in Redis."""
    return key.decode(errors="replace") if isinstance(key, bytes) else key


def shared_id() -> str:
    """An id that both tenants will use for a thing of their own."""
    return str(uuid4())
