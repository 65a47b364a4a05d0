"""The house inside `langgraph dev`: stores opened once, one graph, every run accounted for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

from langchain_core.runnables import RunnableConfig
from langgraph_sdk.runtime import ServerRuntime
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from graph.state import Options
from server.dev_issuer import load_or_create
from server.problems import problem_of
from server.runs import CompiledAgent
from server.services import Services
from server.settings import Environment, Settings, load_settings
from server.stores import Stores, attached
from server.studio_runs import StudioRuns
from server.studio_store import StudioStore, require_own_store
from server.wiring import build_services
from storage.checks import refuse_unsafe
from storage.migrations import all_migrations
from tenancy.errors import TenantryError
from tenancy.ids import RunId

# LangGraph serves more than this, and some of it to anyone: `/internal/truncate`, `/deploy`.
OPEN_DOORS = frozenset(
    {"", "ok", "info", "metrics", "docs", "openapi.json", "assistants", "threads", "runs"}
)


@dataclass(frozen=True, slots=True)
class Studio:
    """Everything that outlives a request of Studio."""

    settings: Settings
    services: Services
    agent: CompiledAgent
    runs: StudioRuns


class ClosedDoors:
    """Answers 404 for every path that is not listed as open, before anything looks at it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan" or _door(scope) in OPEN_DOORS:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        else:
            await JSONResponse({"detail": "Not Found"}, 404)(scope, receive, send)


def _door(scope: Scope) -> str:
    path: str = scope["path"]
    return path.strip("/").split("/")[0]


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    async with _opened() as app.state.studio:
        _open.set()
        try:
            yield
        finally:
            _open.clear()
            await app.state.studio.runs.drain()


async def _answer(_request: Request, error: Exception) -> Response:
    """What a graph refuses outside a run, such as a state of another tenant."""
    problem = problem_of(error if isinstance(error, TenantryError) else TenantryError())
    return JSONResponse({"detail": problem.detail}, problem.status, dict(problem.headers))


app = Starlette(
    lifespan=_lifespan,
    middleware=[Middleware(ClosedDoors)],
    exception_handlers={TenantryError: _answer},
)
store = StudioStore(lambda: app.state.studio.services.store)
_open = asyncio.Event()


async def studio() -> Studio:
    """This process's Studio; waits until it is open: a run left from before a reload is early."""
    await _open.wait()
    here: Studio = app.state.studio
    return here


@asynccontextmanager
async def graph(
    config: RunnableConfig, runtime: ServerRuntime[Options]
) -> AsyncIterator[CompiledAgent]:
    """The agent, for one run or for one look at it; a run holds what it takes until it ends."""
    here = await studio()
    if runtime.execution_runtime is None:
        yield here.agent
        return
    require_own_store(runtime.store)
    async with here.runs.holding(RunId(UUID(config["configurable"]["run_id"]))):
        yield here.agent


@asynccontextmanager
async def _opened() -> AsyncIterator[Studio]:
    """The stores of a running `tenantry up`, or our own; what blocks stays off the loop."""
    settings = await asyncio.to_thread(load_settings)
    async with AsyncExitStack() as rooms:
        stores = ExitStack()
        rooms.push_async_callback(asyncio.to_thread, stores.close)
        urls = await asyncio.to_thread(_prepared, settings, stores)
        services = build_services(settings, urls.app, urls.redis_url)
        rooms.push_async_callback(services.close)
        await services.open()
        await services.models.load()
        await refuse_unsafe(services.cells.first.pool)
        for beside in (*services.beside(), services.key_uses.keep()):
            rooms.push_async_callback(_cancelled, asyncio.create_task(beside))
        agent = services.agent.compile(name="tenantry")
        runs = StudioRuns(services.turns, services.ledger)
        yield Studio(settings, services, agent, runs)


def _prepared(settings: Settings, stores: ExitStack) -> Stores:
    """The stores; what the loop would have to read from files is in memory, or at least there."""
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    urls = stores.enter_context(attached(settings))
    all_migrations()
    if settings.environment is Environment.DEVELOPMENT:
        load_or_create(settings.data_dir, settings.audience)
    return urls


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
