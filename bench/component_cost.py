"""What transaction tokens cost: CPU for a mint, a delegation and a check, and for a run.

python -m bench.component_cost [--rounds 2000]
"""

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import count
from uuid import uuid4

from server.component_keys import new_key, registry
from server.transaction_tokens import TransactionTokens
from tenancy.component import ComponentId, Kind, parse_deployment
from tenancy.ids import RunId, SubjectId, TenantId
from tenancy.principal import MEMBER_SCOPES, Principal, Role, Scope

HERE = parse_deployment("bench.example")
ACME = TenantId("acme")
CALLER = Principal(
    ACME, SubjectId("ann"), Role.MEMBER, MEMBER_SCOPES, "issuer:https://id.acme.example/"
)
TOOLS = (ComponentId(HERE, Kind.TOOL, ACME, f"tool_{number}") for number in count())
NARROW = frozenset({Scope.TOOLS_USE})
TOOL_CALLS = 3


def microseconds(work: Callable[[], object], rounds: int) -> float:
    """The median CPU time of one `work`."""
    spent = []
    for _ in range(rounds):
        began = time.thread_time_ns()
        work()
        spent.append(time.thread_time_ns() - began)
    return statistics.median(spent) / 1000


def main() -> None:
    """Print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2000)
    rounds = parser.parse_args().rounds
    server = new_key(ComponentId(HERE, Kind.SERVER))
    graph = new_key(ComponentId(HERE, Kind.GRAPH))
    known = registry([server.public, graph.public])
    warm = TransactionTokens(known)

    def mint() -> str:
        return warm.mint(server, graph.component, CALLER, RunId(uuid4()))

    token = mint()

    def delegate(own: str = token) -> tuple[str, ComponentId]:
        tool = next(TOOLS)  # each another: what was signed within a second would be the same text
        return warm.delegate(graph, own, tool, NARROW), tool

    def run() -> None:
        own = mint()
        warm.verify(own, graph.component)
        for _ in range(TOOL_CALLS):
            warm.verify(*delegate(own))

    passed_on = iter([delegate() for _ in range(rounds)])
    longest = delegate()
    figures = {
        "mint": microseconds(mint, rounds),
        "delegate, parent known": microseconds(delegate, rounds),
        "verify, parent known": microseconds(lambda: warm.verify(*next(passed_on)), rounds),
        "verify, the whole chain": microseconds(
            lambda: TransactionTokens(known).verify(*longest), rounds
        ),
        f"a run with {TOOL_CALLS} tool calls": microseconds(run, rounds // 4),
    }
    for name, figure in figures.items():
        print(f"{name:<26} {figure:5.0f} µs")
    print(f"{len(token)} and {len(longest[0])} characters")


if __name__ == "__main__":
    main()
