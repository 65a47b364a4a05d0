"""Who is next at a model endpoint: weighted fair queueing that counts tokens.

The virtual token counter of Sheng et al., "Fairness in Serving Large Language Models" (OSDI '24):
a line's counter rises by the tokens it is served, divided by its weight, and the least counter is
next. A line that begins to wait is lifted to the least counter that waits, or to that of the last
one served, less one call: nobody saves up more credit while idle, and what a prediction was wrong
by does not put a flood before who comes rarely. A call is charged as predicted when it is
dispatched and corrected at its end; as long as predictions hold, what two lines that wait all the
time are served, by weight, differs by at most twice the largest call.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto

from tenancy.plan import UNLIMITED
from tenancy.ranking import Ranking

MEMORY = 0.9  # of what is known, kept at each call: about the last ten count


class Priority(StrEnum):
    """A class of calls, the first first: no call goes while one of a class before it could."""

    INTERACTIVE = "interactive"
    BACKGROUND = "background"
    BATCH = "batch"


class Stage(Enum):
    """Where a call is."""

    WAITING = auto()
    IN_FLIGHT = auto()
    ENDED = auto()


class Line:
    """What one tenant waits for and has in flight, at all endpoints; its share and its cap."""

    def __init__(self, weight: int = 1, cap: int = UNLIMITED) -> None:
        self.weight = weight
        self.cap = cap
        self.in_flight = 0
        self.accounts: list[Account] = []
        self.latest: Account | None = None

    @property
    def is_full(self) -> bool:
        """Whether it has as many calls in flight as it may."""
        return self.room == 0

    @property
    def room(self) -> int | None:
        """How many more calls may be in flight; None: any number."""
        return None if self.cap == UNLIMITED else max(0, self.cap - self.in_flight)

    def resize(self, weight: int, cap: int) -> None:
        """From now on it has another share or cap."""
        self.weight = weight
        if cap != self.cap:
            self._change(cap, self.in_flight)

    def take(self) -> None:
        """One more call is in flight."""
        self._change(self.cap, self.in_flight + 1)

    def give_back(self) -> None:
        """One call less is in flight."""
        self._change(self.cap, self.in_flight - 1)

    def charge(self, tokens: float) -> None:
        """Count tokens that it was served elsewhere, where it last asked here."""
        if self.latest is not None:
            self.latest.charge(tokens)

    def _change(self, cap: int, in_flight: int) -> None:
        was_full = self.is_full
        self.cap, self.in_flight = cap, in_flight
        if was_full != self.is_full:
            for account in self.accounts:
                account.rank()


@dataclass(slots=True, eq=False)
class Call:
    """One model call: what it should take, what it is charged, and what to do at its turn."""

    account: "Account"
    tokens: int
    goes_on: bool
    granted: Callable[[], None]
    stage: Stage = Stage.WAITING
    charged: float = 0.0
    arrivals: int = 0  # of its account, when it was charged
    taken: int | None = None


@dataclass(slots=True)
class Forecast:
    """What calls take, in proportion to what was estimated: a moving ratio of sums."""

    taken: float = 0.0
    estimated: float = 0.0

    def tokens(self, estimate: int) -> float:
        """What a call with this estimate will probably take, at least 1."""
        ratio = self.taken / self.estimated if self.estimated else 1.0
        return max(1.0, estimate * ratio)

    def learn(self, estimate: int, taken: int) -> None:
        """Remember how a call went."""
        self.taken = self.taken * MEMORY + taken
        self.estimated = self.estimated * MEMORY + estimate


class Account:
    """A line at one endpoint in one class: its counter, and its calls in the order they go.

    Calls of runs that had a call before go first: their tenants hold budget and slots for them.
    """

    def __init__(self, line: Line, tier: "Tier", counter: float) -> None:
        self.line = line
        self.tier = tier
        self.counter = counter
        self.arrivals = 0  # how often it began to wait
        self.in_flight = 0
        self.weight = 0  # what its calls can use of the line's
        self._spare = 0.0  # by how much it was above the floor when it last began to wait
        self._forecast = Forecast()
        self._going_on: OrderedDict[Call, None] = OrderedDict()
        self._fresh: OrderedDict[Call, None] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many calls wait."""
        return len(self._going_on) + len(self._fresh)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is in flight."""
        return not self.in_flight and not self.waiting

    def join(self, call: Call) -> None:
        """Let a call wait."""
        self._calls(call)[call] = None
        self.tier.waiting += 1
        self.line.latest = self
        self._count()
        if self not in self.tier.ranking:
            self.rank()

    def part(self, call: Call) -> None:
        """Let it wait no longer."""
        del self._calls(call)[call]
        self.tier.waiting -= 1
        self._count()
        if not self.waiting:
            self.tier.ranking.drop(self)

    def dispatch(self) -> Call:
        """Send its first call on its way, charged as predicted."""
        call = next(iter(self._going_on or self._fresh))
        self.in_flight += 1
        self.part(call)
        call.stage, call.arrivals = Stage.IN_FLIGHT, self.arrivals
        call.charged = self._forecast.tokens(call.tokens)
        self.charge(call.charged)
        self.line.take()
        return call

    def correct(self, call: Call, tokens: int) -> None:
        """Charge a call `tokens` in the place of what it was charged."""
        change = (tokens - call.charged) / self.line.weight
        self._move(change if call.arrivals == self.arrivals else self._late(change))
        call.charged, call.taken = tokens, tokens

    def end(self, call: Call) -> None:
        """A call is in flight no longer; where nobody said what it took, the prediction stands."""
        call.stage = Stage.ENDED
        self.in_flight -= 1
        self._count()
        if call.taken is not None:
            self._forecast.learn(call.tokens, call.taken)
        self.line.give_back()

    def charge(self, tokens: float) -> None:
        """Count tokens that it was served."""
        self._move(tokens / self.line.weight)

    def lift(self, floor: float) -> bool:
        """Begin to wait, with no less than `floor`; whether it had no more."""
        self.arrivals += 1
        self._spare = self.counter - floor
        self.counter = max(self.counter, floor)
        return self._spare <= 0

    def rank(self) -> None:
        """Be among those that are next, or not: with calls that wait, and room for them."""
        if self.waiting and not self.line.is_full:
            self.tier.lift(self)
        else:
            self.tier.ranking.drop(self)

    def _move(self, change: float) -> None:
        self.counter += change
        if self in self.tier.ranking:
            self.tier.ranking.put(self, self.counter)

    def _late(self, change: float) -> float:
        """What remains of a correction that should have been there when it began to wait."""
        before = max(0.0, self._spare)
        self._spare += change
        return max(0.0, self._spare) - before

    def _calls(self, call: Call) -> OrderedDict[Call, None]:
        return self._going_on if call.goes_on else self._fresh

    def _count(self) -> None:
        weight = min(self.waiting + self.in_flight, self.line.weight)
        self.tier.weight += weight - self.weight
        self.weight = weight


class Tier:
    """One class of priority at one endpoint."""

    def __init__(self) -> None:
        self.ranking: Ranking[Account] = Ranking()
        self.waiting = 0
        self.weight = 0
        self._accounts: dict[Line, Account] = {}
        self._last: Account | None = None
        self.usual = 0.0  # what a call is charged, by weight
        self._start = 0.0  # where those begin that are not known: they may have been forgotten

    def account(self, line: Line) -> Account:
        """The account of a line."""
        found = self._accounts.get(line)
        if found is None:
            found = self._accounts[line] = Account(line, self, self._start)
            line.accounts.append(found)
        return found

    def lift(self, account: Account) -> None:
        """Rank an account that begins to wait: with little credit, and before who has no less."""
        ahead = account.lift(self._floor() - self.usual)
        self.ranking.put(account, account.counter, ahead=ahead)

    def next(self) -> Call | None:
        """Dispatch the first call of the least account."""
        account = self.ranking.least()
        if account is None:
            return None
        self._last = account
        call = account.dispatch()
        charged = call.charged / account.line.weight
        self.usual += (charged - self.usual) * (1 - MEMORY if self.usual else 1)
        return call

    def forget(self, keep: int) -> None:
        """Forget idle accounts that have no more than they would begin with; keep so many others.

        Whoever comes back begins no lower than anybody who was forgotten.
        """
        floor = self._floor()
        idle = sorted((a for a in self._accounts.values() if a.is_idle), key=lambda a: a.counter)
        for surplus, account in zip(range(len(idle) - keep, -keep, -1), idle, strict=True):
            if surplus > 0 or account.counter <= floor:
                self._forget(account)

    def _forget(self, account: Account) -> None:
        self._start = max(self._start, account.counter)
        del self._accounts[account.line]
        account.line.accounts.remove(account)
        if account.line.latest is account:
            account.line.latest = None

    def _floor(self) -> float:
        least = self.ranking.least() or self._last
        return self._start if least is None else least.counter


@dataclass(slots=True)
class FairQueue:
    """The calls that wait for one endpoint, and those it works at."""

    tiers: dict[Priority, Tier] = field(default_factory=lambda: {p: Tier() for p in Priority})
    in_flight: int = 0

    @property
    def waiting(self) -> int:
        """How many calls wait."""
        return sum(tier.waiting for tier in self.tiers.values())

    @property
    def calls(self) -> int:
        """How many calls wait or are in flight."""
        return self.waiting + self.in_flight

    @property
    def weight(self) -> int:
        """The weights of the lines whose calls they are, each at most the number of its calls."""
        return sum(tier.weight for tier in self.tiers.values())

    def push(
        self,
        line: Line,
        *,
        priority: Priority,
        tokens: int,
        goes_on: bool = False,
        granted: Callable[[], None] = lambda: None,
    ) -> Call:
        """Let a call wait that is estimated to take `tokens`; who pops it tells it so."""
        account = self.tiers[priority].account(line)
        call = Call(account, tokens, goes_on, granted)
        account.join(call)
        return call

    def withdraw(self, call: Call) -> None:
        """Let a call wait no longer."""
        call.stage = Stage.ENDED
        call.account.part(call)

    def pop(self) -> Call | None:
        """Dispatch the next call; None when none may go."""
        for tier in self.tiers.values():
            call = tier.next()
            if call is not None:
                self.in_flight += 1
                return call
        return None

    def end(self, call: Call) -> None:
        """A call that was dispatched is over."""
        self.in_flight -= 1
        call.account.end(call)

    def forget(self, keep: int) -> None:
        """Forget who is idle; of those who were served more than others keep so many a class."""
        for tier in self.tiers.values():
            tier.forget(keep)
