"""The web console: files for everybody, which ask the API with the credential of who uses them."""

import os
from hashlib import sha256
from mimetypes import guess_type
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.datastructures import Headers
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

ASSETS = "/console/assets"
FOLDER = Path(__file__).parent.parent / "console"
SHELL = "index.html"
POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self' data:",
    "form-action 'none'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",  # text that would become markup is an error
    "trusted-types 'none'",
)
HEADERS = {
    "Content-Security-Policy": "; ".join(POLICY),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",  # kept, and asked for anew: an upgrade is seen at once and whole
}

router = APIRouter(include_in_schema=False)


class Files(StaticFiles):
    """The files of the console, each with the headers that keep everything else out of it."""

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,  # an image may give every file the same time
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """The file, or that it has not changed: its content says so."""
        content = Path(full_path).read_bytes()  # some kilobytes
        etag = f'"{sha256(content).hexdigest()}"'
        media_type, _ = guess_type(full_path)
        response = Response(content, status_code, HEADERS | {"ETag": etag}, media_type)
        if self.is_not_modified(response.headers, Headers(scope=scope)):
            return Response(status_code=304, headers=HEADERS | {"ETag": etag})
        return response


FILES = Files(directory=FOLDER, check_dir=False)  # the first request looks


@router.get("/console")
@router.get("/console/search")
@router.get("/console/documents/{document_id}")
async def shell(request: Request) -> Response:
    """The same page for everybody: what it shows, it asks for."""
    return await FILES.get_response(SHELL, request.scope)


def mount_files(app: FastAPI) -> None:
    """Serve the files that the shell is made of."""
    app.mount(ASSETS, FILES, name="console-assets")
