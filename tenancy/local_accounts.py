"""What the runs of this process took while the counters are away: figures, and who holds what."""

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tenancy.ids import RunId, SubjectId
from tenancy.quota import METERS, Claim, Level, Period, period_key

MOST_USERS = 1000  # of a tenant; those who come later share one more account
ENDED_RUNS = 4  # of a tenant, remembered so that nothing of theirs is counted twice
KEPT_FIGURES = 32  # of an account; then those of past periods go
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
THE_REST = SubjectId("")
NO_CLAIM = Claim(0)

Key = tuple[str, str]  # a meter and the name of a period
Periods = Mapping[Period, str]


@dataclass(slots=True)
class Account:
    """What one tenant, or one user of it, took.

    `before` is what was spent or held when this process began to count, and what came of it.
    """

    before: Counter[Key]
    spent: Counter[Key] = field(default_factory=Counter)
    held: Counter[Key] = field(default_factory=Counter)
    full_at: datetime = LONG_AGO  # when the bucket of requests is full again
    running: set[RunId] = field(default_factory=set)

    def taken(self, key: Key) -> int:
        """What is spent or held here of one meter in one period."""
        return self.spent[key] + self.held[key]

    def forget_past(self, periods: Periods) -> None:
        """Drop what is written about periods before these, once it is much."""
        names = {len(name): name for name in periods.values()}
        for figures in (self.before, self.spent, self.held):
            if len(figures) > KEPT_FIGURES:
                for key in [key for key in figures if key[1] < names[len(key[1])]]:
                    del figures[key]


Accounts = tuple[tuple[Level, Account], ...]


@dataclass(slots=True)
class Hold:
    """One model call: what it may take, or, once settled, took.

    `inherited` is the part that was held before the counters went away.
    """

    periods: Periods
    claim: Claim = NO_CLAIM
    inherited: Claim = NO_CLAIM
    settled: bool = False

    def own(self, meter: str) -> int:
        """What it holds of what this process gives."""
        return amount(self.claim, meter) - amount(self.inherited, meter)


@dataclass(slots=True)
class LocalRun:
    """A run with the accounts it is charged to; `adopted` if it began before the outage."""

    accounts: Accounts
    admitted: bool = False
    adopted: bool = False
    chosen: int = 0
    calls: dict[int, Hold] = field(default_factory=dict)

    def take_slot(self, run_id: RunId) -> None:
        """Count it among the runs that go on."""
        for _, account in self.accounts:
            account.running.add(run_id)

    def inherit(self, call: int, periods: Periods, claim: Claim) -> Hold:
        """Know a call by what it held, or took, without our having given it."""
        hold = self.calls[call] = Hold(periods, claim, inherited=claim)
        self._book("before", hold.periods, claim)
        return hold

    def hold(self, call: int, hold: Hold, offer: Claim) -> None:
        """Raise what a call holds to `offer`, unless it is settled."""
        self.calls[call] = hold
        if hold.settled:
            return
        most = Claim(
            max(hold.claim.tokens, offer.tokens),
            max(hold.claim.micros, offer.micros),
            offer.input_tokens,
            offer.model,
        )
        self._book("held", hold.periods, _minus(most, hold.claim))
        hold.claim = most

    def settle(self, hold: Hold, actual: Claim) -> None:
        """Charge what a call took in the place of what it holds."""
        inherited = Claim(
            min(actual.tokens, hold.inherited.tokens), min(actual.micros, hold.inherited.micros)
        )
        self._give_back(hold)
        self._book("before", hold.periods, inherited)
        self._book("spent", hold.periods, _minus(actual, inherited))
        hold.claim, hold.inherited, hold.settled = actual, inherited, True

    def release(self, run_id: RunId) -> None:
        """Free the slot and give back what no settle has claimed."""
        for call, hold in tuple(self.calls.items()):
            if not hold.settled:
                self._give_back(hold)
                del self.calls[call]
        for _, account in self.accounts:
            account.running.discard(run_id)

    def _give_back(self, hold: Hold) -> None:
        self._book("before", hold.periods, _minus(NO_CLAIM, hold.inherited))
        self._book("held", hold.periods, _minus(hold.inherited, hold.claim))

    def _book(self, figures: str, periods: Periods, claim: Claim) -> None:
        for _, account in self.accounts:
            counter: Counter[Key] = getattr(account, figures)
            for meter in METERS:
                for name in periods.values():
                    counter[meter, name] += amount(claim, meter)
            account.forget_past(periods)


@dataclass(slots=True)
class LocalTenant:
    """A tenant's own account, those of its users where they are limited, and its runs."""

    account: Account
    users: dict[SubjectId, Account] = field(default_factory=dict)
    runs: OrderedDict[RunId, LocalRun] = field(default_factory=OrderedDict)

    def user(self, subject_id: SubjectId | None) -> Account | None:
        """The account of a user, if it has one."""
        if subject_id is None or not self.users:
            return None
        return self.users.get(subject_id) or self.users.get(THE_REST)

    def begin_user(self, subject_id: SubjectId, before: Counter[Key]) -> None:
        """Open an account; beyond a thousand users, one for all the rest."""
        if len(self.users) < MOST_USERS:
            self.users[subject_id] = Account(before)
        else:
            self.users[THE_REST] = Account(Counter())

    def accounts(self, subject_id: SubjectId | None) -> Accounts:
        """Who is charged when this user acts."""
        user = self.user(subject_id)
        own: Accounts = ((Level.TENANT, self.account),)
        return own if user is None else (*own, (Level.USER, user))

    def run(self, run_id: RunId, subject_id: SubjectId | None) -> LocalRun:
        """The run; one that nobody knows began before the outage."""
        run = self.runs.get(run_id)
        if run is None:
            accounts = self.accounts(subject_id)
            run = self.runs[run_id] = LocalRun(accounts, admitted=True, adopted=True)
        return run

    def forget_ended(self) -> None:
        """Drop the runs that ended longest ago."""
        for run_id in tuple(self.runs)[:-ENDED_RUNS]:
            if run_id not in self.account.running:
                del self.runs[run_id]


def booked(spent: Sequence[Claim], now: datetime) -> Counter[Key]:
    """What was spent in minute, day and month of `now`, as figures."""
    names = periods_at(now)
    return Counter(
        {
            (meter, names[period]): amount(claim, meter)
            for period, claim in zip(Period, spent, strict=True)
            for meter in METERS
        }
    )


def periods_at(now: datetime) -> Periods:
    """The names of the periods that hold `now`."""
    return {period: period_key(period, now) for period in Period}


def amount(claim: Claim, meter: str) -> int:
    """What a claim takes of one meter."""
    return claim.tokens if meter == "tokens" else claim.micros


def _minus(claim: Claim, other: Claim) -> Claim:
    return Claim(claim.tokens - other.tokens, claim.micros - other.micros)
