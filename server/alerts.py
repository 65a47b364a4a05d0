"""Alerts at 80 and 100 per cent of a budget: an audit record, and a post to a webhook."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import uuid4

import structlog

from server.quota_metrics import count_alert, count_webhook
from server.webhook import Webhook
from tenancy.alert import Alert, crossed
from tenancy.audit import AuditEvent, Outcome
from tenancy.errors import Unavailable
from tenancy.ids import SubjectId, TenantId
from tenancy.quota import Standing

ACTION = "quota.alert"
TOLD = 100_000  # alerts remembered: of all tenants of a big cell, for a month
WAITING = 10_000  # with Postgres away; what does not fit is noticed again by the next run
POSTS = 1_000  # with the receiver away
AGAIN_SECONDS = 5.0
LAST_SECONDS = 5.0  # what a receiver has at shutdown

log = structlog.get_logger()


class Ledger(Protocol):
    """Where alerts are recorded. Raises `Unavailable`."""

    async def record_first(self, tenant_id: TenantId, event: AuditEvent) -> bool:
        """Insert an event, unless another process did; whether it was us, asked once or again."""
        ...


@dataclass(frozen=True, slots=True)
class _Notice:
    tenant_id: TenantId
    alert: Alert
    sender: str
    noticed: datetime = field(default_factory=lambda: datetime.now(UTC))

    def event(self) -> AuditEvent:
        alert, budget = self.alert, self.alert.standing
        return AuditEvent(
            event_id=alert.alert_id(self.tenant_id),
            actor="server",
            subject_id=alert.subject_id or SubjectId(""),
            action=ACTION,
            resource=alert.limit_name,
            outcome=Outcome.ALLOWED,
            created_at=self.noticed,
            attributes={
                "level": budget.level,
                "period": alert.period_key,
                "threshold": alert.threshold,
                "used": budget.used,
                "limit": budget.limit,
                "sender": self.sender,
            },
        )

    def payload(self) -> Mapping[str, Any]:
        alert, budget = self.alert, self.alert.standing
        whose = {} if alert.subject_id is None else {"subject": alert.subject_id}
        return {
            "id": alert.alert_id(self.tenant_id),
            "type": ACTION,
            "tenant_id": self.tenant_id,
            "level": budget.level,
            **whose,
            "meter": budget.meter,
            "period": budget.period,
            "threshold": alert.threshold,
            "used": budget.used,
            "limit": budget.limit,
            "resets_at": alert.resets_at,
            "created_at": self.noticed,
        }


class Alerts:
    """Notices budgets beside runs, which wait for nothing of it.

    Of all replicas the one whose record comes first posts. What it was posting when it was killed
    is in the audit alone.
    """

    def __init__(
        self,
        ledger: Ledger,
        webhook: Webhook | None = None,
        *,
        most_told: int = TOLD,
        most_waiting: int = WAITING,
    ) -> None:
        self._ledger = ledger
        self._webhook = webhook
        self._most_told = most_told
        self._most_waiting = most_waiting
        self._sender = str(uuid4())
        self._told: OrderedDict[tuple[object, ...], None] = OrderedDict()
        self._waiting: deque[_Notice] = deque()
        self._some = asyncio.Event()
        self._posts: set[asyncio.Task[None]] = set()

    def note(
        self,
        tenant_id: TenantId,
        standings: Iterable[Standing],
        refused_by: str | None = None,
        *,
        subject_id: SubjectId | None = None,
    ) -> None:
        """Look at where a tenant stands after an admission; tell, later, what is new of it."""
        for alert in crossed(standings, refused_by, subject_id):
            once = (tenant_id, *alert.once())
            if once not in self._told and len(self._waiting) < self._most_waiting:
                self._remember(once)
                self._waiting.append(_Notice(tenant_id, alert, self._sender))
                self._some.set()

    async def keep(self, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Record and post what is noted, until cancelled."""
        while True:
            await self._some.wait()
            if not await self.flush():
                await pause(AGAIN_SECONDS)

    async def flush(self) -> bool:
        """Record what was noted, and begin to post it; False when the rest must wait."""
        while self._waiting:
            notice = self._waiting.popleft()
            try:
                await self._record(notice)
            except Unavailable as error:
                self._put_back(notice)
                log.warning("alerts_postponed", alerts=len(self._waiting), reason=error.detail)
                return False
            except asyncio.CancelledError:  # the last flush is still to come
                self._put_back(notice)
                raise
        self._some.clear()
        return True

    async def aclose(self) -> None:
        """Record what is left, once `keep` has ended, and give the receiver a moment for it."""
        await self.flush()
        if self._posts:
            _, late = await asyncio.wait([*self._posts], timeout=LAST_SECONDS)
            for post in late:
                post.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if self._webhook is not None:
            await self._webhook.aclose()

    def _remember(self, once: tuple[object, ...]) -> None:
        self._told[once] = None
        if len(self._told) > self._most_told:
            self._told.popitem(last=False)

    def _put_back(self, notice: _Notice) -> None:
        self._waiting.appendleft(notice)
        self._some.set()

    async def _record(self, notice: _Notice) -> None:
        try:
            first = await self._ledger.record_first(notice.tenant_id, notice.event())
        except Unavailable:
            raise
        except Exception as error:  # a worker's loop: one alert must not end them all
            log.error("alert_unrecorded", error=type(error).__name__)
        else:
            if first:
                self._tell(notice)

    def _tell(self, notice: _Notice) -> None:
        count_alert(notice.alert.threshold)
        log.info(
            "quota_alert",
            tenant_id=notice.tenant_id,
            threshold=notice.alert.threshold,
            limit=notice.alert.limit_name,
        )
        if self._webhook is None:
            return
        if len(self._posts) >= POSTS:
            count_webhook("dropped")
            return
        post = asyncio.create_task(self._post(self._webhook, notice))
        self._posts.add(post)
        post.add_done_callback(self._posts.discard)

    async def _post(self, webhook: Webhook, notice: _Notice) -> None:
        delivered = False
        try:
            delivered = await webhook.post(notice.payload())
        finally:
            count_webhook("delivered" if delivered else "failed")
