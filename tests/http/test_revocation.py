"""A credential that was revoked ends everywhere within a second, runs in flight included."""

import asyncio
from datetime import timedelta

import httpx
import jwt
import pytest

from server.dev_issuer import URL
from tenancy.ids import SubjectId, TenantId
from tenancy.principal import Role
from tenancy.tenant import TenantStatus
from tests.http.speech import (
    ENDS,
    admin_of,
    assert_problem,
    audit,
    eventually,
    frames_of,
    later,
    quota,
)
from tests.support.house import House
from tests.support.model_server import Reply
from tests.support.waiting import HANG_SECONDS


def client_of(product: House, token: str) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.AsyncClient(base_url=product.url, headers=headers, timeout=30)


async def status_of(product: House, token: str) -> int:
    async with client_of(product, token) as client:
        return (await client.get("/v1/tools")).status_code


async def is_refused(product: House, *tokens: str) -> bool:
    return {await status_of(product, token) for token in tokens} == {401}


async def test_one_token_is_revoked_and_its_neighbours_hold(product: House) -> None:
    tenant = await product.new_tenant("revoking-one")
    lost, kept = product.token(tenant), product.token(tenant)
    token_id = jwt.decode(lost, options={"verify_signature": False})["jti"]
    assert await status_of(product, lost) == 200
    async with admin_of(product) as admin:
        admin.revoke(tenant, issuer=URL, token_id=token_id)
    await eventually(lambda: is_refused(product, lost), 1)
    assert await status_of(product, kept) == 200


async def test_a_subjects_credentials_end_and_new_ones_hold(product: House) -> None:
    tenant = await product.new_tenant("revoking-subject")
    async with product.client(tenant, role=Role.ADMIN) as client:
        made = await client.post("/v1/keys", json={"subject": "ann", "role": "member"})
    old = [product.token(tenant, "ann"), product.token(tenant, "ann"), made.json()["key"]]
    other = product.token(tenant, "bob")
    async with admin_of(product) as admin:
        admin.revoke(tenant, subject="ann")
    await eventually(lambda: is_refused(product, *old), 1)
    assert await status_of(product, other) == 200
    assert await status_of(product, later(product, tenant, "ann")) == 200


async def test_a_tenants_credentials_end_and_other_tenants_hold(product: House) -> None:
    tenant, other = await product.new_tenant("revoking-all"), await product.new_tenant("untouched")
    old = [product.token(tenant, subject) for subject in ("ann", "bob")]
    async with admin_of(product) as admin:
        admin.revoke(tenant)
    await eventually(lambda: is_refused(product, *old), 1)
    assert await status_of(product, product.token(other)) == 200
    assert await status_of(product, later(product, tenant, "ann")) == 200


async def suspend(product: House, tenant: TenantId) -> None:
    async with admin_of(product) as admin:
        admin.set_status(tenant, TenantStatus.SUSPENDED)


async def revoke_subject(product: House, tenant: TenantId) -> None:
    async with admin_of(product) as admin:
        admin.revoke(tenant, subject=SubjectId("alice"))


async def revoke_key(product: House, tenant: TenantId) -> None:
    async with admin_of(product) as admin:
        for row in admin.keys(tenant):
            admin.revoke_key(row["key_id"])


ENDINGS = [(suspend, 403), (revoke_subject, 401), (revoke_key, 401)]


@pytest.mark.parametrize(("end", "status"), ENDINGS, ids=["suspend", "subject", "key"])
@pytest.mark.parametrize("streamed", [True, False])
async def test_a_run_in_flight_ends_within_a_second(
    product: House, end, status: int, streamed: bool
) -> None:
    tenant = await product.new_tenant(f"inflight-{end.__name__.replace('_', '-')}-{streamed:d}")
    quiet = await product.new_tenant(f"{tenant}-quiet")
    async with product.client(tenant, role=Role.ADMIN) as client:
        made = await client.post("/v1/keys", json={"subject": "alice", "role": "member"})
    product.model.script(*[Reply("One two three", silent_after=1)] * 2 if streamed else [])
    if not streamed:
        product.model.hold()
    async with client_of(product, made.json()["key"]) as client, product.client(quiet) as calm:
        body = {"message": "Hi", "stream": streamed}
        run = asyncio.create_task(client.post("/v1/chat", json=body))
        beside = asyncio.create_task(calm.post("/v1/chat", json=body))
        await product.model.wait_in_flight(2)
        await end(product, tenant)
        answer = await asyncio.wait_for(run, HANG_SECONDS)
        assert not beside.done()
        product.model.release()
        await suspend(product, quiet)
        await beside
    await eventually(lambda: is_idle(product))
    if streamed:
        ends = [frame for frame in frames_of(answer.text) if frame.kind in ENDS]
        assert [frame.kind for frame in ends] == ["error"]
        assert ends[0].payload["status"] == status
    else:
        assert_problem(answer, status)
    async with admin_of(product) as admin:
        admin.set_status(tenant, TenantStatus.ACTIVE)
    token = product.token(tenant, "root", Role.ADMIN, life=timedelta(hours=2))
    await eventually(lambda: holds_nothing(product, tenant, token))
    events = await audit(product, tenant)
    assert [event["outcome"] for event in events if event["action"] == "run.finish"] == ["failed"]


async def is_idle(product: House) -> bool:
    return product.model.in_flight == 0


async def holds_nothing(product: House, tenant: TenantId, token: str) -> bool:
    async with client_of(product, token) as client:
        return (await quota(client))["concurrent_runs"]["used"] == 0
