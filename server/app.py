"""The ASGI application."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from server.browsers import BrowserMiddleware
from server.description import describe
from server.lingering import LingeringMiddleware
from server.metrics import MetricsMiddleware
from server.middleware import AuthenticationMiddleware, BodyLimitMiddleware
from server.problems import install
from server.routes import (
    account,
    assistants,
    chat,
    console,
    corpora,
    documents,
    fetching,
    keys,
    limits,
    memories,
    ops,
    platform,
    platform_limits,
    profile,
    runs,
    search,
    threads,
    universal,
)
from server.services import Services

ROUTERS = (
    chat,
    runs,
    threads,
    documents,
    fetching,
    search,
    corpora,
    memories,
    account,
    limits,
    keys,
    assistants,
    profile,
    platform,
    platform_limits,
    universal,
)
DESCRIPTION = "One agent engine for thousands of tenants. Send a token or key as `Bearer`."


def create_app(services: Services, *, version: str) -> FastAPI:
    """The application over `services`, which it opens when it starts and closes when it ends."""
    app = FastAPI(
        title="Tenantry",
        version=version,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
    )
    app.state.services = services
    install(app)
    app.include_router(ops.router)
    app.include_router(console.router)
    for module in ROUTERS:
        app.include_router(module.router)
    ops.mount_assets(app)
    console.mount_files(app)
    describe(app)
    app.add_middleware(BodyLimitMiddleware)
    app.add_middleware(
        AuthenticationMiddleware,
        authenticator=services.authenticator,
        strangers=services.strangers,
    )
    app.add_middleware(BrowserMiddleware)
    app.add_middleware(MetricsMiddleware)
    app.add_middleware(LingeringMiddleware)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    await services.open()
    await services.models.load()
    beside = [
        *map(asyncio.create_task, services.beside()),
        asyncio.create_task(services.key_uses.keep()),
        asyncio.create_task(services.strangers.ended_keys.keep()),
        asyncio.create_task(services.runner.stop_revoked(services.control.changed)),
    ]
    gc.collect()
    gc.freeze()  # what start-up made lives for ever: no later collection walks it
    try:
        yield
    finally:
        await services.runner.drain()
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await services.close()
