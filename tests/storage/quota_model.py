"""The rules of quotas in plain words, to compare the scripts with."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from tenancy.ids import RunId, SubjectId
from tenancy.plan import FREE, Plan
from tenancy.price import MICROS
from tenancy.quota import (
    HOLD_SECONDS,
    SLOT_SECONDS,
    Claim,
    Level,
    Period,
    budgets_of,
    period_end,
    period_key,
    rate_of,
    slots_of,
)

START = datetime(2026, 11, 23, 12, 0, 10, tzinfo=UTC)
HELD_WAIT = timedelta(seconds=2)
SECOND, MICROSECOND = timedelta(seconds=1), timedelta(microseconds=1)


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
    money_per_day=3,
    money_per_month=4,
    user_requests_per_minute=20,
    user_burst=2,
    user_concurrent_runs=1,
    user_tokens_per_minute=80,
    user_tokens_per_day=120,
    user_money_per_month=2,
    tokens_per_run=130,
)
WIDER_PLAN = replace(MODEL_PLAN, requests_per_minute=60, burst=5, tokens_per_day=240)
NARROW_PLAN = replace(MODEL_PLAN, requests_per_minute=6, concurrent_runs=1, tokens_per_minute=60)
PLANS = (MODEL_PLAN, WIDER_PLAN, NARROW_PLAN)


@dataclass
class Hold:
    claim: Claim
    periods: list[str]
    user: SubjectId
    state: str = "held"


@dataclass
class Record:
    user: SubjectId
    admitted: bool = False
    chosen: int = 0
    since: datetime | None = None


@dataclass
class Model:
    """What the scripts should answer: every figure is a sum over what happened."""

    clock: Clock
    plan: Plan = MODEL_PLAN
    full_at: dict[str, datetime] = field(default_factory=dict)
    runs: dict[RunId, Record] = field(default_factory=dict)
    slots: dict[str, dict[RunId, datetime]] = field(default_factory=dict)
    due: dict[RunId, datetime] = field(default_factory=dict)
    holds: dict[tuple[RunId, int], Hold] = field(default_factory=dict)
    settled: list[Hold] = field(default_factory=list)
    run_us: int = 0
    run_off_us: int = 0

    def figures(self, user: SubjectId | None, periods: list[str]) -> list[tuple[int, ...]]:
        """Spent, held, cost and cost held of each period, of a user or of the tenant."""
        found = [*self.settled, *self.holds.values()]
        mine = [hold for hold in found if user is None or hold.user == user]

        def total(period: str, states: set[str]) -> tuple[int, int]:
            counted = [h.claim for h in mine if period in h.periods and h.state in states]
            return sum(c.tokens for c in counted), sum(c.micros for c in counted)

        rows = []
        for period in periods:
            spent, cost = total(period, {"charged", "settled"})
            held, cost_held = total(period, {"held"})
            rows.append((spent, held, cost, cost_held))
        return rows

    def periods(self) -> list[str]:
        return [period_key(period, self.clock.now) for period in Period]

    def of(self, run: RunId, state: str) -> list[Hold]:
        held = [hold for (owner, _), hold in self.holds.items() if owner == run]
        return [hold for hold in held if hold.state == state]

    def touch(self, run: RunId) -> None:
        seconds = HOLD_SECONDS if self.of(run, "held") else 2 * HOLD_SECONDS
        self.due[run] = self.clock.now + timedelta(seconds=seconds)

    def taken(self, place: str) -> dict[RunId, datetime]:
        return self.slots.setdefault(place, {})

    def reap(self, user: SubjectId) -> None:
        for run in [run for run, due in self.due.items() if due <= self.clock.now]:
            if held := self.of(run, "held"):
                for hold in held:
                    hold.state = "charged"
                self.touch(run)
                continue
            del self.due[run]
            if not self.of(run, "charged"):
                self.settled += self.of(run, "settled")
                self.holds = {key: hold for key, hold in self.holds.items() if key[0] != run}
                del self.runs[run]
        for place in ("", user):
            living = {r: end for r, end in self.taken(place).items() if end > self.clock.now}
            self.slots[place] = living

    def waits(self, run: RunId, record: Record, call: int, offer: Claim) -> dict[str, timedelta]:
        hold = self.holds.get((run, call), Hold(Claim(0), self.periods(), record.user))
        more = {"tokens": 0, "money": 0}
        if hold.state != "settled":
            more = {
                "tokens": max(0, offer.tokens - hold.claim.tokens),
                "money": max(0, offer.micros - hold.claim.micros),
            }
        found = {}
        for budget in budgets_of(self.plan):
            user = record.user if budget.level is Level.USER else None
            row = self.figures(user, hold.periods)[list(Period).index(budget.period)]
            spent, held = row[:2] if budget.meter == "tokens" else row[2:]
            limit = budget.limit if budget.meter == "tokens" else budget.limit * MICROS
            asked = more[budget.meter]
            if budget.limit >= 0 and asked and spent + held + asked > limit:
                left = period_end(budget.period, self.clock.now) - self.clock.now
                found[budget.name] = min(HELD_WAIT, left) if spent + asked <= limit else left
        mine = sum(h.claim.tokens for (owner, _), h in self.holds.items() if owner == run)
        if more["tokens"] and mine + more["tokens"] > self.plan.tokens_per_run >= 0:
            month = period_end(Period.MONTH, self.clock.now) - self.clock.now
            found["tokens per run"] = month
        return found

    def choose(
        self, run: RunId, record: Record, call: int, offers: Sequence[Claim]
    ) -> tuple[int, dict[str, timedelta]]:
        refusals = [self.waits(run, record, call, offer) for offer in offers]
        if {} in refusals:
            return refusals.index({}), {}
        return -1, min(refusals, key=lambda waits: max(waits.values()))

    def hold(self, run: RunId, record: Record, call: int, offer: Claim) -> None:
        known = (run, call) in self.holds
        hold = self.holds.setdefault((run, call), Hold(Claim(0), self.periods(), record.user))
        if known and hold.state == "settled":
            return
        most = Claim(max(hold.claim.tokens, offer.tokens), max(hold.claim.micros, offer.micros))
        hold.state, hold.claim = "held", most

    def debt(self, place: str, level: Level) -> timedelta:
        rate = rate_of(self.plan, level)
        if rate.interval is None:
            return timedelta()
        owed = max(timedelta(), self.full_at.get(place, START) - self.clock.now)
        most = rate.interval * rate.burst
        return owed if owed <= most else max(timedelta(), most - rate.interval)

    def gate(self, run: RunId, record: Record) -> dict[str, timedelta]:
        waits = {}
        for level, most in zip((Level.TENANT, Level.USER), slots_of(self.plan), strict=True):
            place, prefix = ("", "") if level is Level.TENANT else (record.user, "user ")
            rate = rate_of(self.plan, level)
            if not record.admitted and rate.interval is not None:
                over = self.debt(place, level) + rate.interval - rate.interval * rate.burst
                if over > timedelta():
                    waits[f"{prefix}requests"] = over
            taken = self.taken(place)
            if most >= 0 and run not in taken and len(taken) >= most:
                waits[f"{prefix}concurrent_runs"] = self.until_a_run_ends(taken)
        return waits

    def until_a_run_ends(self, taken: dict[RunId, datetime]) -> timedelta:
        known = (self.run_us + 4 * self.run_off_us) * MICROSECOND
        usual = known if self.run_us > 0 else 5 * SECOND
        left = []
        for run in taken:
            age = self.clock.now - (self.runs[run].since or self.clock.now)
            left.append(usual - age if age < usual else age)
        return max(SECOND, min(left))

    def learn(self, took: timedelta) -> None:
        us = took // MICROSECOND
        if self.run_us == 0:
            self.run_us, self.run_off_us = us, us // 2
        else:
            self.run_off_us += (abs(us - self.run_us) - self.run_off_us) // 4
            self.run_us += (us - self.run_us) // 8

    def take_slot(self, run: RunId, record: Record) -> None:
        if run not in self.taken(""):
            record.since = self.clock.now
        for place in ("", record.user):
            self.taken(place)[run] = self.clock.now + timedelta(seconds=SLOT_SECONDS)

    def admit(
        self, run: RunId, user: SubjectId, offers: Sequence[Claim]
    ) -> tuple[int, dict[str, timedelta]]:
        self.reap(user)
        record = self.runs.get(run, Record(user))
        waits, chosen = self.gate(run, record), record.chosen
        if not record.admitted:
            chosen, refused = self.choose(run, record, 0, offers)
            waits |= refused
        if waits:
            return -1, waits
        self.take_slot(run, record)
        if not record.admitted:
            for level, place in ((Level.TENANT, ""), (Level.USER, user)):
                if (interval := rate_of(self.plan, level).interval) is not None:
                    self.full_at[place] = self.clock.now + self.debt(place, level) + interval
            self.hold(run, record, 0, offers[chosen])
            record.admitted, record.chosen = True, chosen
        self.runs[run] = record
        self.touch(run)
        return chosen, {}

    def reserve(
        self, run: RunId, user: SubjectId, call: int, offers: Sequence[Claim]
    ) -> tuple[int, dict[str, timedelta]]:
        self.reap(user)
        record = self.runs.get(run, Record(user))
        chosen, waits = self.choose(run, record, call, offers)
        if not waits:
            self.hold(run, record, call, offers[chosen])
            self.runs[run] = record
            self.touch(run)
        return chosen, waits

    def settle(self, run: RunId, user: SubjectId, call: int, actual: Claim) -> bool:
        record = self.runs.setdefault(run, Record(user))
        hold = self.holds.setdefault((run, call), Hold(Claim(0), self.periods(), record.user))
        first = hold.state != "settled"
        if first:
            hold.state, hold.claim = "settled", actual
            self.touch(run)
        return first

    def release(self, run: RunId) -> None:
        if run in self.taken("") and (since := self.runs[run].since):
            self.learn(self.clock.now - since)
        for taken in self.slots.values():
            taken.pop(run, None)
        if run in self.runs:
            kept = {k: h for k, h in self.holds.items() if k[0] != run or h.state == "settled"}
            self.holds = kept
            self.touch(run)

    def renew(self, run: RunId) -> bool:
        if run not in self.runs:
            return False
        self.touch(run)
        if run not in self.taken(""):
            return False
        self.take_slot(run, self.runs[run])
        return True
