"""What stands before the routes, in plain ASGI: who is calling, and how much they may send.

FastAPI reads the body before it runs a dependency, so neither can be one.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import structlog
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.auth import Authenticator
from server.problems import problem_of, response_of
from server.refusal import BadCredential
from server.strangers import Strangers
from tenancy.errors import NotAuthenticated, TenantryError
from tenancy.principal import Principal

# A trailing `/*` opens what is below the path, not the path itself.
PUBLIC_PATHS = (
    "/",
    "/healthz",
    "/readyz",
    "/metrics",
    "/docs",
    "/docs/*",
    "/openapi.json",
    "/console",
    "/console/*",
)
POLICY_VIOLATION = 1008

BODY_BYTES = 1024 * 1024
UPLOAD_BYTES = 25 * 1024 * 1024
MULTIPART_OVERHEAD_BYTES = 64 * 1024  # boundaries, part headers and a title
UPLOAD_PATH = "/v1/documents"

log = structlog.get_logger()


class AuthenticationMiddleware:
    """Lets a request through with its principal in `scope["state"]`, or answers it."""

    def __init__(
        self,
        app: ASGIApp,
        authenticator: Authenticator,
        strangers: Strangers,
        public_paths: Collection[str] = PUBLIC_PATHS,
    ) -> None:
        self.app = app
        self._authenticator = authenticator
        self._strangers = strangers
        self._public = {path for path in public_paths if not path.endswith("/*")}
        self._public_below = tuple(path[:-1] for path in public_paths if path.endswith("/*"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass lifespan and public paths, refuse websockets, authenticate the rest."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})
        elif scope["type"] != "http" or self._is_public(route_path(scope)):
            await self.app(scope, receive, send)
        else:
            await self._guard(scope, receive, send)

    async def _guard(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            principal = await self._authenticator.authenticate(scope["headers"])
        except TenantryError as error:
            if isinstance(error, BadCredential):
                await self._strangers.turn_away(scope, error)
            else:
                log.info("request_refused", error=type(error).__name__, reason=error.detail)
            return await response_of(problem_of(error))(scope, receive, send)
        # A new dictionary: the server's own may be shared between requests.
        scope["state"] = {**scope.get("state", {}), "principal": principal}
        return await self.app(scope, receive, send)

    def _is_public(self, path: str) -> bool:
        return path in self._public or path.startswith(self._public_below)


def principal_in(scope: Mapping[str, Any]) -> Principal:
    """The caller of a request that was let through; raises `NotAuthenticated` without one."""
    principal = scope.get("state", {}).get("principal")
    if isinstance(principal, Principal):
        return principal
    raise NotAuthenticated


def route_path(scope: Scope) -> str:
    """The path that the router matches: without the prefix the service is mounted under."""
    path: str = scope["path"]
    prefix: str = scope.get("root_path", "").rstrip("/")
    return path[len(prefix) :] if path.startswith(f"{prefix}/") else path


def body_limit(scope: Scope) -> int:
    """The most bytes the body of this request may have."""
    media_type = Headers(scope=scope).get("content-type", "").lower()
    upload = scope["method"] == "POST" and route_path(scope) == UPLOAD_PATH
    if upload and media_type.startswith("multipart/form-data"):
        return UPLOAD_BYTES + MULTIPART_OVERHEAD_BYTES
    return BODY_BYTES


class BodyLimitMiddleware:
    """Raises 413 from the first read that goes, or is announced to go, over the limit.

    From the read, not before it: so 401, 403 and 404 are answered first. As the framework's
    exception: any other raised from a read, FastAPI's body parsing turns into a 400.
    """

    def __init__(self, app: ASGIApp, limit_for: Callable[[Scope], int] = body_limit) -> None:
        self.app = app
        self._limit_for = limit_for

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a counted body."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        limit = self._limit_for(scope)
        announced = _announced(scope)
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            _require_within(limit, announced)
            message = await receive()
            received += len(message.get("body", b""))
            _require_within(limit, received)
            return message

        return await self.app(scope, receive_counted, send)


def _announced(scope: Scope) -> int:
    length = Headers(scope=scope).get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else 0


def _require_within(limit: int, count: int) -> None:
    if count > limit:
        # The rest of the body is not read, so the connection cannot carry another request.
        raise HTTPException(413, headers={"Connection": "close"})
