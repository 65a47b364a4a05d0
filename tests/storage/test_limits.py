"""Limits in a real database: stored once, read by every process, never wider by accident."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb
from structlog.testing import capture_logs

from server.stores import Stores
from storage.cells import Cells
from storage.control import control
from storage.directory import Directory
from storage.limits import PostgresLimits
from storage.platform import Platform
from storage.queries import query
from tenancy.errors import Conflict, Invalid, NotFound, Unavailable
from tenancy.ids import PlanId, SubjectId, TenantId
from tenancy.limits import MAX_LIMITED_USERS, Source
from tenancy.plan import FREE, PRO, Plan, change_plan, new_plan
from tenancy.price import Price
from tenancy.tenant import Tenant
from tests.storage.makers import ACME, GLOBEX, audit_event
from tests.storage.test_directory import SECOND, announcing, directory
from tests.support.waiting import until

__all__ = ["announcing", "directory"]  # fixtures

ANN, BOB = SubjectId("ann"), SubjectId("bob")
DAY = "user_tokens_per_day"
Owner = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def limits(cells: Cells) -> PostgresLimits:
    return PostgresLimits(cells)


@pytest.fixture
async def platform(stores: Stores) -> AsyncIterator[Platform]:
    platform = Platform(stores.operator_url)
    await platform.open()
    yield platform
    await platform.close()


@pytest.fixture(autouse=True)
def _unlimited(owner: Owner) -> Iterator[None]:
    yield
    owner.execute("delete from control.user_limits")
    owner.execute("update control.tenants set limits = '{}'")


async def tenant(cells: Cells, tenant_id: TenantId = ACME) -> Tenant:
    """As a process reads it that has nothing cached."""
    found = await Directory(cells.first.pool).tenant(tenant_id)
    assert found
    return found


def limit(stores: Stores, said: dict[str, str], user: SubjectId | None = None) -> None:
    with control(stores.owner()) as admin:
        admin.limit(ACME, said, user)


# -- plans


def test_a_plan_comes_back_as_it_was(stores: Stores) -> None:
    said = {"weight": "9", "degrade": "model,queue", "cheaper_model": "small", "hard_limits": "1"}
    plan = new_plan(PlanId("whole"), {**said, "fallback_models": "a,b", "money_per_day": "700"})
    with control(stores.owner()) as admin:
        admin.put_plan(plan)
        assert admin.plan(plan.plan_id) == plan
        assert plan in admin.plans()
        admin.forget_plan(plan.plan_id)
        assert admin.plan(plan.plan_id) is None


def test_the_shipped_plans_are_stored_as_shipped(stores: Stores) -> None:
    with control(stores.owner()) as admin:
        assert (admin.plan(FREE.plan_id), admin.plan(PRO.plan_id)) == (FREE, PRO)


def test_a_plan_that_was_changed_is_not_seeded_again(stores: Stores) -> None:
    with control(stores.owner()) as admin:
        changed = admin.change_plan(FREE.plan_id, {"weight": "2"})
        admin.seed()
        assert admin.plan(FREE.plan_id) == changed
        admin.put_plan(FREE)


def test_a_plan_of_before_has_the_limits_that_every_plan_has(stores: Stores, owner: Owner) -> None:
    owner.execute(
        "insert into control.plans values ('old', 7, 1, 1, 1, 1, 1, 16, 1, '{all}', '{all}')"
    )
    with control(stores.owner()) as admin:
        known = admin.plan(PlanId("old"))
        admin.forget_plan(PlanId("old"))
    assert known
    assert (known.requests_per_minute, known.weight) == (7, Plan(PlanId("old")).weight)


async def test_a_program_of_before_reads_the_columns_that_it_knows(
    cells: Cells, owner: Owner
) -> None:
    entry = cells.first.pool.database.entry(ACME)
    of_before = b"select plan from tenantry.tenant_record(tenantry.enter(%(tenant_id)s, %(seal)s))"
    async with cells.first.pool.connection() as conn:
        row = await (await conn.execute(of_before, entry)).fetchone()
    columns = owner.execute("select * from control.plans").description
    assert row
    assert set(row["plan"]) == {column.name for column in columns or ()}
    assert "limits" not in row["plan"]


def test_two_operators_change_two_fields_of_one_plan(stores: Stores) -> None:
    with control(stores.owner()) as one:
        one.change_plan(FREE.plan_id, {"weight": "7"})

        def other() -> Plan:
            with control(stores.owner()) as two:
                return two.change_plan(FREE.plan_id, {"queue_length": "3"})

        async def both() -> Plan:
            later = asyncio.create_task(asyncio.to_thread(other))
            await asyncio.sleep(0.05)
            one._conn.commit()
            return await later

        changed = asyncio.run(both())
        assert (changed.weight, changed.queue_length) == (7, 3)
        one.put_plan(FREE)


@pytest.mark.parametrize(
    "stored",
    [{"weight": "x"}, {"weight": 10**6}, {"weight": 1.5}, {"weight": None}, {"colour": "blue"}],
)
async def test_what_a_plan_says_that_cannot_be_read_is_as_in_every_plan(
    stores: Stores, owner: Owner, stored: dict[str, Any]
) -> None:
    with control(stores.owner()) as admin:
        admin.put_plan(new_plan(PlanId("spoilt"), {"weight": "5", "queue_length": "3"}))
    owner.execute("update control.plan_limits set limits = limits || %s", [Jsonb(stored)])
    with capture_logs() as logs, control(stores.owner()) as admin:
        known = admin.plan(PlanId("spoilt"))
    with control(stores.owner()) as admin:
        admin.forget_plan(PlanId("spoilt"))
        admin.put_plan(FREE)
        admin.put_plan(PRO)
    assert known
    assert known.queue_length == 3
    assert known.weight == (1 if "weight" in stored else 5)
    assert [each["event"] for each in logs] == ["limit_invalid"]


# -- a tenant's own


async def test_a_tenants_own_limits_are_in_its_plan(stores: Stores, cells: Cells) -> None:
    limit(stores, {"tokens_per_day": "7", "models": "small", "weight": "2"})
    known = await tenant(cells)
    assert (known.plan.tokens_per_day, known.plan.models, known.plan.weight) == (7, ("small",), 2)
    assert known.plan.plan_id == "pro"
    assert known.plan.burst == PRO.burst
    assert (await tenant(cells, GLOBEX)).plan == FREE
    limit(stores, {"tokens_per_day": "", "weight": "3"})
    assert (await tenant(cells)).own_limits == {"models": "small", "weight": "3"}


async def test_a_changed_limit_acts_within_a_second(
    stores: Stores, directory: Directory, announcing: str
) -> None:
    async def read() -> tuple[int, int]:
        known = await directory.tenant(ACME)
        assert known
        return known.plan.weight, known.for_user(ANN).plan.user_tokens_per_day

    await until(lambda: _is(read, (PRO.weight, -1)))
    limit(stores, {"weight": "2"})
    assert await until(lambda: _is(read, (2, -1))) < SECOND
    limit(stores, {DAY: "5"}, ANN)
    assert await until(lambda: _is(read, (2, 5))) < SECOND


async def _is(read: Any, wanted: object) -> bool:
    return await read() == wanted


@pytest.mark.parametrize("stored", ["x", "", "1.5", "-7", str(10**30), 5, None, [1], {"a": 1}])
async def test_a_stored_limit_that_cannot_be_read_is_logged_and_skipped(
    cells: Cells, owner: Owner, stored: object
) -> None:
    owner.execute(
        "update control.tenants set limits = %s where tenant_id = 'acme'",
        [Jsonb({"tokens_per_day": stored, "weight": "2"})],
    )
    with capture_logs() as logs:
        known = await tenant(cells)
    assert known.plan == change_plan(PRO, {"weight": "2"})
    assert [(each["field"], each["tenant"]) for each in logs] == [("tokens_per_day", "acme")]


def test_a_tenant_that_is_not_there_has_no_limits(stores: Stores) -> None:
    with control(stores.owner()) as admin:
        for attempt in (
            lambda: admin.limits(TenantId("nobody")),
            lambda: admin.limit(TenantId("nobody"), {"weight": "2"}),
            lambda: admin.limit(TenantId("nobody"), {DAY: "2"}, ANN),
        ):
            with pytest.raises(NotFound, match="There is no tenant nobody"):
                attempt()


# -- a user's


async def test_a_users_limits_are_its_own(stores: Stores, cells: Cells) -> None:
    limit(stores, {DAY: "100"})
    limit(stores, {DAY: "7", "user_burst": "2"}, ANN)
    known = await tenant(cells)
    assert known.plan.user_tokens_per_day == 100
    assert known.for_user(ANN).plan.user_tokens_per_day == 7
    assert known.for_user(BOB).plan.user_tokens_per_day == 100
    limit(stores, {DAY: ""}, ANN)
    assert (await tenant(cells)).user_limits == {ANN: {"user_burst": "2"}}
    limit(stores, {"user_burst": ""}, ANN)
    assert (await tenant(cells)).user_limits == {}


async def test_an_operator_may_give_a_user_more(stores: Stores, cells: Cells) -> None:
    limit(stores, {DAY: "100"})
    limit(stores, {DAY: "900"}, ANN)
    assert (await tenant(cells)).for_user(ANN).plan.user_tokens_per_day == 900


async def test_an_admin_narrows_what_an_operator_gave(
    stores: Stores, cells: Cells, limits: PostgresLimits
) -> None:
    limit(stores, {DAY: "100"})
    limit(stores, {DAY: "50"}, ANN)
    plan = (await tenant(cells)).plan
    with pytest.raises(Invalid) as raised:
        await limits.narrow(ACME, plan, ANN, {DAY: "51"}, audit_event())
    assert raised.value.message == "must be at most 50, as the tenant has it"
    assert await limits.narrow(ACME, plan, ANN, {DAY: "20"}, audit_event()) == {DAY: "20"}
    assert (await tenant(cells)).for_user(ANN).plan.user_tokens_per_day == 20
    await limits.forget(ACME, ANN, audit_event())
    assert (await tenant(cells)).for_user(ANN).plan.user_tokens_per_day == 50


async def test_a_plan_that_shrinks_takes_its_users_along(
    stores: Stores, cells: Cells, limits: PostgresLimits
) -> None:
    plan = (await tenant(cells)).plan
    await limits.narrow(ACME, plan, ANN, {DAY: "80"}, audit_event())
    limit(stores, {DAY: "10"})
    known = await tenant(cells)
    assert known.for_user(ANN).plan.user_tokens_per_day == 10
    assert known.user_limits == {ANN: {}}


async def test_what_was_never_narrowed_cannot_be_forgotten(
    stores: Stores, limits: PostgresLimits
) -> None:
    limit(stores, {DAY: "50"}, ANN)
    for subject in (ANN, BOB):
        with pytest.raises(NotFound):
            await limits.forget(ACME, subject, audit_event())


async def test_users_are_listed_by_page_and_tenant(cells: Cells, limits: PostgresLimits) -> None:
    plan = (await tenant(cells)).plan
    for number in (2, 1, 3):
        said = {DAY: str(number)}
        await limits.narrow(ACME, plan, SubjectId(f"user/{number}"), said, audit_event())
    first = await limits.page(ACME, plan, None, 2)
    assert first == [(f"user/{number}", {DAY: str(number)}) for number in (1, 2)]
    assert await limits.page(ACME, plan, first[-1][0], 2) == [("user/3", {DAY: "3"})]
    assert await limits.page(GLOBEX, plan, None, 200) == []


async def test_a_thousand_users_have_limits_and_one_more_is_refused(
    stores: Stores, cells: Cells, owner: Owner, limits: PostgresLimits
) -> None:
    owner.execute(
        "insert into control.user_limits select 'acme', 'user ' || n, '{\"user_burst\": \"2\"}'"
        " from generate_series(1, %s) n",
        [MAX_LIMITED_USERS - 1],
    )
    plan = (await tenant(cells)).plan
    attempts = [
        limits.narrow(ACME, plan, SubjectId(f"new {number}"), {DAY: "1"}, audit_event())
        for number in range(4)
    ]
    done = await asyncio.gather(*attempts, return_exceptions=True)
    assert sorted(type(each).__name__ for each in done) == ["Conflict"] * 3 + ["dict"]
    with pytest.raises(Conflict, match="At most 1000 users"):
        limit(stores, {DAY: "1"}, ANN)
    limit(stores, {DAY: "1"}, SubjectId("user 1"))  # who has some may have others
    limit(stores, {DAY: ""}, ANN)  # and nothing to store is not refused
    assert len((await tenant(cells)).user_limits) == MAX_LIMITED_USERS


async def test_a_users_limit_that_cannot_be_read_widens_nothing(cells: Cells, owner: Owner) -> None:
    bad = {"weight": "1000", DAY: "x", "user_burst": "2"}
    owner.execute(
        "insert into control.user_limits values ('acme', 'ann', %s, %s)",
        [Jsonb(bad), Jsonb({"user_burst": "3", "tokens_per_day": "-1"})],
    )
    with capture_logs() as logs:
        known = await tenant(cells)
    assert known.user_limits == {ANN: {"user_burst": "2"}}
    assert sorted(each["field"] for each in logs) == ["tokens_per_day", DAY, "weight"]


async def test_nothing_is_announced_when_nothing_changes(owner: Owner, limits: Any) -> None:
    def version() -> object:
        return owner.execute("select version from control.version").fetchone()

    before = version()
    assert await limits.narrow(ACME, PRO, ANN, {DAY: ""}, audit_event()) == {}
    assert version() == before


def test_an_erased_tenant_leaves_no_limits(stores: Stores, owner: Owner) -> None:
    gone = TenantId("gone")
    with control(stores.owner()) as admin:
        admin.create_tenant(gone, "Gone", PlanId("free"))
        admin.limit(gone, {DAY: "1"}, ANN)
        admin.erase(stores.app, gone)
    left = owner.execute("select count(*) from control.user_limits where tenant_id = 'gone'")
    assert left.fetchone() == (0,)


# -- as an operator's role


async def test_an_operators_role_changes_the_same(
    stores: Stores, cells: Cells, platform: Platform
) -> None:
    changed = await platform.limit(ACME, {"weight": "8"}, None)
    assert (changed.plan.weight, changed.own) == (8, {"weight": "8"})
    changed = await platform.limit(ACME, {DAY: "8"}, ANN)
    assert changed.users == {ANN: {DAY: "8"}}
    assert [each.value for each in changed.effective(ANN) if each.source is Source.USER] == [8]
    for subject in (None, ANN):
        with pytest.raises(NotFound):
            await platform.limit(TenantId("nobody"), {DAY: "8"}, subject)
    with control(stores.owner()) as admin:
        assert admin.limits(ACME) == changed
    assert (await tenant(cells)).plan == changed.plan


async def test_an_operators_role_makes_and_changes_plans(platform: Platform) -> None:
    made, is_new = await platform.change_plan(PlanId("made"), {"requests_per_minute": "9"})
    assert (made.burst, is_new) == (9, True)
    changed, is_new = await platform.change_plan(PlanId("made"), {"weight": "5"})
    assert (changed.burst, changed.weight, is_new) == (9, 5, False)
    with pytest.raises(Invalid):
        await platform.change_plan(PlanId("made"), {"weight": "0"})
    assert [each.plan_id for each in await platform.plans(PlanId("free"), 2)] == ["made", "pro"]
    assert changed in await platform.plans(None, 200)


# -- prices and costs


async def test_a_price_acts_within_a_second(
    stores: Stores, directory: Directory, announcing: str
) -> None:
    price = Price("gpt", 15_000, 60_000)

    async def prices() -> object:
        return dict(await directory.prices())

    assert await prices() == {}
    with control(stores.owner()) as admin:
        admin.put_price(price)
    assert await until(lambda: _is(prices, {"gpt": price})) < SECOND
    with control(stores.owner()) as admin:
        assert admin.prices() == [price]
        admin.remove_price("gpt")
        with pytest.raises(NotFound, match="There is no price of gpt"):
            admin.remove_price("gpt")
    assert await until(lambda: _is(prices, {})) < SECOND


async def test_prices_that_cannot_be_read_are_not_free(
    stores: Stores, cells: Cells, owner: Owner
) -> None:
    kept = owner.execute("delete from control.seal_keys returning *").fetchall()
    try:
        with pytest.raises(Unavailable):
            await Directory(cells.first.pool).prices()
    finally:
        owner.execute("insert into control.seal_keys values (%s, %s, %s, %s)", kept[0])


async def test_an_operators_role_sets_prices(platform: Platform) -> None:
    for model in ("*", "a", "b"):
        await platform.put_price(Price(model, 1, 2))
    await platform.put_price(Price("a", 3, 4))
    assert await platform.prices(None, 2) == [Price("*", 1, 2), Price("a", 3, 4)]
    assert await platform.prices("a", 2) == [Price("b", 1, 2)]
    for model in ("*", "a", "b"):
        await platform.remove_price(model)
    with pytest.raises(NotFound):
        await platform.remove_price("a")


async def test_a_server_of_before_records_usage_without_a_cost(cells: Cells) -> None:
    row = (
        '{"u": [{"event_id": "6c1f6c52-7f0e-5d0b-9d6b-6b1f2f3c9a10", "meter": "runs",'
        ' "quantity": 1, "model": "", "subject_id": "a", "created_at": "2020-01-01T00:00:00Z"}]}'
    )
    async with cells.first.as_tenant(ACME) as conn:
        await conn.execute(query("record_events"), {"rows": row})
        at = {"from": "2020-01-01T00:00:00Z", "to": "2020-01-02T00:00:00Z"}
        [used] = await conn.fetch(query("sum_usage"), at)
    assert used["cost"] == 0


def test_a_cost_is_never_negative(stores: Stores) -> None:
    negative = (
        "insert into tenantry.usage_events (event_id, meter, quantity, subject_id, cost)"
        " values (gen_random_uuid(), 'runs', 1, 'a', -1)"
    )
    with psycopg.connect(stores.app_url) as conn:
        conn.execute(query("enter").sql, stores.app.entry(ACME))
        with pytest.raises(psycopg.errors.CheckViolation):
            conn.execute(negative)
