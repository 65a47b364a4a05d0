"""The rules of quotas in plain words, to compare the scripts with."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from tenancy.ids import RunId
from tenancy.plan import FREE
from tenancy.quota import HOLD_SECONDS, SLOT_SECONDS, Period, period_end, period_key

START = datetime(2026, 11, 23, 12, 0, 10, tzinfo=UTC)


class Clock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


MODEL_PLAN = replace(
    FREE,
    requests_per_minute=30,
    burst=3,
    concurrent_runs=2,
    tokens_per_minute=100,
    tokens_per_day=180,
    tokens_per_month=250,
)


@dataclass
class Hold:
    tokens: int
    periods: list[str]
    state: str = "held"


@dataclass
class Model:
    """What the scripts should answer: every figure is a sum over what happened."""

    clock: Clock
    full_at: datetime = START
    admitted: set[RunId] = field(default_factory=set)
    slots: dict[RunId, datetime] = field(default_factory=dict)
    due: dict[RunId, datetime] = field(default_factory=dict)
    holds: dict[tuple[RunId, int], Hold] = field(default_factory=dict)
    settled: list[Hold] = field(default_factory=list)

    def figures(self, periods: list[str]) -> list[tuple[int, int]]:
        everything = [*self.settled, *self.holds.values()]

        def total(period: str, states: set[str]) -> int:
            return sum(h.tokens for h in everything if period in h.periods and h.state in states)

        return [(total(p, {"charged", "settled"}), total(p, {"held"})) for p in periods]

    def periods(self) -> list[str]:
        return [period_key(period, self.clock.now) for period in Period]

    def of(self, run: RunId) -> list[Hold]:
        return [hold for (owner, _), hold in self.holds.items() if owner == run]

    def touch(self, run: RunId) -> None:
        holding = any(hold.state == "held" for hold in self.of(run))
        seconds = HOLD_SECONDS if holding else 2 * HOLD_SECONDS
        self.due[run] = self.clock.now + timedelta(seconds=seconds)

    def reap(self) -> None:
        for run in [run for run, due in self.due.items() if due <= self.clock.now]:
            held = [hold for hold in self.of(run) if hold.state == "held"]
            for hold in held:
                hold.state = "charged"
            if held:
                self.touch(run)
                continue
            self.settled += self.of(run)
            self.holds = {key: hold for key, hold in self.holds.items() if key[0] != run}
            del self.due[run]
            self.admitted.discard(run)
        self.slots = {run: end for run, end in self.slots.items() if end > self.clock.now}

    def waits(self, run: RunId, call: int, tokens: int) -> dict[str, timedelta]:
        hold = self.holds.get((run, call), Hold(0, self.periods()))
        more = 0 if hold.state == "settled" else tokens - hold.tokens
        found, limits = {}, (100, 180, 250)
        for period, limit, figures in zip(Period, limits, self.figures(hold.periods), strict=True):
            if more > 0 and sum(figures) + more > limit:
                left = period_end(period, self.clock.now) - self.clock.now
                short = min(timedelta(seconds=2), left)
                found[f"tokens per {period}"] = short if figures[0] + more <= limit else left
        return found

    def hold(self, run: RunId, call: int, tokens: int) -> None:
        hold = self.holds.setdefault((run, call), Hold(0, self.periods()))
        if hold.state != "settled":
            hold.state, hold.tokens = "held", max(hold.tokens, tokens)

    def admit(self, run: RunId, tokens: int) -> dict[str, timedelta]:
        self.reap()
        waits = {}
        debt = max(timedelta(), self.full_at - self.clock.now) + timedelta(seconds=2)
        if run not in self.admitted:
            if debt > timedelta(seconds=6):
                waits["requests"] = debt - timedelta(seconds=6)
            waits |= self.waits(run, 0, tokens)
        if run not in self.slots and len(self.slots) >= 2:
            waits["concurrent_runs"] = timedelta(seconds=1)
        if waits:
            return waits
        self.slots[run] = self.clock.now + timedelta(seconds=SLOT_SECONDS)
        if run not in self.admitted:
            self.full_at = self.clock.now + debt
            self.hold(run, 0, tokens)
            self.admitted.add(run)
        self.touch(run)
        return {}

    def reserve(self, run: RunId, call: int, tokens: int) -> dict[str, timedelta]:
        self.reap()
        waits = self.waits(run, call, tokens)
        if not waits:
            self.hold(run, call, tokens)
            self.touch(run)
        return waits

    def settle(self, run: RunId, call: int, tokens: int) -> bool:
        hold = self.holds.setdefault((run, call), Hold(0, self.periods()))
        first = hold.state != "settled"
        if first:
            hold.state, hold.tokens = "settled", tokens
            self.touch(run)
        return first

    def release(self, run: RunId) -> None:
        self.slots.pop(run, None)
        if run in self.due:
            kept = {k: h for k, h in self.holds.items() if k[0] != run or h.state == "settled"}
            self.holds = kept
            self.touch(run)

    def renew(self, run: RunId) -> bool:
        if run in self.due:
            self.touch(run)
        if run in self.slots:
            self.slots[run] = self.clock.now + timedelta(seconds=SLOT_SECONDS)
        return run in self.slots
