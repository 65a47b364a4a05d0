"""The counters as a whole, to be compared with the ledger and mended."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import ormsgpack

from storage.quota import now_utc
from storage.quota_scripts import ask
from storage.quota_wire import EPOCH, user_digest
from storage.redis_client import AnyRedis
from tenancy.ids import RunId, SubjectId, TenantId
from tenancy.quota import Claim, Period, period_key
from tenancy.reconciliation import (
    UNKNOWN_SUBJECT,
    Balance,
    Balances,
    CallRecord,
    CallState,
    Correction,
    RunRecord,
    Snapshot,
)

KINDS = (b"spent", b"held", b"cost", b"cost_held")


class QuotaBooks:
    """Reads and mends what is counted of a tenant. Raises `Unavailable` without Redis."""

    def __init__(self, redis: AnyRedis, *, clock: Callable[[], datetime] = now_utc) -> None:
        self._redis = redis
        self._clock = clock

    async def inspect(self, tenant_id: TenantId, subjects: Sequence[SubjectId]) -> Snapshot | None:
        """Everything counted now; None where Redis has no figures of the tenant."""
        now = self._clock()
        users = [user_digest(subject_id) for subject_id in subjects]
        figures, of_users, records = await self._ask("inspect", tenant_id, {"users": users}, now)
        if not figures:
            return None
        stored = _pairs(figures)
        periods = tuple(period_key(period, now) for period in Period)
        return Snapshot(
            stored[b"version"].decode(),
            periods,
            _balances(stored, periods),
            {
                subject_id: _balances(_pairs(row), periods)
                for subject_id, row in zip(subjects, of_users, strict=True)
            },
            tuple(_run(run_id, packed) for run_id, packed in _pairs(records).items()),
        )

    async def correct(
        self, tenant_id: TenantId, snapshot: Snapshot, correction: Correction
    ) -> bool:
        """Apply a correction; False when something was counted since the snapshot."""
        question = {
            "version": snapshot.version,
            "deltas": [
                (user_digest(delta.subject_id), delta.period, delta.balance.row())
                for delta in correction.deltas
            ],
            "ended": [(str(run_id), str(call)) for run_id, call in correction.ended],
        }
        return bool(await self._ask("correct", tenant_id, question, self._clock()) == [1])

    async def _ask(
        self, name: str, tenant_id: TenantId, question: dict[str, Any], now: datetime
    ) -> Any:
        frozen = self._clock is not now_utc
        return await ask(self._redis, name, tenant_id, None, question, now=now, frozen=frozen)


def _pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _balances(stored: Mapping[bytes, bytes], periods: Sequence[str]) -> Balances:
    if not stored:
        return {}
    return {
        period: Balance(*(int(stored.get(b"%b:%b" % (period.encode(), kind), 0)) for kind in KINDS))
        for period in periods
    }


def _run(run_id: bytes, packed: bytes) -> RunRecord:
    record = ormsgpack.unpackb(packed)
    calls = record["calls"] or {}  # an empty table of Lua is an empty list
    return RunRecord(
        RunId(UUID(run_id.decode())),
        SubjectId(record["subject"] or UNKNOWN_SUBJECT),
        tuple(_call(int(number), call) for number, call in calls.items()),
    )


def _call(number: int, call: Mapping[str, Any]) -> CallRecord:
    return CallRecord(
        number,
        CallState(call["state"]),
        Claim(call["tokens"], call["cost"], call["input"], call["model"]),
        tuple(call["periods"]),
        EPOCH + timedelta(microseconds=call["at"]),
    )
