"""Control data as a server sees it: a change acts within a second, and nothing stale for long."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from server.stores import Stores
from storage.cells import Cells
from storage.control import control
from storage.directory import POLL_SECONDS, Directory
from storage.keys import PostgresKeys
from tenancy.credentials import ApiKey, Issuer
from tenancy.errors import Conflict, NotFound, Unavailable
from tenancy.ids import KeyId, PlanId, SubjectId, TenantId
from tenancy.plan import PRO, change_plan
from tenancy.principal import Role
from tenancy.tenant import TenantStatus
from tests.storage.makers import ACME, GLOBEX, Trips, audit_event, away, kill_backends
from tests.support.stores import Cluster
from tests.support.waiting import until

SECOND = 1.0
Probe = Callable[[], Awaitable[Any]]
SILENT = """
create or replace function control.announce() returns trigger
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    update control.version set version = version + 1;
    return null;
end $$"""


@pytest.fixture(scope="module")
async def directory(cells: Cells) -> AsyncIterator[Directory]:
    """A directory that follows the changes, as in a running server."""
    directory = Directory(cells.first.pool)
    watching = asyncio.create_task(directory.watch())
    await until(lambda: cached(directory))
    yield directory
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching


async def cached(directory: Directory) -> bool:
    """Whether the directory serves from memory."""
    await directory.tenant(ACME)
    return bool(directory._records)


@pytest.fixture(params=["announced", "missed"])
def announcing(request: pytest.FixtureRequest, owner: psycopg.Connection) -> Iterator[str]:
    """Changes are announced, or nobody hears of them."""
    told = owner.execute("select pg_get_functiondef('control.announce'::regproc)").fetchone()
    assert told
    if request.param == "missed":
        owner.execute(SILENT)
    yield request.param
    owner.execute(told[0])


def new_key(tenant_id: TenantId = ACME) -> tuple[ApiKey, bytes]:
    key_id, now = KeyId(uuid4()), datetime.now(UTC)
    key = ApiKey(key_id, tenant_id, SubjectId("robot"), Role.SERVICE, ("chat",), now)
    return key, sha256(key_id.bytes).digest()


# -- a change acts within a second


async def test_a_changed_plan_acts_within_a_second(
    stores: Stores, directory: Directory, announcing: str
) -> None:
    async def limit() -> int:
        tenant = await directory.tenant(ACME)
        assert tenant
        return tenant.plan.burst

    wanted = await limit() + 1
    with control(stores.owner()) as admin:
        admin.put_plan(change_plan(PRO, {"burst": str(wanted)}))

    async def changed() -> bool:
        return await limit() == wanted

    assert await until(changed) < SECOND


async def test_a_suspension_acts_within_a_second(
    stores: Stores, directory: Directory, announcing: str
) -> None:
    async def suspended() -> bool:
        tenant = await directory.tenant(GLOBEX)
        return tenant is not None and tenant.status is TenantStatus.SUSPENDED

    assert not await suspended()
    with control(stores.owner()) as admin:
        admin.set_status(GLOBEX, TenantStatus.SUSPENDED)
    took = await until(suspended)
    with control(stores.owner()) as admin:
        admin.set_status(GLOBEX, TenantStatus.ACTIVE)
    await until(lambda: _not(suspended))
    assert took < SECOND


async def _not(probe: Probe) -> bool:
    return not await probe()


async def test_a_revoked_key_is_revoked_within_a_second(
    cells: Cells, directory: Directory, announcing: str
) -> None:
    keys, (key, digest) = PostgresKeys(cells), new_key()
    await keys.add(ACME, key, digest, audit_event())

    async def revoked() -> bool:
        known = await directory.api_key(digest)
        return known is not None and known.revoked_at is not None

    assert not await revoked()
    await keys.revoke(ACME, key.key_id, audit_event())
    assert await until(revoked) < SECOND


async def test_an_announced_change_does_not_wait_for_the_poll(
    stores: Stores, directory: Directory
) -> None:
    async def renamed() -> bool:
        tenant = await directory.tenant(ACME)
        return tenant is not None and tenant.display_name == name

    times = []
    for number in range(5):
        name = f"Acme {number}"
        with control(stores.owner()) as admin:
            admin.set_display_name(ACME, name)
        times.append(await until(renamed))
    assert sorted(times)[2] < POLL_SECONDS / 2


async def test_a_new_tenant_is_known_at_once(stores: Stores, directory: Directory) -> None:
    new = TenantId("new-tenant")
    assert await directory.tenant(new) is None
    with control(stores.owner()) as admin:
        admin.create_tenant(new, "New", PlanId("free"))
    assert await directory.tenant(new) is not None


async def test_a_removed_issuer_is_unknown_within_a_second(
    stores: Stores, directory: Directory
) -> None:
    url = "https://idp.example"
    with control(stores.owner()) as admin:
        admin.put_issuer(Issuer(url, "tenantry", {"keys": []}, frozenset({ACME})))
    found = await directory.issuer(url)
    assert found
    assert found.tenants == {ACME}
    with control(stores.owner()) as admin:
        admin.remove_issuer(url)

    async def removed() -> bool:
        return await directory.issuer(url) is None

    assert await until(removed) < SECOND


async def test_a_tools_settings_come_with_the_tenant(stores: Stores, directory: Directory) -> None:
    with control(stores.owner()) as admin:
        admin.enable_tool(ACME, "orders", enabled=True)
        admin.configure_tool(ACME, "orders", {"url": "https://a.example"})

    async def configured() -> bool:
        tenant = await directory.tenant(ACME)
        assert tenant
        setting = tenant.tools.get("orders")
        return setting is not None and setting.configuration == {"url": "https://a.example"}

    assert await until(configured) < SECOND


# -- the cache


async def test_a_known_record_costs_no_round_trip(directory: Directory, trips: Trips) -> None:
    await until(lambda: cached(directory))
    trips.clear()
    await directory.tenant(ACME)
    assert "tenant_record" not in trips


async def test_nothing_is_served_from_memory_by_a_directory_that_does_not_watch(
    cells: Cells, trips: Trips
) -> None:
    alone = Directory(cells.first.pool)
    await alone.tenant(ACME)
    trips.clear()
    await alone.tenant(ACME)
    assert trips.count("tenant_record") == 1


async def test_a_record_read_while_it_changed_is_not_kept(
    stores: Stores, cells: Cells, directory: Directory
) -> None:
    await until(lambda: cached(directory))
    directory._forget()
    reading = asyncio.create_task(directory.tenant(ACME))
    await asyncio.sleep(0)
    directory._forget()  # the change is announced while the old record is on its way
    await reading
    assert ("tenant", ACME) not in directory._records


async def test_the_watch_survives_a_lost_connection(stores: Stores, directory: Directory) -> None:
    kill_backends(stores)
    with control(stores.owner()) as admin:
        admin.set_display_name(ACME, "After the loss")

    async def renamed() -> bool:
        tenant = await directory.tenant(ACME)
        return tenant is not None and tenant.display_name == "After the loss"

    assert await until(renamed) < POLL_SECONDS + SECOND


async def test_with_the_database_away_memory_serves_for_seconds_and_then_no_longer(
    servers: Cluster, stores: Stores, directory: Directory
) -> None:
    await until(lambda: cached(directory))
    with away(servers, stores):
        assert await directory.tenant(ACME)

        async def refused() -> bool:
            try:
                await directory.tenant(ACME)
            except Unavailable:
                return True
            return False

        took = await until(refused)
    assert took > SECOND
    assert await directory.tenant(ACME)  # and back as soon as the database is


async def test_a_stranger_is_unavailable_and_not_unknown_with_the_database_away(
    servers: Cluster, stores: Stores, directory: Directory
) -> None:
    with away(servers, stores), pytest.raises(Unavailable):
        await directory.tenant(TenantId("not-cached"))


# -- keys and tenants


async def test_a_tenant_lists_and_revokes_its_own_keys_only(cells: Cells) -> None:
    keys, (key, digest) = PostgresKeys(cells), new_key()
    await keys.add(ACME, key, digest, audit_event())
    assert key.key_id not in [k.key_id for k in await keys.page(GLOBEX, None, 200)]
    with pytest.raises(NotFound):
        await keys.revoke(GLOBEX, key.key_id, audit_event())
    [listed] = [k for k in await keys.page(ACME, None, 200) if k.key_id == key.key_id]
    assert listed.revoked_at is None


async def test_a_key_belongs_to_the_tenant_that_made_it(cells: Cells) -> None:
    keys, (key, digest) = PostgresKeys(cells), new_key(ACME)
    await keys.add(GLOBEX, key, digest, audit_event())  # whatever the key says of itself
    found = await Directory(cells.first.pool).api_key(digest)
    assert found
    assert found.tenant_id == GLOBEX


def test_a_taken_tenant_id_is_a_conflict(stores: Stores) -> None:
    with control(stores.owner()) as admin, pytest.raises(Conflict):
        admin.create_tenant(ACME, "Another", PlanId("free"))


def test_a_tenant_on_no_plan_is_not_made(stores: Stores) -> None:
    with control(stores.owner()) as admin, pytest.raises(NotFound):
        admin.create_tenant(TenantId("planless"), "Planless", PlanId("nothing"))


def test_an_empty_preference_is_removed(stores: Stores) -> None:
    with control(stores.owner()) as admin:
        admin.set_preferences(ACME, {"persona": "a pirate", "language": "de"})
        admin.set_preferences(ACME, {"persona": ""})
        assert admin.tenant(ACME)["preferences"] == {"language": "de"}
