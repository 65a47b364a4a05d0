"""Who is next: shares by weight, the bound between two lines, no credit for the idle."""

from collections import Counter
from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from itertools import count
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenancy.fairness import Call, FairQueue, Line, Priority, Stage
from tenancy.ranking import Ranking

RANDOMS = st.randoms(use_true_random=True)  # a thousand draws each: nothing to shrink
INTERACTIVE, BATCH = Priority.INTERACTIVE, Priority.BATCH


class Endpoint:
    """A model with some slots that works at one token a moment, and what it served to whom."""

    def __init__(self, slots: int) -> None:
        self.queue = FairQueue()
        self.slots = slots
        self.now = 0.0
        self.served: Counter[Line] = Counter()
        self._busy: list[tuple[float, int, Call]] = []
        self._order = count()

    def ask(self, line: Line, tokens: int, priority: Priority = INTERACTIVE) -> Call:
        return self.queue.push(line, priority=priority, tokens=tokens)

    def dispatch(self) -> None:
        while self.queue.in_flight < self.slots and (call := self.queue.pop()):
            heappush(self._busy, (self.now + call.tokens, next(self._order), call))

    def finish(self) -> Call | None:
        """Let the next call end; None when there is none."""
        if not self._busy:
            return None
        self.now, _, call = heappop(self._busy)
        call.account.correct(call, call.tokens)
        self.queue.end(call)
        self.served[call.account.line] += call.tokens
        return call

    def serve(self, calls: int, sizes: dict[Line, Callable[[], int]]) -> None:
        """Let so many calls end, while each line of `sizes` always has some that wait."""
        for _ in range(calls):
            for line, size in sizes.items():
                while _waiting(line) < 3:
                    self.ask(line, size())
            self.dispatch()
            self.finish()


def _waiting(line: Line) -> int:
    return sum(account.waiting for account in line.accounts)


def jain(shares: list[float]) -> float:
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))


def sizes_of(random: Random, most: int) -> Callable[[], int]:
    """Calls of a mean of their own."""
    mean = random.randint(most // 20, most // 2)
    return lambda: random.randint(1, 2 * mean)


@settings(max_examples=10, deadline=None)
@given(RANDOMS)
def test_weights_are_served_in_proportion(random: Random) -> None:
    endpoint = Endpoint(slots=4)
    lines = [Line(weight) for weight in (1, 2, 4)]
    endpoint.serve(2000, {line: sizes_of(random, 1000) for line in lines})
    shares = [endpoint.served[line] / line.weight for line in lines]
    mean = sum(shares) / len(shares)
    assert all(abs(share - mean) <= 0.05 * mean for share in shares)


@settings(max_examples=10, deadline=None)
@given(RANDOMS, st.integers(2, 30))
def test_equal_lines_are_served_equally_whatever_the_size_of_their_calls(
    random: Random, tenants: int
) -> None:
    endpoint = Endpoint(slots=8)
    lines = [Line() for _ in range(tenants)]
    endpoint.serve(200 * tenants, {line: sizes_of(random, 1000) for line in lines})
    assert jain([endpoint.served[line] for line in lines]) >= 0.98


@settings(max_examples=30, deadline=None)
@given(RANDOMS, st.integers(1, 6), st.integers(2, 6))
def test_two_lines_that_wait_all_the_time_differ_by_no_more_than_twice_the_largest_call(
    random: Random, slots: int, tenants: int
) -> None:
    endpoint, largest = Endpoint(slots), 500
    lines = [Line(random.choice((1, 1, 2, 4))) for _ in range(tenants)]
    charged = _dispatched_tokens(endpoint, lines, random, largest)
    since: Counter[Line] = Counter()
    for served in charged:
        shares = [(served[line] - since[line]) / line.weight for line in lines]
        assert max(shares) - min(shares) <= 2 * largest
        if random.random() < 0.05:  # from any moment on
            since = Counter(served)


def _dispatched_tokens(
    endpoint: Endpoint, lines: list[Line], random: Random, largest: int
) -> Iterator[Counter[Line]]:
    dispatched: Counter[Line] = Counter()
    for _ in range(300):
        for line in lines:
            while _waiting(line) < 2:
                endpoint.ask(line, random.randint(1, largest))
        call = endpoint.queue.pop()
        assert call is not None
        dispatched[call.account.line] += call.tokens
        yield dispatched
        call.account.correct(call, call.tokens)
        endpoint.queue.end(call)


@settings(max_examples=30, deadline=None)
@given(RANDOMS, st.integers(1, 300), st.integers(1, 50))
def test_who_was_idle_has_no_credit(random: Random, busy_calls: int, overrun: int) -> None:
    endpoint, largest = Endpoint(slots=2), 100
    busy, idle = Line(), Line()
    if random.random() < 0.5:
        endpoint.serve(5, {busy: lambda: largest, idle: lambda: largest})
    endpoint.serve(busy_calls, {busy: lambda: random.randint(1, largest)})
    before = Counter(endpoint.served)
    endpoint.serve(5 + overrun, dict.fromkeys((busy, idle), lambda: random.randint(1, largest)))
    gained = {line: endpoint.served[line] - before[line] for line in (busy, idle)}
    assert gained[idle] - gained[busy] <= 2 * largest + endpoint.slots * largest


@pytest.mark.parametrize("flood", [100, 10_000])
@pytest.mark.parametrize("slots", [1, 4])
def test_a_flood_delays_a_quiet_line_by_at_most_one_call(flood: int, slots: int) -> None:
    endpoint, noisy, quiet = Endpoint(slots), Line(), Line()
    for _ in range(flood):
        endpoint.ask(noisy, 200)
    for _ in range(20):
        endpoint.dispatch()
        asked = endpoint.now
        call = endpoint.ask(quiet, 200)
        while call.stage is Stage.WAITING:
            endpoint.finish()
            endpoint.dispatch()
        assert endpoint.now - asked <= 200
        for _ in range(10):
            endpoint.finish()
            endpoint.dispatch()


@given(RANDOMS, st.integers(0, 60))
def test_a_quiet_line_goes_first_whatever_predictions_of_a_flood_are_wrong_by(
    random: Random, overrun: int
) -> None:
    endpoint, flood, quiet = Endpoint(4), Line(), Line()
    for _ in range(30):
        endpoint.serve(random.randrange(8, 30), {flood: lambda: 50})
        call = endpoint.ask(quiet, 50)
        for busy in [each for _, _, each in endpoint._busy]:  # each took less than was charged
            busy.account.correct(busy, 50 - random.randint(0, overrun) // 4)
        assert endpoint.queue.pop() is call
        call.account.correct(call, 50)
        endpoint.queue.end(call)


@given(RANDOMS)
def test_a_line_that_always_comes_back_late_gets_no_more_than_its_share_and_a_call(
    random: Random,
) -> None:
    endpoint, flood, single = Endpoint(1), Line(), Line()
    for _ in range(200):
        endpoint.ask(single, 50)  # only when the one before has ended
        while _waiting(single):
            endpoint.serve(1, {flood: lambda: random.randint(40, 60)})
        while any(call.account.line is single for _, _, call in endpoint._busy):
            endpoint.serve(1, {flood: lambda: random.randint(40, 60)})
    assert endpoint.served[single] <= endpoint.served[flood] + 3 * 60


def test_a_class_goes_before_the_next_and_each_is_fair_in_itself() -> None:
    endpoint, greedy, modest = Endpoint(slots=1), Line(), Line()
    batch = [endpoint.ask(line, 10, BATCH) for line in (greedy, greedy, modest)]
    urgent = [endpoint.ask(greedy, 10) for _ in range(5)]
    order = [endpoint.queue.pop() for _ in range(8)]
    assert order == [*urgent, batch[0], batch[2], batch[1]]


def test_runs_that_had_a_call_go_before_their_tenants_others_in_the_order_they_came() -> None:
    queue, line = FairQueue(), Line()
    fresh = [queue.push(line, priority=INTERACTIVE, tokens=1) for _ in range(3)]
    going_on = [queue.push(line, priority=INTERACTIVE, tokens=1, goes_on=True) for _ in range(3)]
    assert [queue.pop() for _ in range(6)] == going_on + fresh


def test_a_full_line_lets_others_pass_and_comes_back_at_its_turn() -> None:
    endpoint, capped, other = Endpoint(slots=4), Line(cap=1), Line()
    for _ in range(6):
        endpoint.ask(capped, 10)
        endpoint.ask(other, 10)
    endpoint.dispatch()
    assert (capped.in_flight, other.in_flight) == (1, 3)
    capped.resize(1, 4)
    for _ in range(4):
        endpoint.finish()
    endpoint.dispatch()
    assert (capped.in_flight, other.in_flight) == (2, 2)


def test_a_cap_holds_over_all_endpoints_and_classes() -> None:
    first, second, line = FairQueue(), FairQueue(), Line(cap=2)
    for queue in (first, second):
        for priority in Priority:
            queue.push(line, priority=priority, tokens=1)
    calls = [first.pop(), first.pop()]
    assert None not in calls
    assert (first.pop(), second.pop()) == (None, None)
    first.end(calls[0])
    assert second.pop() is not None
    assert (first.pop(), second.pop()) == (None, None)


def test_estimates_are_scaled_by_what_calls_really_took() -> None:
    queue, line = FairQueue(), Line()
    for _ in range(30):
        call = queue.push(line, priority=INTERACTIVE, tokens=1000)
        assert queue.pop() is call
        call.account.correct(call, 100)
        queue.end(call)
    call = queue.push(line, priority=INTERACTIVE, tokens=2000)
    assert queue.pop() is call
    assert call.charged == pytest.approx(200, rel=0.01)


def test_a_call_of_which_nothing_is_heard_stands_as_it_was_predicted() -> None:
    queue, line = FairQueue(), Line(weight=2)
    call = queue.push(line, priority=INTERACTIVE, tokens=300)
    queue.pop()
    queue.end(call)
    assert line.accounts[0].counter == 150


@given(st.integers(0, 2000), st.integers(0, 1000), st.booleans())
def test_a_late_correction_changes_nothing_that_a_lift_made_up_for(
    taken: int, others: int, late: bool
) -> None:
    """The account ends where it would if the call's real size had been known before."""
    queue, line, other = FairQueue(), Line(), Line()
    call = queue.push(line, priority=INTERACTIVE, tokens=1000)
    queue.pop()
    other_call = queue.push(other, priority=INTERACTIVE, tokens=1)
    queue.pop()
    [account], [floor] = line.accounts, other.accounts
    account.counter, floor.counter = 1000, others
    if not late:
        call.account.correct(call, taken)
    queue.push(line, priority=INTERACTIVE, tokens=1)
    if late:
        call.account.correct(call, taken)
    assert account.counter == max(taken, others - account.tier.usual)
    assert other_call.stage is Stage.IN_FLIGHT


def test_what_was_served_elsewhere_counts_here() -> None:
    endpoint, shared, local = Endpoint(slots=1), Line(), Line()
    for _ in range(20):
        endpoint.ask(shared, 10)
        endpoint.ask(local, 10)
    shared.charge(50)
    for _ in range(9):
        endpoint.dispatch()
        endpoint.finish()
    assert endpoint.served[local] - endpoint.served[shared] in {40, 50, 60}


def test_idle_accounts_are_forgotten_and_begin_no_lower_when_they_return() -> None:
    queue, lines, highest = FairQueue(), [Line() for _ in range(300)], 0.0
    for number, line in enumerate(lines):
        call = queue.push(line, priority=INTERACTIVE, tokens=number + 1)
        queue.pop()
        queue.end(call)
        highest = max(highest, call.account.counter)
        queue.forget(10)
        assert sum(len(line.accounts) for line in lines) <= 10
    queue.push(lines[0], priority=INTERACTIVE, tokens=1)
    assert lines[0].accounts[0].counter >= highest


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "pop", "pop", "end", "withdraw", "resize", "charge"]),
        st.integers(0, 4),
        st.sampled_from(list(Priority)),
        st.integers(1, 50),
    ),
    max_size=150,
)


@given(ACTIONS)
def test_whatever_happens_who_may_go_goes_and_the_sums_are_right(
    actions: list[tuple[str, int, Priority, int]],
) -> None:
    queue, lines = FairQueue(), [Line(cap=cap) for cap in (-1, 1, 2, 3, 0)]
    waiting: list[Call] = []
    busy: list[Call] = []
    for action, number, priority, tokens in actions:
        line = lines[number]
        match action:
            case "ask":
                goes_on = tokens % 2 == 0
                waiting.append(queue.push(line, priority=priority, tokens=tokens, goes_on=goes_on))
            case "pop":
                may_go = [c for c in waiting if not c.account.line.is_full]
                call = queue.pop()
                assert (call is None) == (not may_go)
                if call is not None:
                    assert call in may_go
                    waiting.remove(call)
                    busy.append(call)
            case "end" if busy:
                call = busy.pop(number % len(busy))
                call.account.correct(call, tokens)
                queue.end(call)
            case "withdraw" if waiting:
                queue.withdraw(waiting.pop(number % len(waiting)))
            case "resize":
                line.resize(1 + tokens % 4, tokens % 5 - 1)
            case "charge":
                line.charge(tokens)
        assert queue.waiting == len(waiting)
        assert queue.in_flight == len(busy)
        assert [line.in_flight for line in lines] == [
            sum(call.account.line is line for call in busy) for line in lines
        ]
        assert queue.weight <= queue.calls == len(busy) + len(waiting)


@given(st.lists(st.tuples(st.integers(0, 9), st.none() | st.integers(0, 5)), max_size=400))
def test_a_ranking_agrees_with_sorting(changes: list[tuple[int, int | None]]) -> None:
    ranking: Ranking[int] = Ranking()
    known: dict[int, float] = {}
    for thing, number in changes:
        if number is None:
            ranking.drop(thing)
            known.pop(thing, None)
        else:
            ranking.put(thing, number)
            known[thing] = number
        assert len(ranking) == len(known)
        least = ranking.least()
        assert (least is None) == (not known)
        if least is not None:
            assert known[least] == min(known.values())
