"""Runs, as they stand."""

from fastapi import APIRouter, Response

from server.access import ScopedRoute, needs
from server.routes.wire import Caller, JsonUUID, Rooms, reply, utc
from tenancy.ids import RunId
from tenancy.principal import Scope

router = APIRouter(route_class=ScopedRoute, tags=["runs"])


@router.get("/v1/runs/{run_id}", response_model=None)
@needs(Scope.THREADS_READ)
async def get_run(run_id: JsonUUID, caller: Caller, rooms: Rooms) -> Response:
    """One run: its status and what it used."""
    run = await rooms.threads.run(caller, RunId(run_id))
    return reply(
        {
            "run_id": run.run_id,
            "thread_id": run.thread_id,
            "status": run.status,
            "created_at": utc(run.created_at),
            "finished_at": utc(run.finished_at),
            "usage": {
                "input_tokens": run.tokens.input_tokens,
                "output_tokens": run.tokens.output_tokens,
            },
            **run.assistant.mention(),
        }
    )
