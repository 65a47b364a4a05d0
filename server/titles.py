"""Titles of threads: at once from the first message, later from a model where the plan says so."""

from dataclasses import dataclass

from graph.budget import model_name
from graph.ports import Models
from graph.titles import MAX_TITLE_CHARACTERS, title_of
from server.asides import Asides
from server.settings import OFFLINE_MODEL
from storage.threads import PostgresThreads
from tenancy.audit import Outcome
from tenancy.ids import ThreadId
from tenancy.principal import Principal
from tenancy.tenant import Tenant
from tenancy.text import first_sentence


@dataclass(frozen=True, slots=True)
class Answered:
    """The turn that a thread is named after."""

    principal: Principal
    thread_id: ThreadId
    question: str
    answer: str
    title: str  # that the message gave


class Titles:
    """Names threads; one that finds no better title keeps the one that its message gave."""

    def __init__(self, asides: Asides, threads: PostgresThreads, models: Models) -> None:
        self._asides = asides
        self._threads = threads
        self._models = models

    def from_message(self, tenant: Tenant, text: str) -> str:
        """The title that a message gives: its beginning; without a model, its first sentence."""
        if self._is_offline(tenant):
            return first_sentence(text, MAX_TITLE_CHARACTERS)
        return text[:MAX_TITLE_CHARACTERS]

    def after(self, tenant: Tenant, answered: Answered) -> None:
        """Begin to find a better title, where the plan says so."""
        if tenant.plan.titles and not self._is_offline(tenant):
            self._asides.begin(tenant.tenant_id, self._name(answered))

    def _is_offline(self, tenant: Tenant) -> bool:
        return model_name(tenant, self._models) == OFFLINE_MODEL

    async def _name(self, answered: Answered) -> None:
        principal, thread_id = answered.principal, answered.thread_id
        thread = await self._threads.get(principal, thread_id)
        if thread.title != answered.title:
            return
        async with self._asides.turn(principal, thread_id) as turn:
            title = await title_of(turn, answered.question, answered.answer, models=self._models)
            if title and await self._threads.give_title(
                principal.tenant_id, thread_id, title, instead_of=answered.title
            ):
                turn.did("thread.title", str(thread_id), Outcome.ALLOWED)
