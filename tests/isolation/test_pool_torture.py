"""Whose connection was cancelled or killed, the next borrower sees none of it."""

import pytest

from server.stores import Stores
from storage import postgres
from storage.queries import Query
from tests.isolation.pool_torture import torture

TENANTS, READS = 500, 10_000  # bench/pool_torture.py makes 100,000


async def test_no_read_shows_a_foreign_row(stores: Stores) -> None:
    async with torture(stores, TENANTS, seed=7) as attack:
        tally = await attack.run(READS)
    assert tally.reads >= READS
    assert min(tally.interfered.values()) > 10
    assert len(tally.interfered) == 4, tally
    assert (tally.foreign, tally.missing) == (0, 0)


async def test_the_torture_finds_a_tenant_that_outlives_its_transaction(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    lasting = Query(
        "enter",
        b"select set_config('app.tenant_id', %(tenant_id)s, false),"
        b" set_config('app.tenant_seal', %(seal)s, false)",
    )
    monkeypatch.setattr(postgres, "_ENTER", lasting)
    async with torture(stores, 10, seed=7) as attack:
        tally = await attack.run(500)
    assert tally.foreign > 0
