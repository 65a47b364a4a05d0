"""The whole product in one process: real stores, a scripted model, real HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from server.app import create_app
from server.dev_issuer import DevIssuer, load_or_create
from server.listener import listening, url_of
from server.services import Services
from server.settings import Settings
from server.slowdown import Slowdown
from server.stores import Stores
from server.wiring import build_services
from storage.control import control
from tenancy.ids import PlanId, SubjectId, TenantId
from tenancy.plan import change_plan, new_plan
from tenancy.price import Price, parse_price
from tenancy.principal import Role
from tests.support.model_server import ModelServer

UNLIMITED = dict.fromkeys(
    (
        "requests_per_minute",
        "concurrent_runs",
        "tokens_per_minute",
        "tokens_per_day",
        "tokens_per_month",
        "documents",
    ),
    -1,
)


@dataclass(frozen=True, slots=True)
class House:
    """A serving house, and the ways into it."""

    url: str
    services: Services
    stores: Stores
    settings: Settings
    model: ModelServer
    issuer: DevIssuer
    pauses: list[float]  # what failed authentications were to wait, which they do not do here

    def token(
        self,
        tenant: str,
        subject: str = "alice",
        role: Role = Role.MEMBER,
        scopes: list[str] | None = None,
        life: timedelta = timedelta(hours=1),
    ) -> str:
        """A token of the development issuer."""
        return self.issuer.sign(TenantId(tenant), SubjectId(subject), role, life, scopes=scopes)

    def client(
        self, tenant: str, subject: str = "alice", role: Role = Role.MEMBER, **options: Any
    ) -> httpx.AsyncClient:
        """An HTTP client that sends such a token."""
        headers = {"Authorization": f"Bearer {self.token(tenant, subject, role, **options)}"}
        kept = httpx.Limits(keepalive_expiry=2)  # less than the server keeps an idle connection
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=30, limits=kept)

    async def new_tenant(self, name: str, plan: str = "pro", **limits: int | str) -> TenantId:
        """A tenant of the test's own; with `limits`, on a plan of its own."""
        await asyncio.to_thread(self._new_tenant, name, plan, limits)
        return TenantId(name)

    async def price(self, model: str, per_million_in: str, per_million_out: str) -> None:
        """The price of a model, in minor units for a million tokens."""
        await asyncio.to_thread(self._price, model, per_million_in, per_million_out)

    def _price(self, model: str, per_million_in: str, per_million_out: str) -> None:
        nanos = (parse_price("input", per_million_in), parse_price("output", per_million_out))
        with control(self.stores.owner()) as admin:
            admin.put_price(Price(model, *nanos))

    def _new_tenant(self, name: str, plan: str, limits: dict[str, int | str]) -> None:
        with control(self.stores.owner()) as admin:
            if limits:
                said = {key: str(value) for key, value in limits.items()}
                known = admin.plan(PlanId(plan))
                base = new_plan(PlanId(name), {}) if known is None else known
                admin.put_plan(change_plan(type(base)(**{**_fields(base), "plan_id": name}), said))
                plan = name
            admin.create_tenant(TenantId(name), name.title(), PlanId(plan))


def _fields(plan: Any) -> dict[str, Any]:
    return {name: getattr(plan, name) for name in plan.__dataclass_fields__}


def _unhurried(services: Services, pauses: list[float]) -> Services:
    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    return replace(services, strangers=replace(services.strangers, slowdown=Slowdown(pause=pause)))


def settings_of(folder: Path, model: ModelServer, **overrides: object) -> Settings:
    """Settings that point at the scripted model."""
    return Settings.model_construct(
        **{
            **{name: field.default for name, field in Settings.model_fields.items()},
            "openai_base_url": model.base_url,
            "model": "scripted",
            "embedding_model": "scripted-embeddings",
            "data_dir": folder,
            "model_timeout": 5.0,
            **overrides,
        }
    )


@asynccontextmanager
async def house(
    stores: Stores, folder: Path, model: ModelServer, **overrides: object
) -> AsyncIterator[House]:
    """A house that serves on a port of its own until the block ends."""
    settings = settings_of(folder, model, **overrides)
    pauses: list[float] = []
    services = _unhurried(
        build_services(settings, stores.app, stores.redis_url, stores.operator_url), pauses
    )
    with listening("127.0.0.1", 0) as listener:
        app = create_app(services, version="test")
        config = uvicorn.Config(app, lifespan="on", log_config=None, proxy_headers=False)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server._serve([listener]))  # serve() would take our signals
        while not server.started:
            if serving.done():
                serving.result()
            await asyncio.sleep(0.01)
        issuer = load_or_create(folder, settings.audience)
        try:
            yield House(url_of(listener), services, stores, settings, model, issuer, pauses)
        finally:
            server.should_exit = True
            await serving
