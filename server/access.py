"""Which scope a route needs: said once, beside the route, and checked before its body is read."""

from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.params import Form
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from server.breaches import report
from server.middleware import principal_in
from server.problems import problem_of, problem_of_http, problem_of_validation
from server.services import Services
from tenancy.audit import Outcome
from tenancy.errors import IsolationBreach, Refusal, Unavailable, UnsupportedMedia
from tenancy.principal import Principal, Scope

F = TypeVar("F", bound=Callable[..., Any])
Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Refused = (Refusal, RequestValidationError, HTTPException)


def needs(scope: Scope) -> Callable[[F], F]:
    """Declare the scope that an endpoint needs."""

    def declare(endpoint: F) -> F:
        endpoint.__dict__["scope"] = scope
        return endpoint

    return declare


class ScopedRoute(APIRoute):
    """A route that checks its scope before FastAPI reads the body, and audits what it refuses."""

    def get_route_handler(self) -> Handler:
        """FastAPI's handler behind the check. A route without a scope is a fault in our code."""
        handle = super().get_route_handler()
        scope: Scope | None = getattr(self.endpoint, "scope", None)
        if scope is None:
            raise TypeError(f"{self.path} declares no scope")

        async def guarded(request: Request) -> Response:
            principal = principal_in(request.scope)
            try:
                principal.require(scope)
                return await self._handled(request, handle)
            except Refused as error:
                if not getattr(request.state, "audited", False):
                    await _audit(request, principal, self.operation, error)
                raise
            except IsolationBreach as breach:
                await _audit_breach(request, principal, self.operation, breach)
                raise

        return guarded

    async def _handled(self, request: Request, handle: Handler) -> Response:
        """What the framework calls an invalid body may be one of another media type."""
        try:
            return await handle(request)
        except RequestValidationError:
            if (
                self.body_field is None
                or self._is_expected(request)
                or not await _has_body(request)
            ):
                raise
            raise UnsupportedMedia(f"The body must be {self._media_type}.") from None

    @property
    def _media_type(self) -> str:
        return "multipart/form-data" if self._takes_form else "application/json"

    @property
    def _takes_form(self) -> bool:
        return self.body_field is not None and isinstance(self.body_field.field_info, Form)

    def _is_expected(self, request: Request) -> bool:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        is_json = media_type.startswith("application/") and media_type.endswith("+json")
        return media_type == self._media_type or (is_json and not self._takes_form)

    @property
    def operation(self) -> str:
        """The route's name in the audit: `POST /v1/chat`."""
        return f"{min(self.methods or ['GET'])} {self.path_format}"


async def _has_body(request: Request) -> bool:
    try:
        return bool(await request.body())
    except RuntimeError:  # it was read already, as a form
        return True


async def _audit(
    request: Request, principal: Principal, operation: str, error: BaseException
) -> None:
    """Leave one record of a refusal; a refusal is not turned into a failure by its record."""
    services: Services = request.app.state.services
    event = services.event(principal, operation, "", Outcome.REFUSED, status=_status(error))
    try:
        await services.ledger.record(principal.tenant_id, audit=[event])
    except Unavailable:
        return


async def _audit_breach(
    request: Request, principal: Principal, operation: str, breach: IsolationBreach
) -> None:
    """Outside a run there is no thread to close: the answer is stopped, counted and recorded."""
    if getattr(request.state, "audited", False):
        return
    report(breach)
    services: Services = request.app.state.services
    event = services.event(
        principal, "isolation.breach", operation, Outcome.FAILED, boundary=breach.boundary
    )
    with suppress(Unavailable):  # the log has it
        await services.ledger.record(principal.tenant_id, audit=[event])


def _status(error: BaseException) -> int:
    if isinstance(error, RequestValidationError):
        return problem_of_validation(error).status
    if isinstance(error, HTTPException):
        return problem_of_http(error).status
    return problem_of(error).status if isinstance(error, Refusal) else 500
