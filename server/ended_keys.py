"""Keys that ended and are shown all the same: their tenants read it in their audit."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID, uuid4

import structlog

from server.refusal import Kind
from tenancy.audit import AuditEvent, Outcome
from tenancy.credentials import ApiKey
from tenancy.errors import Unavailable
from tenancy.ids import KeyId, TenantId

RECORD_SECONDS = 10.0
KEYS = 10_000  # between two records; they exist, so there are not many

log = structlog.get_logger()


class Ledger(Protocol):
    """Where audit events go. Raises `Unavailable`."""

    async def record(self, tenant_id: TenantId, *, audit: Sequence[AuditEvent]) -> None:
        """Insert events, each once however often it is recorded."""
        ...


@dataclass(slots=True)
class _Attempts:
    key: ApiKey
    kind: Kind
    count: int = 0
    event_id: UUID = field(default_factory=uuid4)
    first: datetime = field(default_factory=lambda: datetime.now(UTC))

    def event(self) -> AuditEvent:
        return AuditEvent(
            event_id=self.event_id,
            actor=f"key:{self.key.key_id}",
            subject_id=self.key.subject_id,
            action="key.use",
            resource=str(self.key.key_id),
            outcome=Outcome.REFUSED,
            created_at=self.first,
            attributes={"reason": self.kind.value, "attempts": self.count},
        )


class EndedKeys:
    """One audit event a key and round, with the number of attempts: no flood fills an audit."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._shown: dict[tuple[KeyId, Kind], _Attempts] = {}

    def mark(self, key: ApiKey, kind: Kind) -> None:
        """Remember an attempt; nothing waits."""
        at = (key.key_id, kind)
        if at in self._shown or len(self._shown) < KEYS:
            self._shown.setdefault(at, _Attempts(key, kind)).count += 1

    async def keep(self, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Record the attempts round by round until cancelled."""
        while True:
            await pause(RECORD_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Record what was attempted; what cannot be recorded now is kept for the next round."""
        for at in list(self._shown):
            attempts = self._shown.pop(at)
            try:
                await self._ledger.record(attempts.key.tenant_id, audit=[attempts.event()])
            except Unavailable as error:
                self._put_back(at, attempts)
                log.warning("audit_postponed", keys=len(self._shown), reason=error.detail)
                return
            except asyncio.CancelledError:  # the last flush is still to come
                self._put_back(at, attempts)
                raise

    def _put_back(self, at: tuple[KeyId, Kind], attempts: _Attempts) -> None:
        meanwhile = self._shown.pop(at, None)
        attempts.count += meanwhile.count if meanwhile else 0
        self._shown[at] = attempts
