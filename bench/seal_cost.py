"""What the seal costs a transaction: the same one with the check of seals, and with none.

    python -m bench.seal_cost [--transactions 2000] [--rounds 10]

One connection, prepared statements: the tenant is entered, a thread is read by its id, commit.
Both kinds take turns, so that what the machine does besides falls upon both.
"""

import argparse
import statistics
import time
from uuid import uuid4

import psycopg

from server.stores import Stores
from storage.queries import query
from tests.support.stores import ACME, cluster

UNSEALED = (
    "create or replace function tenantry.current_tenant() returns text language sql stable"
    " parallel safe return nullif(pg_catalog.current_setting('app.tenant_id', true), '')"
)
SEALED = "select pg_get_functiondef('tenantry.current_tenant()'::regprocedure)"


def microseconds(stores: Stores, transactions: int) -> float:
    """The mean time of a transaction."""
    parameters = {**stores.app.entry(ACME), "thread_id": uuid4(), "subject_id": "a"}
    parameters["sees_all"] = True
    with psycopg.connect(stores.app_url, autocommit=True, prepare_threshold=0) as conn:
        for warm_up in (True, False):
            began = time.perf_counter()
            for _ in range(transactions // 10 if warm_up else transactions):
                with conn.transaction():
                    conn.execute(query("enter").sql, parameters)
                    conn.execute(query("get_thread").sql, parameters).fetchone()
    return (time.perf_counter() - began) / transactions * 1e6


def measured(stores: Stores, transactions: int, rounds: int) -> tuple[list[float], list[float]]:
    """Microseconds per transaction without and with the seal, a figure a round."""
    plain, sealed = [], []
    with psycopg.connect(stores.owner(), autocommit=True) as owner:
        row = owner.execute(SEALED).fetchone()
        assert row
        for _ in range(rounds):
            owner.execute(UNSEALED)
            plain.append(microseconds(stores, transactions))
            owner.execute(row[0])
            sealed.append(microseconds(stores, transactions))
    return plain, sealed


def main() -> None:
    """Print both medians and their difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--transactions", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    with cluster() as servers, servers.database() as stores:
        plain, sealed = measured(stores, options.transactions, options.rounds)
    before, after = statistics.median(plain), statistics.median(sealed)
    print(f"{before:.0f} µs a transaction without the seal, {after:.0f} µs with it")
    print(f"the seal costs {after - before:.0f} µs, {after / before:.2f} times the transaction")


if __name__ == "__main__":
    main()
