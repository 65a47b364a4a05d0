"""Studio's own rules, without `langgraph dev` around them: who enters, and how runs end."""

import asyncio
from uuid import uuid4

import pytest
from langgraph.store.memory import InMemoryStore

from server.settings import Environment
from server.studio_auth import FROM_STUDIO, principal_from
from server.studio_house import Studio
from server.studio_runs import StudioRuns
from server.studio_store import StudioStore, require_own_store
from storage.control import control
from tenancy.errors import Misconfigured, NotAuthenticated, TenantSuspended, Unavailable
from tenancy.ids import RunId, SubjectId, ThreadId
from tenancy.principal import MEMBER_SCOPES, Principal, Role, Scope
from tenancy.quota import Claim
from tenancy.tenant import TenantStatus
from tests.support.house import House
from tests.support.stores import ACME

CALLER = Principal(ACME, SubjectId("alice"), Role.MEMBER, MEMBER_SCOPES, "issuer:test")


def studio_of(product: House, **overrides: object) -> Studio:
    services = product.services
    runs = StudioRuns(services.turns, services.ledger)
    settings = product.settings.model_copy(update={"studio_tenant_id": "acme", **overrides})
    return Studio(settings, services, services.agent.compile(), runs)


async def test_in_development_studio_alone_is_the_named_tenants_debugging_admin(
    product: House,
) -> None:
    principal = await principal_from(studio_of(product), [FROM_STUDIO])
    assert (principal.tenant_id, principal.role) == ("acme", Role.ADMIN)
    assert Scope.THREADS_DEBUG in principal.scopes
    assert Scope.PLATFORM not in principal.scopes


@pytest.mark.parametrize(
    "overrides",
    [
        {"environment": Environment.PRODUCTION},
        {"studio_tenant_id": None},
        {"studio_tenant_id": "nobody"},
    ],
    ids=str,
)
async def test_elsewhere_studio_alone_is_nobody(
    product: House, overrides: dict[str, object]
) -> None:
    with pytest.raises(NotAuthenticated):
        await principal_from(studio_of(product, **overrides), [FROM_STUDIO])


def test_a_store_that_tenants_share_is_refused() -> None:
    with pytest.raises(Misconfigured, match=r"langgraph\.json"):
        require_own_store(InMemoryStore())
    require_own_store(StudioStore(InMemoryStore))


async def test_studio_alone_does_not_enter_a_suspended_tenant(product: House) -> None:
    tenant_id = await product.new_tenant("dormant")
    with control(product.stores.owner()) as admin:
        admin.set_status(tenant_id, TenantStatus.SUSPENDED)
    with pytest.raises(TenantSuspended):
        await principal_from(studio_of(product, studio_tenant_id="dormant"), [FROM_STUDIO])


async def test_a_credential_of_ours_decides_even_in_studio(product: House) -> None:
    good = (b"authorization", f"Bearer {product.token('globex')}".encode())
    bad = (b"x-api-key", product.token("globex").encode()[:-8] + b"AAAAAAAA")
    principal = await principal_from(studio_of(product), [FROM_STUDIO, good])
    assert principal.tenant_id == "globex"
    with pytest.raises(NotAuthenticated):
        await principal_from(studio_of(product), [FROM_STUDIO, bad])


async def test_a_run_that_shutdown_ends_fails_for_good_and_lets_go(product: House) -> None:
    here, run_id, admitted = studio_of(product), RunId(uuid4()), asyncio.Event()

    async def run() -> None:
        async with here.runs.holding(run_id):
            turn = await here.services.turns.enter(CALLER, run_id, ThreadId(uuid4()))
            await turn.admit([Claim(100)], Claim(100))
            admitted.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(run())
    async with asyncio.timeout(5):
        await admitted.wait()
    await here.runs.drain()
    with pytest.raises(Unavailable):
        await task
    assert here.services.turns.find(run_id) is None
    events = await here.services.ledger.audit(ACME, None, 1)
    assert (events[0].run_id, events[0].outcome.value) == (run_id, "failed")
    tenant = await here.services.tenant(CALLER)
    standings = await here.services.orchestrator.standings(tenant)
    assert (standings[1].used, standings[-1].held) == (0, 0)


async def test_a_run_that_entered_no_node_leaves_nothing(product: House) -> None:
    here = studio_of(product)
    before = await here.services.ledger.audit(ACME, None, 100)
    async with here.runs.holding(RunId(uuid4())):
        pass
    assert await here.services.ledger.audit(ACME, None, 100) == before
