"""Who may do what in Studio: our credentials, a refusal for everything, then what is allowed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from time import time
from typing import Any

from langgraph.runtime import Runtime, ServerInfo
from langgraph_sdk import Auth
from starlette.exceptions import HTTPException

from graph.identity import VerifiedUser, principal_of
from server.api_keys import parse
from server.auth import RawHeaders, credential_in
from server.problems import problem_of
from server.refusal import BadCredential
from server.settings import Environment
from server.studio_house import Studio, studio
from server.studio_requests import debugging, refuse_smuggled
from server.tokens import issuer_named_by, readable
from tenancy.audit import Outcome
from tenancy.errors import TenantryError
from tenancy.ids import SubjectId, parse_tenant_id
from tenancy.principal import TENANT_SCOPES, Principal, Role, Scope

auth = Auth()

Context = Auth.types.AuthContext
Filter = dict[str, str]

FROM_STUDIO = (b"x-auth-scheme", b"langsmith")
STUDIO_SUBJECT = SubjectId("studio")
OWNER_KEYS = ("tenant_id", "subject")


@auth.authenticate
async def authenticate(scope: dict[str, Any]) -> dict[str, Any]:
    """The caller as LangGraph's user."""
    async with _refusals():
        return VerifiedUser(await principal_from(await studio(), scope["headers"])).claims()


@auth.on
async def refuse(ctx: Context, value: Any) -> bool:
    """Whatever no handler below allows: the store, crons, changes to assistants, what is new."""
    return False


@auth.on.assistants.read
async def read_assistant(ctx: Context, value: Auth.types.AssistantsRead) -> Filter:
    """The system's assistants are everybody's; there are no others."""
    return await _system_assistants(ctx)


@auth.on.assistants.search
async def search_assistants(ctx: Context, value: Auth.types.AssistantsSearch) -> Filter:
    """The same in a list."""
    return await _system_assistants(ctx)


@auth.on.threads.create
async def create_thread(ctx: Context, value: Auth.types.ThreadsCreate) -> Filter:
    """A thread is its maker's. One made without metadata is a copy, and keeps its owner."""
    async with _refusals():
        caller = _caller(ctx, Scope.THREADS_WRITE)
        if "metadata" not in value:
            await _debug(caller, value.get("thread_id"), ["copy"])
        else:
            value["metadata"].update(_owner(caller))
        return _visible(caller)


@auth.on.threads.read
async def read_thread(ctx: Context, value: Auth.types.ThreadsRead) -> Filter:
    """One's own threads, or the tenant's."""
    return await _threads(ctx, Scope.THREADS_READ)


@auth.on.threads.search
async def search_threads(ctx: Context, value: Auth.types.ThreadsSearch) -> Filter:
    """The same in a list."""
    return await _threads(ctx, Scope.THREADS_READ)


@auth.on.threads.delete
async def delete_thread(ctx: Context, value: Auth.types.ThreadsDelete) -> Filter:
    """A thread, or a run of it."""
    return await _threads(ctx, Scope.THREADS_WRITE)


@auth.on.threads.update
async def update_thread(ctx: Context, value: Auth.types.ThreadsUpdate) -> Filter:
    """New metadata, which never changes the owner; a cancelled run; or another state: debugging."""
    async with _refusals():
        caller = _caller(ctx, Scope.THREADS_WRITE)
        if "metadata" not in value:
            await _debug(caller, value.get("thread_id"), ["update"])
        for key in OWNER_KEYS:
            value.get("metadata", {}).pop(key, None)
        return _visible(caller)


@auth.on.threads.create_run
async def create_run(ctx: Context, value: Auth.types.RunsCreate) -> Filter:
    """A question on a thread of one's own; more than that is debugging, or refused."""
    async with _refusals():
        caller = _caller(ctx, Scope.CHAT)
        refuse_smuggled(value["kwargs"])
        await _debug(caller, value.get("thread_id"), list(debugging(value["kwargs"])))
        value["metadata"].update(_owner(caller))
        return _visible(caller)


async def principal_from(here: Studio, headers: RawHeaders) -> Principal:
    """A credential decides. Studio without one is the tenant that development names for it."""
    tenant_id = here.settings.studio_tenant_id
    if here.settings.environment is Environment.PRODUCTION or tenant_id is None:
        return await here.services.authenticator.authenticate(headers)
    if FROM_STUDIO not in headers or await _brings_ours(here, headers):
        return await here.services.authenticator.authenticate(headers)
    principal = Principal(
        parse_tenant_id(tenant_id),
        STUDIO_SUBJECT,
        Role.ADMIN,
        TENANT_SCOPES,
        "studio",
        issued_at=time(),
    )
    await here.services.tenant(principal)
    return principal


async def _brings_ours(here: Studio, headers: RawHeaders) -> bool:
    """Whether a credential of ours is there, good or bad: LangSmith's own means nothing to us."""
    for header in headers:
        with suppress(BadCredential):
            text = credential_in([header])
            if parse(text) or await _is_registered(here, text):
                return True
    return False


async def _is_registered(here: Studio, text: str) -> bool:
    token = readable(text)
    issuer = token and await here.services.directory.issuer(issuer_named_by(token))
    return issuer is not None


def _caller(ctx: Context, scope: Scope) -> Principal:
    """The principal that we made the user from; raises `Forbidden` without the scope."""
    caller = principal_of(Runtime(server_info=ServerInfo("", "", ctx.user)))
    caller.require(scope)
    return caller


def _owner(caller: Principal) -> Filter:
    return {"tenant_id": caller.tenant_id, "subject": caller.subject_id}


def _visible(caller: Principal) -> Filter:
    """What LangGraph demands of a thread's metadata before it admits that there is one."""
    return {"tenant_id": caller.tenant_id} if caller.sees_all_threads else _owner(caller)


async def _threads(ctx: Context, scope: Scope) -> Filter:
    async with _refusals():
        return _visible(_caller(ctx, scope))


async def _system_assistants(ctx: Context) -> Filter:
    async with _refusals():
        _caller(ctx, Scope.THREADS_READ)
        return {"created_by": "system"}


async def _debug(caller: Principal, thread_id: object, actions: list[str]) -> None:
    """Audit what only a debugger may do; raises `Forbidden` to who is none."""
    if not actions:
        return
    services = (await studio()).services
    allowed = Scope.THREADS_DEBUG in caller.scopes
    outcome = Outcome.ALLOWED if allowed else Outcome.REFUSED
    thread = "" if thread_id is None else str(thread_id)
    event = services.event(caller, "thread.debug", thread, outcome, what=",".join(actions))
    await services.ledger.record(caller.tenant_id, audit=[event])
    caller.require(Scope.THREADS_DEBUG)


@asynccontextmanager
async def _refusals() -> AsyncIterator[None]:
    """Our errors as those that LangGraph's server answers with."""
    try:
        yield
    except TenantryError as error:
        problem = problem_of(error)
        raise HTTPException(problem.status, problem.detail, dict(problem.headers)) from None
