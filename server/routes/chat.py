"""`POST /v1/chat`: one turn of a conversation."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field, model_validator

from server.access import ScopedRoute, needs
from server.execution import LiveRun, RunRequest
from server.problems import problem_of, response_of
from server.routes.decisions import Resume
from server.routes.wire import Body, Caller, JsonUUID, Message, Rooms, Text, reply
from server.services import Services
from tenancy.errors import Invalid, QuotaExceeded, TenantryError
from tenancy.fairness import Priority
from tenancy.ids import ThreadId
from tenancy.personalisation import Source, parse_said
from tenancy.plan import MAX_LIMIT, MAX_STEPS
from tenancy.principal import Principal, Scope
from tenancy.quota import Standing, rate_limit_headers
from tenancy.wishes import Wishes

router = APIRouter(route_class=ScopedRoute, tags=["chat"])

STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class Budget(Body):
    """What this run may take at most; never more than the plan allows a run."""

    tokens: int | None = Field(None, ge=1, le=MAX_LIMIT)
    tool_calls: int | None = Field(None, ge=0, le=MAX_LIMIT)
    steps: int | None = Field(None, ge=1, le=MAX_STEPS)


class Context(Body):
    """Where the user is, and how to answer this once: told to the model as data."""

    page: Text | None = None
    locale: Text | None = None
    channel: Text | None = None
    tone: Text | None = None
    language: Text | None = None
    length: Text | None = None


class ChatBody(Body):
    """A message, or the answer to what the thread's last run was interrupted for."""

    message: Message | None = None
    resume: Resume | None = None
    thread_id: JsonUUID | None = None
    assistant: Text = Field("default", min_length=1, max_length=70)  # an id or slug, @draft
    context: Context | None = None
    stream: bool = False
    priority: Annotated[Priority, Field(strict=False)] = Priority.INTERACTIVE
    budget: Budget | None = None

    @model_validator(mode="after")
    def _one_of(self) -> "ChatBody":
        if self.resume is not None and (self.message is not None or self.thread_id is None):
            raise ValueError("resume goes with a thread_id and without a message")
        return self

    def situation(self) -> dict[str, Any]:
        """The request's context; raises `Invalid`."""
        said = {} if self.context is None else self.context.model_dump(exclude_none=True)
        return parse_said(Source.REQUEST, said)

    def wishes(self) -> Wishes:
        """How urgent the run is, and its own limits."""
        budget = {} if self.budget is None else self.budget.model_dump(exclude_none=True)
        return Wishes(self.priority, {f"{name}_per_run": most for name, most in budget.items()})


IdempotencyKey = Annotated[
    str | None,
    Header(alias="Idempotency-Key", min_length=1, max_length=255, pattern=r"^[\x20-\x7e]+$"),
]


@router.post("/v1/chat", response_model=None)
@needs(Scope.CHAT)
async def chat(
    body: ChatBody,
    request: Request,
    caller: Caller,
    rooms: Rooms,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Answer a message, in one JSON document or as a stream of events."""
    if body.message is None and body.resume is None:
        raise Invalid("message", "Field required")
    run_request = RunRequest(
        message=body.message,
        thread_id=None if body.thread_id is None else ThreadId(body.thread_id),
        assistant=body.assistant,
        context=body.situation(),
        resume=None if body.resume is None else body.resume.model_dump(exclude_unset=True),
        stream=body.stream,
        idempotency_key=idempotency_key,
        wishes=body.wishes(),
    )
    request.state.audited = True  # the runner leaves the record of what it refuses
    try:
        run = await rooms.runner.start(caller, run_request)
    except QuotaExceeded as error:
        return _problem(error, await _standings(caller, rooms))
    headers = _headers(run.standings or await _standings(caller, rooms))
    if body.stream:
        headers |= STREAM_HEADERS
        headers |= _degraded(run)
        return StreamingResponse(_frames(run), headers=headers, media_type="text/event-stream")
    try:
        return reply(await run.result(), headers=headers | _degraded(run))
    except TenantryError as error:
        return _problem(error, run.standings)


def _degraded(run: LiveRun) -> dict[str, str]:
    """The rungs of the ladder that the run went down so far."""
    return {"X-Tenantry-Degraded": ", ".join(run.degraded)} if run.degraded else {}


async def _standings(caller: Principal, rooms: Services) -> Sequence[Standing]:
    """Where the caller's tenant stands: refused or not, a client may plan by it."""
    tenant = (await rooms.tenant(caller)).for_user(caller.subject_id)
    return await rooms.orchestrator.standings(tenant, caller.subject_id)


def _problem(error: TenantryError, standings: Sequence[Standing]) -> Response:
    response = response_of(problem_of(error))
    response.headers.update(_headers(standings))
    return response


def _headers(standings: Sequence[Standing]) -> dict[str, str]:
    return rate_limit_headers(standings, datetime.now(UTC))


async def _frames(run: LiveRun) -> AsyncIterator[bytes]:
    number = 0
    async for event in run.events:
        number += 1
        yield event.frame(number)
