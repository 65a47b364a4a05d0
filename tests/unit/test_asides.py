"""What goes on beside the runs harms nobody, hides no breach, and never grows without bound."""

import asyncio
from typing import Any

from server.asides import MOST_AT_ONCE, MOST_OF_TENANT, Asides
from server.metrics import REGISTRY
from tenancy.errors import IsolationBreach, Unavailable
from tenancy.ids import TenantId

ACME, GLOBEX = TenantId("acme"), TenantId("globex")
UNUSED: Any = None  # turns and ledger: only a turn needs them
PATIENCE_SECONDS = 5.0


def breaches() -> float:
    labels = {"boundary": "aside"}
    return REGISTRY.get_sample_value("tenantry_isolation_breaches_total", labels) or 0


async def failing(error: Exception) -> None:
    raise error


async def test_what_fails_is_not_raised() -> None:
    asides = Asides(UNUSED, UNUSED)
    asides.begin(ACME, failing(Unavailable()))
    await asides.drain(PATIENCE_SECONDS)


async def test_a_breach_rings_the_bell() -> None:
    asides, rung = Asides(UNUSED, UNUSED), breaches()
    asides.begin(ACME, failing(IsolationBreach("aside", "globex")))
    await asides.drain(PATIENCE_SECONDS)
    assert breaches() == rung + 1


async def test_there_are_not_more_than_so_many_and_the_late_are_cancelled() -> None:
    asides, begun = Asides(UNUSED, UNUSED), []

    async def wait() -> None:
        begun.append(1)
        await asyncio.Event().wait()

    for number in range(MOST_AT_ONCE + 5):
        asides.begin(TenantId(f"of-{number}"), wait())
    await asides.drain(0.01)
    assert len(begun) == MOST_AT_ONCE


async def test_a_tenant_whose_model_hangs_keeps_nobody_elses_from_beginning() -> None:
    asides, begun = Asides(UNUSED, UNUSED), []

    async def wait(tenant_id: TenantId) -> None:
        begun.append(tenant_id)
        await asyncio.Event().wait()

    for tenant_id in (*[ACME] * MOST_AT_ONCE, GLOBEX):
        asides.begin(tenant_id, wait(tenant_id))
    await asides.drain(0.01)
    assert begun == [*[ACME] * MOST_OF_TENANT, GLOBEX]
