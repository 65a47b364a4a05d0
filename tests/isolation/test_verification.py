"""`verify-isolation` finds nothing here, removes what it made, and signs what it says."""

import base64
import json
import secrets
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
import redis
from psycopg import sql

from server.settings import Settings
from server.stores import Stores
from server.verification.report import report_of, sign, verified
from server.verification.rivals import Masked, Observer, Rival, canaries_in
from server.verification.verify import CHECKS, Verdict, verify
from storage.control import control
from tenancy.errors import Invalid
from tenancy.ids import PlanId, TenantId
from tenancy.plan import new_plan
from tests.support.house import settings_of
from tests.support.model_server import ModelServer

SECRET = bytes(range(32))


@pytest.fixture(scope="module")
async def settings(model: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_of(tmp_path_factory.mktemp("data"), model)


@pytest.fixture(scope="module")
async def verdict(settings: Settings, stores: Stores) -> Verdict:
    return await verify(settings, stores)


def test_tenants_are_kept_apart(verdict: Verdict) -> None:
    assert verdict.findings == []
    assert list(verdict.probes) == list(CHECKS)
    assert all(verdict.probes.values())
    assert verdict.observations > 1000


def test_what_it_made_is_gone(verdict: Verdict, stores: Stores) -> None:
    with control(stores.owner()) as admin:
        assert [row["tenant_id"] for row in admin.tenants()] == ["acme", "globex"]
        assert [plan.plan_id for plan in admin.plans()] == ["free", "pro"]
    client = redis.Redis.from_url(stores.redis_url)
    assert [key for key in client.scan_iter() if b"verify-" in key] == []
    client.close()
    assert stores.operator_url
    with psycopg.connect(stores.operator_url) as operator:
        for table in ("audit_events", "usage_events"):
            [[left]] = operator.execute(
                sql.SQL("select count(*) from {} where tenant_id like 'verify-%'").format(
                    sql.Identifier("tenantry", table)
                )
            ).fetchall()
            assert left == 0


def test_the_report_says_what_was_tried(verdict: Verdict) -> None:
    report = report_of(verdict)
    assert report["isolated"]
    assert [each["check"] for each in report["checks"]] == list(CHECKS)
    assert all(each["proves"] for each in report["checks"])
    assert {tool["source"] for tool in report["tools"]} >= {"built-in"}


def test_a_signed_report_is_believed(verdict: Verdict) -> None:
    report = report_of(verdict)
    signed = json.loads(json.dumps(sign(report, SECRET)))
    assert verified(signed, SECRET) == report


@pytest.mark.parametrize("change", ["report", "signature", "key", "nothing signed"])
def test_a_report_that_was_changed_is_not(verdict: Verdict, change: str) -> None:
    signed = sign(report_of(verdict), SECRET)
    key = SECRET
    if change == "report":
        signed["report"]["isolated"] = not signed["report"]["isolated"]
    elif change == "signature":
        forged = sign({**report_of(verdict), "isolated": True}, bytes(32))
        signed["signature"] = forged["signature"]
    elif change == "key":
        key = bytes(32)
    else:
        signed = {"report": signed["report"]}
    with pytest.raises(Invalid) as refused:
        verified(signed, key)
    assert refused.value.field == "FILE"


async def test_what_a_killed_verification_left_is_erased_by_the_next(
    settings: Settings, stores: Stores, owner: psycopg.Connection
) -> None:
    plan = PlanId("verify-0badcafe")
    old, fresh = ("verify-0badcafe-a", "verify-0badcafe-b"), "verify-00000001-a"
    with control(stores.owner()) as admin:
        admin.put_plan(new_plan(plan, {}))
        for name in (*old, fresh):
            admin.create_tenant(TenantId(name), name, PlanId("free" if name == fresh else plan))
    owner.execute(
        "update control.tenants set created_at = now() - interval '2 hours'"
        " where tenant_id like 'verify-0badcafe-%'"
    )
    await verify(settings, stores, to_the_end=False)
    with control(stores.owner()) as admin:
        left = [row["tenant_id"] for row in admin.tenants()]
        assert left == ["acme", "globex", fresh]  # the fresh one may be at work
        assert [each.plan_id for each in admin.plans()] == ["free", "pro"]
        admin.erase(stores.app, TenantId(fresh))


def rivals() -> tuple[Rival, Rival]:
    one, two = (Rival(TenantId(f"verify-{letter}"), secrets.token_hex(8), "") for letter in "ab")
    return one, two


WRITTEN = {
    "plain": str,
    "upper case": str.upper,
    "hexadecimal": lambda word: word.encode().hex(),
    "HEXADECIMAL": lambda word: word.encode().hex().upper(),
    "URL encoded": lambda word: "".join(f"%{ord(c):02X}" for c in word),
    "quoted": lambda word: quote(f"/{word}?"),
    **{
        f"base64 after {n}": lambda word, n=n: base64.b64encode(
            b"x" * n + word.encode() + b"yz"
        ).decode()
        for n in range(6)
    },
    **{
        f"base64url after {n}": lambda word, n=n: base64.urlsafe_b64encode(
            b"~" * n + word.encode()
        ).decode()
        for n in range(3)
    },
}


@pytest.mark.parametrize("how", WRITTEN)
@pytest.mark.parametrize("what", ["canary", "name"])
def test_a_canary_is_found_however_it_is_written(how: str, what: str) -> None:
    one, _ = rivals()
    word = one.canary("title") if what == "canary" else one.tenant_id
    text = f'{{"x": "before {WRITTEN[how](word)} after"}}'.encode()
    found = [place for place, _ in canaries_in(text, one)]
    assert found == ["title" if what == "canary" else "name"]


def test_what_is_ones_own_is_no_finding() -> None:
    one, two = rivals()
    observer = Observer((one, two))
    observer.saw(one, "here", one.canary("title"))
    observer.saw(two, "here", f"{two.canary('title')} {two.tenant_id}")
    assert (observer.findings, observer.observations) == ([], 2)
    observer.saw(two, "here", one.canary("title"))
    assert [finding.where for finding in observer.findings] == ["here"]


def test_answers_are_compared_without_times_and_counters() -> None:
    one = Masked(200, {"Date": "1", "RateLimit": "r=1"}, b'{"created_at":"1","title":"a"}')
    two = Masked(200, {"date": "2", "ratelimit": "r=22"}, b'{"created_at":"2","title":"a"}')
    assert one.plain == two.plain
    assert one.plain != Masked(200, {}, one.body).plain
    assert one.plain != Masked(200, one.headers, b'{"created_at":"1","title":"b"}').plain


def test_the_model_is_a_stand_in(settings: Settings, verdict: Verdict, model: ModelServer) -> None:
    """A verification costs nothing at the model endpoint but embeddings."""
    assert verdict.isolated
    assert model.chat_requests == []
    assert Path(settings.data_dir).is_dir()
