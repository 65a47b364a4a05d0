"""One question to the local limits: who refuses, for how long, and where everybody stands."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tenancy.local_accounts import Account, Accounts, Hold, LocalRun, amount
from tenancy.local_share import Share, local_rate, local_slots, share_of
from tenancy.plan import UNLIMITED, Plan
from tenancy.price import MICROS
from tenancy.quota import (
    MINUTE,
    Budget,
    Claim,
    Level,
    Period,
    Rate,
    Standing,
    budgets_of,
    period_end,
    period_key,
    rate_of,
    slots_of,
)

NOTHING, SLOT_HINT, HELD_HINT = timedelta(), timedelta(seconds=1), timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Wait:
    """How long a limit refuses; `ours` where the plan has room and only our share has none."""

    time: timedelta
    name: str
    ours: bool = False


def longest(waits: Sequence[Wait]) -> Wait:
    """The refusal that lasts longest; of equals, one that is the tenant's own."""
    return max(waits, key=lambda wait: (wait.time, not wait.ours))


@dataclass(frozen=True, slots=True)
class Decision:
    """What is asked of these accounts, under which plan, when, among how many replicas."""

    accounts: Accounts
    plan: Plan
    now: datetime
    replicas: int

    def gate_waits(self, run: LocalRun, slots_held: Sequence[bool]) -> list[Wait]:
        """Who refuses a request or a slot: nobody a request that was counted already."""
        waits: list[Wait] = []
        for (level, account), has_slot in zip(self.accounts, slots_held, strict=True):
            prefix = "user " if level is Level.USER else ""
            wait = self._rate_wait(level, account)
            if wait and not run.admitted:
                waits.append(Wait(wait, f"{prefix}requests"))
            if not has_slot and len(account.running) >= self._slots(level):
                waits.append(Wait(SLOT_HINT, f"{prefix}concurrent_runs"))
        return waits

    def spend_request(self) -> None:
        """Take one place of each bucket."""
        for level, account in self.accounts:
            rate = self._rate(level)
            if rate.interval is not None:
                account.full_at = self.now + self._debt(account, rate) + rate.interval

    def choose(self, run: LocalRun, hold: Hold, offers: Sequence[Claim]) -> tuple[int, list[Wait]]:
        """The first offer that fits, or the waits of the one that may come soonest."""
        refused: list[list[Wait]] = []
        for index, offer in enumerate(offers):
            waits = self._budget_waits(run, hold, offer)
            if not waits:
                return index, []
            refused.append(waits)
        return 0, min(refused, key=lambda waits: longest(waits).time)

    def standings(self) -> tuple[Standing, ...]:
        """Where all stand: requests and runs against our share, budgets against the plan."""
        found = [s for level, account in self.accounts for s in self._of_account(level, account)]
        return tuple(standing for standing in found if _is_told(standing))

    # -- budgets

    def _budget_waits(self, run: LocalRun, hold: Hold, offer: Claim) -> list[Wait]:
        if hold.settled:
            return []
        waits = [
            self._budget_wait(account, budget, hold, offer)
            for level, account in self.accounts
            for budget in budgets_of(self.plan)
            if budget.level is level
        ]
        waits.append(self._run_wait(run, hold, offer))
        return [wait for wait in waits if wait is not None]

    def _budget_wait(
        self, account: Account, budget: Budget, hold: Hold, offer: Claim
    ) -> Wait | None:
        own = hold.own(budget.meter)
        more = max(0, amount(offer, budget.meter) - amount(hold.claim, budget.meter))
        if budget.limit == UNLIMITED or not more:
            return None
        key = (budget.meter, hold.periods[budget.period])
        share, others = self._share(account, budget, key), account.taken(key) - own
        if share.fits(own + more, others):
            return None
        until_end = period_end(budget.period, self.now) - self.now
        spent = account.spent[key]
        if spent + own + more <= share.usual:
            return Wait(min(HELD_HINT, until_end), budget.name)
        has_room = account.before[key] + others + own + more <= _in_micros(budget)
        if has_room and self._is_lasting(budget, own + more):
            return Wait(until_end, f"share of {budget.name}", ours=True)
        return Wait(until_end, budget.name)

    def _is_lasting(self, budget: Budget, claimed: int) -> bool:
        """Whether waiting for the next minute is no help."""
        return budget.period is not Period.MINUTE or claimed > _in_micros(budget) // self.replicas

    def _run_wait(self, run: LocalRun, hold: Hold, offer: Claim) -> Wait | None:
        """A run that is out of tokens never gets more: the wait is as long as waits can be."""
        more = max(0, offer.tokens - hold.claim.tokens)
        taken = sum(each.claim.tokens for each in run.calls.values())
        if self.plan.tokens_per_run == UNLIMITED or not more:
            return None
        if taken + more <= self.plan.tokens_per_run:
            return None
        return Wait(period_end(Period.MONTH, self.now) - self.now, "tokens per run")

    def _share(self, account: Account, budget: Budget, key: tuple[str, str]) -> Share:
        return share_of(_in_micros(budget), account.before[key], self.replicas)

    # -- requests and runs

    def _rate(self, level: Level) -> Rate:
        return local_rate(rate_of(self.plan, level), self.replicas)

    def _slots(self, level: Level) -> int:
        return local_slots(slots_of(self.plan)[level is Level.USER], self.replicas)

    def _debt(self, account: Account, rate: Rate) -> timedelta:
        """How long until the bucket is full; never emptier than empty, whatever was owed before."""
        most = (rate.interval or NOTHING) * rate.burst
        return min(most, max(NOTHING, account.full_at - self.now))

    def _rate_wait(self, level: Level, account: Account) -> timedelta:
        rate = self._rate(level)
        if rate.interval is None:
            return NOTHING
        missing = self._debt(account, rate) + rate.interval - rate.interval * rate.burst
        return max(NOTHING, missing)

    # -- standings

    def _of_account(self, level: Level, account: Account) -> list[Standing]:
        slots, running = self._slots(level), len(account.running)
        budgets = [budget for budget in budgets_of(self.plan) if budget.level is level]
        return [
            self._requests(level, account),
            Standing("concurrent_runs", "", slots, running, 0, None, level=level),
            *(self._budget(account, budget) for budget in budgets),
        ]

    def _requests(self, level: Level, account: Account) -> Standing:
        rate = self._rate(level)
        if rate.interval is None:
            return Standing("requests", "minute", UNLIMITED, 0, 0, None, level=level)
        debt = self._debt(account, rate)
        a_minute = -(-MINUTE // rate.interval) if rate.burst else 0
        used, full_at = -(-debt // rate.interval), self.now + debt
        return Standing("requests", "minute", a_minute, used, 0, full_at, rate.burst, level)

    def _budget(self, account: Account, budget: Budget) -> Standing:
        """The plan's own limit and all that is known to be spent: alerts and bills read this."""
        key = (budget.meter, period_key(budget.period, self.now))
        used, held = account.before[key] + account.spent[key], account.held[key]
        if budget.meter == "money":
            used, held = -(-used // MICROS), -(-held // MICROS)
        end = period_end(budget.period, self.now)
        return Standing(
            budget.meter, budget.period, budget.limit, used, held, end, level=budget.level
        )


def _in_micros(budget: Budget) -> int:
    return budget.limit * MICROS if budget.meter == "money" else budget.limit


def _is_told(standing: Standing) -> bool:
    always = standing.level is Level.TENANT and standing.meter != "money"
    return always or standing.limit != UNLIMITED
