"""Every error as a problem document (RFC 9457), in a response and inside a stream alike."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http.client import responses
from math import ceil
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from server.faults import FieldError, faults_of, readable
from tenancy.errors import (
    BreakerOpen,
    Conflict,
    Forbidden,
    Invalid,
    IsolationBreach,
    ModelFailed,
    ModelTimeout,
    NotAuthenticated,
    NotFound,
    PayloadTooLarge,
    QuotaExceeded,
    TenantMismatch,
    TenantryError,
    TenantSuspended,
    ThreadBusy,
    ThreadQuarantined,
    Unavailable,
    UnsupportedMedia,
)

MEDIA_TYPE = "application/problem+json"

# The first base class listed here decides; what is not listed is a 500 and says nothing.
KINDS: Mapping[type[TenantryError], tuple[int, str, str]] = {
    NotAuthenticated: (401, "not-authenticated", "Not authenticated"),
    Forbidden: (403, "forbidden", "Forbidden"),
    TenantSuspended: (403, "tenant-suspended", "Tenant suspended"),
    TenantMismatch: (403, "tenant-mismatch", "Tenant mismatch"),
    NotFound: (404, "not-found", "Not found"),
    PayloadTooLarge: (413, "payload-too-large", "Payload too large"),
    UnsupportedMedia: (415, "unsupported-media", "Unsupported media type"),
    Invalid: (422, "invalid", "Invalid request"),
    Conflict: (409, "conflict", "Conflict"),
    ThreadBusy: (409, "thread-busy", "Thread busy"),
    ThreadQuarantined: (409, "thread-quarantined", "Thread quarantined"),
    QuotaExceeded: (429, "quota-exceeded", "Quota exceeded"),
    IsolationBreach: (500, "isolation-breach", "Stopped"),
    Unavailable: (503, "unavailable", "Service unavailable"),
    ModelFailed: (502, "model-failed", "Model failed"),
    ModelTimeout: (504, "model-timeout", "Model timeout"),
}
# What the framework refuses by itself, in our words. A 400 is a body it could not parse.
OF_THE_FRAMEWORK: Mapping[int, TenantryError] = {
    400: Invalid("body", "cannot be read"),
    401: NotAuthenticated(),
    403: Forbidden(),
    404: NotFound(),
    413: PayloadTooLarge(),
    415: UnsupportedMedia(),
    503: Unavailable(),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """What a client is told: never whose, never which process, never why inside."""

    status: int
    slug: str
    title: str
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)
    errors: Sequence[FieldError] = ()

    @property
    def type(self) -> str:
        """The name a client may switch on: a URN, because it is no address."""
        return f"urn:tenantry:problem:{self.slug}"

    def document(self) -> dict[str, object]:
        """The members of the problem document."""
        members: dict[str, object] = {
            "type": self.type,
            "title": self.title,
            "status": self.status,
            "detail": readable(self.detail),
        }
        if self.errors:
            members["errors"] = [
                {"field": readable(error.field), "message": readable(error.message)}
                for error in self.errors
            ]
        return members

    def body(self) -> bytes:
        """The document in JSON."""
        return orjson.dumps(self.document())


INTERNAL = Problem(
    500,
    "internal",
    "Internal error",
    "The service failed; it is not your fault.",
    {"Connection": "close"},  # uvicorn does after such an error: the next request must not meet it
)


def problem_of(error: TenantryError) -> Problem:
    """The problem that an error is to a client."""
    kind = next((KINDS[base] for base in type(error).__mro__ if base in KINDS), None)
    if kind is None:
        return INTERNAL
    # One sentence for every 401: a reason would tell a forger what to mend.
    detail = NotAuthenticated().detail if isinstance(error, NotAuthenticated) else error.detail
    errors = (FieldError(error.field, error.message),) if isinstance(error, Invalid) else ()
    return Problem(*kind, detail, _headers_of(error), errors)


def problem_of_validation(error: RequestValidationError) -> Problem:
    """The problem that FastAPI's own validation found, without the values it found it in."""
    status, slug, title = KINDS[Invalid]
    return Problem(status, slug, title, "The request is not valid.", {}, faults_of(error))


def problem_of_http(error: HTTPException) -> Problem:
    """The problem that the framework refused with: an unknown path, method, or body."""
    headers = error.headers or {}
    if error.status_code in OF_THE_FRAMEWORK:
        problem = problem_of(OF_THE_FRAMEWORK[error.status_code])
        return replace(problem, headers={**problem.headers, **headers})
    phrase = responses.get(error.status_code, "Error")
    slug = phrase.lower().replace(" ", "-")
    return Problem(error.status_code, slug, phrase, f"{phrase}.", headers)


def response_of(problem: Problem) -> Response:
    """The response that carries a problem."""
    headers = dict(problem.headers)
    return Response(problem.body(), problem.status, headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Make every error that leaves a route, and every other exception, a problem."""
    app.add_exception_handler(TenantryError, _answering(problem_of))
    app.add_exception_handler(RequestValidationError, _answering(problem_of_validation))
    app.add_exception_handler(HTTPException, _answering(problem_of_http))
    app.add_exception_handler(Exception, _answering(lambda _: INTERNAL))


def _answering(
    translate: Callable[[Any], Problem],
) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(_request: Request, error: Exception) -> Response:
        return response_of(translate(error))

    return answer


def _headers_of(error: TenantryError) -> Mapping[str, str]:
    if isinstance(error, NotAuthenticated):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, ThreadBusy | QuotaExceeded | Unavailable):
        return {"Retry-After": retry_after(error.retry_after)}
    if isinstance(error, BreakerOpen) and error.retry_after is not None:
        return {"Retry-After": retry_after(error.retry_after)}
    return {}


def retry_after(wait: timedelta) -> str:
    """Whole seconds, rounded up, at least one: zero would invite a loop."""
    return str(max(1, ceil(wait.total_seconds())))
