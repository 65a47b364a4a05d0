"""What an agent remembers and forgets for the person whose run it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from graph.identity import principal_in
from knowledge.memories import OFF, Memories
from server.auth import Directory
from server.components import Components
from tenancy.audit import AuditEvent, Outcome
from tenancy.errors import Forbidden
from tenancy.ids import RunId, ThreadId
from tenancy.principal import Principal


@dataclass(frozen=True, slots=True)
class Keeper:
    """Implements `Keeper` of tools: each thing it does is in the tenant's audit."""

    memories: Memories
    directory: Directory
    components: Components

    async def remember(self, user: Mapping[str, Any], text: str, thread_id: str | None) -> None:
        """Remember a text of the person, as much as its tenant's plan allows."""
        principal = principal_in(user)
        tenant = await self.directory.tenant(principal.tenant_id)
        if tenant is None:
            raise Forbidden(OFF)
        event = run_event(self.components, principal, "memory.remember", _thread(thread_id))
        await self.memories.remember(
            principal,
            text,
            most=tenant.plan.memories,
            audit=event,
            thread_id=event.thread_id,
        )

    async def forget(self, user: Mapping[str, Any], named: str, thread_id: str | None) -> bool:
        """Forget the person's own memory of this id or text; False where there is none."""
        principal = principal_in(user)
        event = run_event(self.components, principal, "memory.forget", _thread(thread_id))
        return await self.memories.forget(principal, named, event)


def run_event(
    components: Components,
    principal: Principal,
    action: str,
    thread_id: ThreadId | None,
    run_id: RunId | None = None,
) -> AuditEvent:
    """What a run does to memory, as an event of the audit that commits with it."""
    return AuditEvent(
        event_id=uuid4(),
        actor=str(components.at_graph(principal)),
        subject_id=principal.subject_id,
        action=action,
        resource="",
        outcome=Outcome.ALLOWED,
        created_at=datetime.now(UTC),
        run_id=run_id,
        thread_id=thread_id,
    )


def _thread(thread_id: str | None) -> ThreadId | None:
    return None if thread_id is None else ThreadId(UUID(thread_id))
