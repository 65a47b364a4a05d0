"""Summaries of long threads, where a plan says when they are long."""

from graph.budget import model_name
from graph.ports import Models
from graph.summaries import due, summary_of
from server.asides import Asides
from server.conversations import said_in
from server.settings import OFFLINE_MODEL
from storage.threads import PostgresThreads
from tenancy.audit import Outcome
from tenancy.ids import ThreadId
from tenancy.plan import UNLIMITED
from tenancy.principal import Principal
from tenancy.summary import Summary
from tenancy.tenant import Tenant


class Summaries:
    """Keeps a summary of the beginning of long threads; without one prompts have what fits."""

    def __init__(self, asides: Asides, threads: PostgresThreads, models: Models) -> None:
        self._asides = asides
        self._threads = threads
        self._models = models

    async def of(self, tenant: Tenant, thread_id: ThreadId) -> Summary | None:
        """The summary of a thread that the caller writes to. Raises `Unavailable`."""
        if not self._is_wanted(tenant):
            return None
        return await self._threads.summary(tenant.tenant_id, thread_id)

    def after(self, tenant: Tenant, principal: Principal, thread_id: ThreadId) -> None:
        """Begin to bring the summary up to date, if it is time."""
        if self._is_wanted(tenant):
            most = tenant.plan.summarise_after
            self._asides.begin(principal.tenant_id, self._summarise(principal, thread_id, most))

    def _is_wanted(self, tenant: Tenant) -> bool:
        is_offline = model_name(tenant, self._models) == OFFLINE_MODEL
        return tenant.plan.summarise_after != UNLIMITED and not is_offline

    async def _summarise(self, principal: Principal, thread_id: ThreadId, most: int) -> None:
        earlier = await self._threads.summary(principal.tenant_id, thread_id)
        said = said_in(await self._threads.memory(principal, thread_id))
        turns = due(said, earlier, most)
        if not turns:
            return
        async with self._asides.turn(principal, thread_id) as turn:
            summary = await summary_of(turn, turns, earlier, models=self._models)
            if summary and await self._threads.give_summary(
                principal.tenant_id, thread_id, summary, instead_of=earlier
            ):
                turn.did("thread.summarise", str(thread_id), Outcome.ALLOWED)
