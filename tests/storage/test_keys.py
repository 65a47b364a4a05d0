"""When keys were last used: noted for all tenants at once, forward only, by the platform alone."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import uuid4

import psycopg
import pytest

from server.stores import Stores
from storage.cells import Cells
from storage.control import control
from storage.keys import PostgresKeys
from storage.queries import query
from tenancy.credentials import ApiKey
from tenancy.ids import KeyId, SubjectId, TenantId
from tenancy.principal import Role
from tests.storage.makers import ACME, GLOBEX, Trips, audit_event


async def new_key(keys: PostgresKeys, tenant_id: TenantId = ACME) -> KeyId:
    """A key of the tenant, never used."""
    key_id, now = KeyId(uuid4()), datetime.now(UTC)
    key = ApiKey(key_id, tenant_id, SubjectId("robot"), Role.SERVICE, ("chat",), now)
    await keys.add(tenant_id, key, sha256(key_id.bytes).digest(), audit_event())
    return key_id


def database_now(owner: psycopg.Connection) -> datetime:
    row = owner.execute("select now()").fetchone()
    assert row
    found: datetime = row[0]
    return found


@pytest.fixture
def keys(cells: Cells) -> PostgresKeys:
    return PostgresKeys(cells)


async def last_used(keys: PostgresKeys, key_id: KeyId, tenant_id: TenantId = ACME) -> datetime:
    used = (await keys.key(tenant_id, key_id)).last_used_at
    assert used
    return used


async def test_uses_of_many_tenants_keys_are_noted_in_one_trip(
    keys: PostgresKeys, owner: psycopg.Connection, trips: Trips
) -> None:
    of_acme, of_globex, unused = (
        await new_key(keys),
        await new_key(keys, GLOBEX),
        await new_key(keys),
    )
    trips.clear()
    before = database_now(owner)
    await keys.note_uses({of_acme: 30.0, of_globex: 0.0, KeyId(uuid4()): 1.0})
    after = database_now(owner)
    assert trips == ["note_key_uses"]
    seconds = timedelta(seconds=30)
    assert before - seconds <= await last_used(keys, of_acme) <= after - seconds
    assert before <= await last_used(keys, of_globex, GLOBEX) <= after
    assert (await keys.key(ACME, unused)).last_used_at is None
    page = {key.key_id: key.last_used_at for key in await keys.page(ACME, None, 200)}
    assert page[of_acme] == await last_used(keys, of_acme)
    assert page[unused] is None


async def test_the_last_use_moves_forward_only_and_never_into_the_future(
    keys: PostgresKeys, owner: psycopg.Connection
) -> None:
    key_id = await new_key(keys)
    await keys.note_uses({key_id: 10.0})
    noted = await last_used(keys, key_id)
    await keys.note_uses({key_id: 3600.0})
    assert await last_used(keys, key_id) == noted
    await keys.note_uses({key_id: -3600.0})
    assert noted < await last_used(keys, key_id) <= database_now(owner)


async def test_a_use_is_no_change_of_the_control_data(
    keys: PostgresKeys, owner: psycopg.Connection
) -> None:
    key_id = await new_key(keys)
    before = owner.execute("select version from control.version").fetchone()
    await keys.note_uses({key_id: 0.0})
    assert owner.execute("select version from control.version").fetchone() == before


@pytest.mark.parametrize("named", ["acme", "globex", "*"])
async def test_a_tenants_transaction_notes_nothing(
    stores: Stores, keys: PostgresKeys, named: str
) -> None:
    key_id = await new_key(keys, GLOBEX)
    with psycopg.connect(stores.app_url) as conn:
        conn.execute(query("enter").sql, stores.app.entry(ACME))
        conn.execute(
            "select tenantry.note_key_uses("
            "tenantry.enter(%s, current_setting('app.tenant_seal')), %s, '{0}')",
            [named, [key_id]],
        )
    assert (await keys.key(GLOBEX, key_id)).last_used_at is None


async def test_an_operator_sees_when_a_key_was_last_used(
    stores: Stores, keys: PostgresKeys
) -> None:
    key_id = await new_key(keys)
    await keys.note_uses({key_id: 0.0})
    with control(stores.owner()) as admin:
        [row] = [row for row in admin.keys(ACME) if row["key_id"] == key_id]
    assert row["last_used_at"] == await last_used(keys, key_id)
