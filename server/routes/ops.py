"""Probes, metrics and the interactive documentation: public, and without a tenant."""

from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.staticfiles import StaticFiles

from server.metrics import REGISTRY
from server.routes.wire import Rooms, reply
from storage.redis_client import ping

router = APIRouter(include_in_schema=False)

ASSETS = "/docs/assets"


@router.get("/")
async def home() -> RedirectResponse:
    """The documentation."""
    return RedirectResponse("/docs")


@router.get("/healthz")
async def healthz() -> Response:
    """The process lives."""
    return reply({"status": "ok"})


@router.get("/readyz")
async def readyz(rooms: Rooms) -> Response:
    """The process can serve: Postgres answers; Redis does, or did, so that limits can be local."""
    await rooms.control.ready()
    if not rooms.watch.proven:
        await ping(rooms.cells.first.redis)
    return reply({"status": "ready"})


@router.get("/metrics")
async def metrics() -> Response:
    """Counters and histograms, without a tenant in any label."""
    return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """The API, to read and try; served from here, so that it works offline."""
    return get_swagger_ui_html(
        openapi_url="/openapi.json",
        title=request.app.title,
        swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{ASSETS}/swagger-ui.css",
        swagger_favicon_url=f"{ASSETS}/favicon-32x32.png",
    )


def mount_assets(app: FastAPI) -> None:
    """Serve Swagger UI's own files from the package that carries them."""
    spec = find_spec("swagger_ui_bundle")
    if spec is None or spec.origin is None:
        return
    [folder] = sorted((Path(spec.origin).parent / "vendor").glob("swagger-ui-*"))[-1:]
    app.mount(ASSETS, StaticFiles(directory=folder), name="docs-assets")
