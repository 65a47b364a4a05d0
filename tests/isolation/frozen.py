"""Clock and ids that follow from the tenant and the number of its request alone.

Every request of a tenant is a second later than its last, and its ids are drawn from its number.
Nothing of them tells who else is there: what differs between two worlds was not the clock's doing.
"""

import importlib
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from server.auth import Authenticator
from tests.support.house import House

BEGINNING = datetime(2031, 1, 15, 12, tzinfo=UTC)
TAKE_THE_TIME = (
    "server.services",
    "server.runs",
    "server.turns",
    "server.routes.account",
    "server.routes.chat",
    "server.routes.keys",
    "server.routes.search",
    "storage.document_room",
    "graph.notes",
    "knowledge.ingest",
    "knowledge.memories",
    "tools.builtin",
)
TAKE_IDS = (
    "server.services.uuid4",
    "server.runs.uuid4",
    "server.api_keys.uuid4",
    "server.routes.assistants.uuid4",
    "server.routes.threads.uuid4",
    "server.routes.search.uuid4",
    "graph.answers.uuid4",
    "knowledge.ingest.uuid4",
    "knowledge.memories.uuid4",
    "storage.memories.uuid4",
    "langchain_core.callbacks.manager.uuid7",
)


@dataclass(slots=True)
class Moment:
    """One request, and how many ids were drawn in it."""

    tenant: str
    number: int
    drawn: int = 0


_moment: ContextVar[Moment | None] = ContextVar("moment", default=None)


def tenant_at_work() -> str | None:
    """Whose request this is."""
    moment = _moment.get()
    return moment and moment.tenant


def now() -> datetime:
    """The instant of the request."""
    moment = _moment.get()
    return BEGINNING + timedelta(seconds=moment.number if moment else 0)


def next_id(*_: object) -> UUID:
    """The next id of the request; outside of requests, any."""
    moment = _moment.get()
    if moment is None:
        return uuid4()
    moment.drawn += 1
    return uuid5(NAMESPACE_URL, f"{moment.tenant}/{moment.number}/{moment.drawn}")


class FrozenDatetime(datetime):
    """A datetime whose present is the request's."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return now().astimezone(tz)


@dataclass(slots=True)
class _Requests:
    """Counts the requests of each tenant."""

    numbers: Counter[str] = field(default_factory=Counter)

    def begin(self, tenant: str) -> None:
        self.numbers[tenant] += 1
        _moment.set(Moment(tenant, self.numbers[tenant]))


@contextmanager
def frozen(product: House) -> Iterator[None]:
    """A house whose clock and ids are frozen until the block ends."""
    requests, honest = _Requests(), Authenticator.authenticate
    quotas = product.services.orchestrator.quotas

    async def authenticate(self: Authenticator, headers: Any) -> Any:
        principal = await honest(self, headers)
        requests.begin(principal.tenant_id)
        return principal

    secret = SimpleNamespace(choice=lambda of: random.Random(next_id().int).choice(of))  # noqa: S311
    with ExitStack() as stack:
        for module in TAKE_THE_TIME:
            importlib.import_module(module)
            stack.enter_context(patch(f"{module}.datetime", FrozenDatetime))
        for name in TAKE_IDS:
            stack.enter_context(patch(name, next_id))
        stack.enter_context(patch("server.api_keys.secrets", secret))
        stack.enter_context(patch.object(Authenticator, "authenticate", authenticate))
        stack.enter_context(patch.object(quotas._shared, "_clock", now))
        yield
