"""Counters, ledger and usage page say the same, or are made to."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from server.quota_metrics import tell_quota_drift
from server.stores import Stores
from storage.cells import Cells, open_cells
from storage.checks import refuse_unsafe
from storage.ledger import PostgresLedger
from storage.quota_books import QuotaBooks
from tenancy.errors import Unavailable
from tenancy.ids import TenantId
from tenancy.quota import Period, period_start
from tenancy.reconciliation import Balance, Correction, Snapshot, correction, estimates
from tenancy.usage import Meter

log = structlog.get_logger()

TRIES = 50  # each fails only when a run of the tenant was counted meanwhile
PAUSE_SECONDS = 0.02
RETRY_SECONDS = 1.0  # a store is away: no use in hurry
TOKENS = {Meter.INPUT_TOKENS, Meter.OUTPUT_TOKENS}


@dataclass(frozen=True, slots=True)
class Reconciled:
    """One period of one tenant: tokens by each account of them, before and after."""

    tenant: str
    period: str
    ledger: int
    counters: int
    page: int
    held: int
    drift: int  # of all figures that were off: tokens, the users' among them
    estimated: int  # events of runs that died before they could say what they took
    repaired: bool

    @property
    def agrees(self) -> bool:
        """Whether all accounts are one now; open runs may be ahead on the page."""
        same = self.page >= self.ledger if self.held else self.page == self.ledger
        return same and (self.repaired or not self.drift)


class Reconciler:
    """Proves that counters and ledger of a tenant agree, and repairs the counters."""

    def __init__(self, books: QuotaBooks, ledger: PostgresLedger) -> None:
        self._books = books
        self._ledger = ledger

    async def reconcile(self, tenant_id: TenantId, *, repair: bool = True) -> list[Reconciled]:
        """The tenant's minute, day and month; nothing where nothing is counted.

        Runs may go on meanwhile. Raises `Unavailable` without a store, or when a tenant is never
        quiet long enough.
        """
        for _ in range(TRIES):
            now = datetime.now(UTC)
            subjects = list(await self._ledger.booked(tenant_id, now))
            snapshot = await self._books.inspect(tenant_id, subjects)
            if snapshot is None:
                return []
            lost = estimates(snapshot)
            if lost and repair:
                await self._ledger.record(tenant_id, usage=lost)
            booked = await self._ledger.booked(tenant_id, now, without=snapshot.open_runs)
            found = correction(snapshot, booked)
            done = not repair or not found
            if done or await self._books.correct(tenant_id, snapshot, found):
                page = await self._page(tenant_id, now)
                return _rows(tenant_id, snapshot, found, page, len(lost), repaired=repair)
            await asyncio.sleep(PAUSE_SECONDS)
        raise Unavailable(f"{tenant_id} is never quiet long enough to be reconciled.")

    async def _page(self, tenant_id: TenantId, now: datetime) -> list[int]:
        """What the usage page shows of the three periods."""
        pages = []
        for period in Period:
            start = period_start(period, now)
            rows: Sequence[dict[str, Any]] = await self._ledger.usage(tenant_id, start, now)
            pages.append(sum(row["quantity"] for row in rows if row["meter"] in TOKENS))
        return pages


def _rows(
    tenant_id: TenantId,
    snapshot: Snapshot,
    found: Correction,
    page: Sequence[int],
    estimated: int,
    *,
    repaired: bool,
) -> list[Reconciled]:
    rows = []
    for name, period, shown in zip(snapshot.periods, Period, page, strict=True):
        off = [delta.balance for delta in found.deltas if delta.period == name]
        rows.append(
            Reconciled(
                tenant=tenant_id,
                period=period,
                ledger=found.expected[name].spent,
                counters=snapshot.tenant.get(name, Balance()).spent,
                page=shown,
                held=found.expected[name].held,
                drift=sum(abs(balance.spent) + abs(balance.held) for balance in off),
                estimated=estimated,
                repaired=repaired,
            )
        )
    return rows


def reconciler_for(cells: Cells) -> Reconciler:
    """The reconciler of a deployment."""
    return Reconciler(QuotaBooks(cells.first.redis), PostgresLedger(cells))


async def reconcile_all(
    stores: Stores, tenants: Iterable[TenantId], *, repair: bool = True
) -> tuple[list[Reconciled], list[str]]:
    """Reconcile these tenants beside running servers; what was found, and what could not be done.

    Raises `Misconfigured` where isolation cannot hold.
    """
    found: list[Reconciled] = []
    failed: list[str] = []
    async with open_cells(stores.app, stores.redis_url, size=1) as cells:
        await refuse_unsafe(cells.first.pool)
        reconciler = reconciler_for(cells)
        for tenant_id in tenants:
            try:
                found += await reconciler.reconcile(tenant_id, repair=repair)
            except Unavailable as error:
                failed.append(error.detail)
    return found, failed


class Reconciliations:
    """Reconciles tenants beside the requests that found something off: each once at a time."""

    def __init__(self, reconciler: Reconciler) -> None:
        self._reconciler = reconciler
        self._wanted: dict[TenantId, None] = {}
        self._wake = asyncio.Event()

    def soon(self, tenant_id: TenantId) -> None:
        """Reconcile the tenant when there is time."""
        self._wanted[tenant_id] = None
        self._wake.set()

    async def keep(self) -> None:
        """Reconcile what is wanted until cancelled; what fails is tried again."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._wanted:
                await self._reconcile(next(iter(self._wanted)))

    async def _reconcile(self, tenant_id: TenantId) -> None:
        del self._wanted[tenant_id]
        try:
            rows = await self._reconciler.reconcile(tenant_id)
        except Unavailable as error:
            log.warning("reconciliation_postponed", tenant_id=tenant_id, reason=error.detail)
            self._wanted[tenant_id] = None
            await asyncio.sleep(RETRY_SECONDS)
            return
        drift = sum(row.drift for row in rows)
        tell_quota_drift(drift)
        if drift:
            log.warning("reconciled", tenant_id=tenant_id, drift=drift)
