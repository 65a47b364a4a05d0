"""Every command of the contract, beside a running server and without one."""

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from server.cli import main
from server.stores import Stores
from storage import embedded
from storage.redis_client import connect
from storage.redis_keys import Area, redis_key
from tests.support.commands import Foreground, Terminal, free_port, wait_until
from tests.support.model_server import ModelServer
from tests.support.stores import ACME, SEAL_KEY, open_folder

ISSUER = "https://idp.example/"
NOWHERE = "00000000-0000-0000-0000-000000000000"
QUESTION = "How many years does the warranty of a lamp last?"
LAMPS = "# Lamps\n\nThe warranty of a lamp lasts nine years.\n"


@dataclass(frozen=True, slots=True)
class Shop:
    """A running server with tenants, and the terminal beside it."""

    terminal: Terminal
    up: Foreground

    def token(self, tenant: str, **options: str) -> str:
        """A token as a developer gets one."""
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        text = self.terminal.ok("token", "issue", "--tenant", tenant, "--subject", "ann", *words)
        assert text.count("\n") == 1
        return text.strip()

    def get(self, path: str, credential: str) -> httpx.Response:
        """Ask the server for something."""
        headers = {"Authorization": f"Bearer {credential}"}
        return httpx.get(f"{self.up.url}{path}", headers=headers, timeout=30)


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with open_folder() as folder:
        terminal = Terminal(folder)
        with terminal.running("up", "--port", "0") as up:
            terminal.ok("tenant", "create", "lumen", "--plan", "pro")
            terminal.ok("tenant", "create", "umbra")
            yield Shop(terminal, up)


@pytest.fixture(scope="module")
def alone() -> Iterator[Terminal]:
    """A terminal without a server; the stores are kept warm for its commands."""
    with open_folder() as folder:
        terminal = Terminal(folder)
        with embedded.attach_or_start(terminal.data_dir):
            terminal.ok("tenant", "create", "lumen")
            yield terminal


def within_a_second(holds: Any) -> None:
    """It does, once the change has reached the server: the wait is generous."""
    wait_until(holds)


# Tenants and plans ---------------------------------------------------------------------------


def test_tenants_are_created_listed_and_shown(shop: Shop) -> None:
    made = shop.terminal.json("tenant", "create", "nova", "--plan", "pro")
    assert made["tenant_id"] == "nova"
    assert made["plan"] == "pro"
    listed = shop.terminal.json("tenant", "list")
    assert {"lumen", "umbra", "nova"} <= {each["tenant_id"] for each in listed}
    assert shop.terminal.json("tenant", "show", "nova") == made
    assert "nova" in shop.terminal.ok("tenant", "list")


def test_a_suspended_tenant_is_refused_until_it_is_resumed(shop: Shop) -> None:
    token = shop.token("umbra")
    assert shop.get("/v1/tools", token).status_code == 200
    shop.terminal.ok("tenant", "suspend", "umbra")
    within_a_second(lambda: shop.get("/v1/tools", token).status_code == 403)
    shop.terminal.ok("tenant", "resume", "umbra")
    within_a_second(lambda: shop.get("/v1/tools", token).status_code == 200)


def test_a_plan_is_created_and_changed_under_a_running_server(shop: Shop) -> None:
    said = "requests_per_minute=7"
    plan = shop.terminal.json("plan", "set", "tiny", said, "models=default", "tools=built-ins")
    assert plan["requests_per_minute"] == 7
    assert shop.terminal.json("plan", "show", "tiny") == plan
    assert {"free", "pro", "tiny"} <= {p["plan_id"] for p in shop.terminal.json("plan", "list")}
    shop.terminal.ok("tenant", "create", "small", "--plan", "tiny")
    token = shop.token("small")

    def limits() -> list[int]:
        items = shop.get("/v1/quota", token).json()["items"]
        return [each["limit"] for each in items if each["meter"] == "requests"]

    assert limits() == [7]
    shop.terminal.ok("plan", "set", "tiny", "requests_per_minute=9")
    within_a_second(lambda: limits() == [9])


def test_a_tenant_and_its_user_are_limited_under_a_running_server(shop: Shop) -> None:
    shop.terminal.ok("tenant", "create", "bound", "--plan", "pro")
    said = shop.terminal.json("tenant", "limit", "bound", "weight=2", "user_tokens_per_day=100")
    assert said == [
        {"field": "user_tokens_per_day", "value": 100, "source": "tenant", "user": None},
        {"field": "weight", "value": 2, "source": "tenant", "user": None},
    ]
    of_ann = {"field": "user_tokens_per_day", "value": 7, "source": "user", "user": "ann"}
    words = ("tenant", "limit", "bound", "tokens_per_day=7", "--user", "ann")
    assert shop.terminal.json(*words) == [of_ann]
    listed = shop.terminal.json("tenant", "limits", "bound")
    assert of_ann in listed
    assert {each["source"] for each in listed} == {"plan", "tenant", "user"}
    assert of_ann in shop.terminal.json("tenant", "limits", "bound", "--user", "ann")
    assert shop.terminal.json("tenant", "show", "bound")["limits"] == {
        "weight": "2",
        "user_tokens_per_day": "100",
    }
    assert "tenant" in shop.terminal.ok("tenant", "limits", "bound")
    token = shop.token("bound")

    def held() -> dict[str, Any]:
        items = shop.get("/v1/limits", token).json()["items"]
        return {each["field"]: each["value"] for each in items}

    within_a_second(lambda: (held()["weight"], held()["user_tokens_per_day"]) == (2, 7))
    shop.terminal.ok("tenant", "limit", "bound", "weight=")
    within_a_second(lambda: held()["weight"] == 4)


def test_prices_are_set_listed_and_removed(alone: Terminal) -> None:
    gpt = {"model": "gpt", "input": "15", "output": "7.5"}
    assert alone.json("price", "set", "gpt", "input=15", "output=7.50") == gpt
    alone.ok("price", "set", "*", "input=1", "output=1")
    assert alone.json("price", "list")[1] == gpt
    assert "7.5" in alone.ok("price", "list")
    alone.ok("price", "remove", "*")
    alone.ok("price", "remove", "gpt")
    assert alone.json("price", "list") == []


def test_corpora_are_made_and_subscribed_to(alone: Terminal) -> None:
    alone.ok("corpus", "create", "law", "--title", "Labour law")
    alone.ok("corpus", "subscribe", "law", "--tenant", "lumen")
    [law] = alone.json("corpus", "list")
    assert (law["corpus_id"], law["title"], law["tenants"]) == ("law", "Labour law", 1)
    alone.ok("corpus", "unsubscribe", "law", "--tenant", "lumen")
    assert alone.json("corpus", "list")[0]["tenants"] == 0


def test_threads_are_pruned(alone: Terminal) -> None:
    assert alone.ok("thread", "prune", "--tenant", "lumen") == "0 checkpoints deleted\n"


# Credentials ---------------------------------------------------------------------------------


def test_a_key_is_shown_once_and_works_until_it_is_revoked(shop: Shop) -> None:
    made = shop.terminal.json("key", "create", "--tenant", "lumen", "--subject", "robot")
    assert set(made) == {"key_id", "key"}
    assert shop.get("/v1/threads", made["key"]).status_code == 200
    (listed,) = shop.terminal.json("key", "list", "--tenant", "lumen")
    assert listed["key_id"] == made["key_id"]
    assert made["key"] not in json.dumps(listed)
    shop.terminal.ok("key", "revoke", made["key_id"])
    within_a_second(lambda: shop.get("/v1/threads", made["key"]).status_code == 401)


def test_a_key_is_rotated_with_an_overlap(shop: Shop) -> None:
    old = shop.terminal.json("key", "create", "--tenant", "umbra", "--subject", "robot")
    new = shop.terminal.json("key", "rotate", old["key_id"])
    assert set(new) == {"key_id", "key", "old_expires_at"}
    within_a_second(lambda: shop.get("/v1/threads", new["key"]).status_code == 200)
    assert shop.get("/v1/threads", old["key"]).status_code == 200
    again = shop.terminal.run("key", "rotate", old["key_id"])
    assert (again.returncode, "rotated already" in again.stderr) == (1, True)
    last = shop.terminal.json("key", "rotate", new["key_id"], "--overlap", "0s")
    within_a_second(lambda: shop.get("/v1/threads", new["key"]).status_code == 401)
    listed = shop.terminal.json("key", "list", "--tenant", "umbra")
    assert [each["replaced_by"] for each in listed] == [new["key_id"], last["key_id"], None]
    trail = shop.terminal.json("audit", "list", "--tenant", "umbra")
    rotated = [each["resource"] for each in trail if each["action"] == "key.rotate"]
    assert rotated == [new["key_id"], old["key_id"]]


def test_a_token_narrows_to_its_role(shop: Shop) -> None:
    assert shop.get("/v1/usage", shop.token("lumen", role="viewer")).status_code == 403
    assert shop.get("/v1/usage", shop.token("lumen", role="admin", ttl="2m")).status_code == 200


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key of an identity provider, and its public half as a JWK."""

    alg: str
    private: Any
    jwk: dict[str, Any]

    def sign(self, tenant: str) -> str:
        """A token of ISSUER."""
        claims = {
            "iss": ISSUER,
            "aud": "tenantry",
            "sub": "zoe",
            "tenant_id": tenant,
            "role": "member",
            "exp": datetime.now(UTC) + timedelta(minutes=5),
            "jti": str(uuid4()),
        }
        return jwt.encode(claims, self.private, self.alg, headers={"kid": self.alg})


def signers() -> list[Signer]:
    """One key of each kind."""
    keys: dict[str, tuple[Any, Any]] = {
        "RS256": (rsa.generate_private_key(65537, 2048), jwt.algorithms.RSAAlgorithm),
        "ES256": (ec.generate_private_key(ec.SECP256R1()), jwt.algorithms.ECAlgorithm),
        "EdDSA": (ed25519.Ed25519PrivateKey.generate(), jwt.algorithms.OKPAlgorithm),
    }
    found = []
    for alg, (private, algorithm) in keys.items():
        public = algorithm.to_jwk(private.public_key(), as_dict=True)
        public.pop("key_ops", None)
        found.append(Signer(alg, private, {**public, "alg": alg, "kid": alg, "use": "sig"}))
    return found


def test_an_issuer_speaks_for_its_tenants_until_it_is_removed(shop: Shop, tmp_path: Path) -> None:
    idp, jwks = signers(), tmp_path / "jwks.json"
    jwks.write_text(json.dumps({"keys": [each.jwk for each in idp]}))
    words = ("issuer", "add", ISSUER, "--jwks", str(jwks), "--tenant", "lumen")
    assert shop.terminal.json(*words)["url"] == ISSUER
    (listed,) = shop.terminal.json("issuer", "list")
    assert sorted(listed["keys"]) == ["ES256", "EdDSA", "RS256"]
    for signer in idp:
        within_a_second(lambda s=signer: shop.get("/v1/tools", s.sign("lumen")).status_code == 200)
        assert shop.get("/v1/tools", signer.sign("umbra")).status_code == 401
    shop.terminal.ok("issuer", "remove", ISSUER)
    within_a_second(lambda: shop.get("/v1/tools", idp[0].sign("lumen")).status_code == 401)


def test_what_was_issued_until_now_is_revoked(shop: Shop) -> None:
    token = shop.terminal.ok("token", "issue", "--tenant", "lumen", "--subject", "gone").strip()
    within_a_second(lambda: shop.get("/v1/tools", token).status_code == 200)
    shop.terminal.ok("revocation", "add", "--tenant", "lumen", "--subject", "gone")
    within_a_second(lambda: shop.get("/v1/tools", token).status_code == 401)
    listed = shop.terminal.json("revocation", "list", "--tenant", "lumen")
    assert [row["subject"] for row in listed] == ["gone"]
    nobody = shop.terminal.run("revocation", "add", "--tenant", "lumen")
    assert (nobody.returncode, "--all or --subject" in nobody.stderr) == (2, True)


def test_the_seal_key_is_changed_in_two_steps(shop: Shop) -> None:
    (ours,) = shop.terminal.json("seal", "list")
    assert ours["ours"]
    assert shop.terminal.run("seal", "remove", ours["key_id"]).returncode == 1
    assert shop.terminal.run("seal", "remove", "nobody").returncode == 1
    newer = shop.terminal.but(TENANTRY_SEAL_KEY="the key that comes after this one")
    newer.ok("migrate")
    assert "does not believe" in newer.run("tool", "list", "--tenant", "lumen").stderr
    newer.ok("seal", "add")
    assert [each["ours"] for each in newer.json("seal", "list")] == [False, True]
    newer.ok("seal", "remove", ours["key_id"])
    shop.terminal.ok("seal", "add")
    (added,) = [each for each in newer.json("seal", "list") if each["ours"]]
    shop.terminal.ok("seal", "remove", added["key_id"])
    short = shop.terminal.but(TENANTRY_SEAL_KEY="short").run("seal", "list")
    assert (short.returncode, "short" in short.stderr) == (2, False)


def test_an_issuers_values_stand_for_tenants(shop: Shop, tmp_path: Path) -> None:
    (signer, *_), jwks, rules = signers(), tmp_path / "jwks.json", tmp_path / "rules.json"
    jwks.write_text(json.dumps({"keys": [signer.jwk]}))
    rules.write_text(json.dumps({"default_role": "member"}))
    words = ("issuer", "add", ISSUER, "--jwks", str(jwks), "--rules", str(rules))
    shop.terminal.ok(*words, "--map", "org_2aBc=lumen")
    shop.terminal.ok("issuer", "map", ISSUER, "org_9xYz=umbra")
    for value in ("org_2aBc", "org_9xYz"):
        within_a_second(lambda v=value: shop.get("/v1/tools", signer.sign(v)).status_code == 200)
    shop.terminal.ok("issuer", "map", ISSUER, "org_9xYz=")
    within_a_second(lambda: shop.get("/v1/tools", signer.sign("org_9xYz")).status_code == 401)
    assert shop.get("/v1/tools", signer.sign("org_2aBc")).status_code == 200
    shop.terminal.ok("issuer", "remove", ISSUER)


def test_a_key_set_with_a_private_or_unnamed_key_is_refused(shop: Shop, tmp_path: Path) -> None:
    jwks = tmp_path / "jwks.json"
    (signer, *_) = signers()
    jwks.write_text(json.dumps({"keys": [signer.jwk | {"d": "secret"}]}))
    private = shop.terminal.run("issuer", "add", ISSUER, "--jwks", str(jwks), "--any-tenant")
    del signer.jwk["alg"]
    jwks.write_text(json.dumps({"keys": [signer.jwk]}))
    unnamed = shop.terminal.run("issuer", "add", ISSUER, "--jwks", str(jwks), "--any-tenant")
    assert (private.returncode, unnamed.returncode) == (2, 2)
    assert "without its private half" in private.stderr
    assert "must name its alg" in unnamed.stderr


# Knowledge, tools and chat -------------------------------------------------------------------


@pytest.fixture(scope="module")
def lamps(shop: Shop) -> dict[str, Any]:
    """What the first ingestion of a folder with a good, a broken and a foreign file counted."""
    folder = shop.terminal.folder / "documents"
    folder.mkdir()
    (folder / "lamps.md").write_text(LAMPS)
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 this is none")
    (folder / "tape.mp3").write_bytes(b"ID3\x04\x00\x00" + bytes(range(256)))
    done = shop.terminal.run("ingest", "--tenant", "lumen", "--json", str(folder))
    assert done.returncode == 1
    told = ["failed broken.pdf", "added lamps.md", "failed tape.mp3"]
    lines = [line.replace(f"{folder}/", "") for line in done.stderr.splitlines()]
    assert lines == ["lumen: 3 documents", *told]
    counts: dict[str, Any] = json.loads(done.stdout)
    return counts


def test_ingestion_counts_what_it_added_and_says_what_failed(
    shop: Shop, lamps: dict[str, Any]
) -> None:
    assert lamps["added"] == 1
    assert lamps["unchanged"] == 0
    reasons = {Path(each["path"]).name: each["reason"] for each in lamps["failed"]}
    assert set(reasons) == {"broken.pdf", "tape.mp3"}
    assert all(reasons.values())
    good = shop.terminal.folder / "documents" / "lamps.md"
    again = shop.terminal.json("ingest", "--tenant", "lumen", str(good))
    assert again == {"added": 0, "unchanged": 1, "failed": []}


def test_documents_come_are_listed_and_go(shop: Shop) -> None:
    shop.terminal.ok("tenant", "create", "shelf")
    folder = shop.terminal.folder / "shelf"
    for name in ("a/one.md", "two.md", ".hidden.md", ".git/three.md"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"# {name}\n\nWords of {name}.\n")
    done = shop.terminal.run("documents", "add", "--tenant", "shelf", str(folder))
    assert (done.returncode, done.stdout) == (0, "2 added, 0 unchanged, 0 failed\n")
    listed = shop.terminal.json("documents", "list", "--tenant", "shelf")
    assert {each["title"] for each in listed} == {"a/one.md", "two.md"}
    assert {(each["status"], each["passages"]) for each in listed} == {("ready", 1)}
    assert "two.md" in shop.terminal.ok("documents", "list", "--tenant", "shelf")
    gone = listed[0]["document_id"]
    shop.terminal.ok("documents", "delete", "--tenant", "shelf", gone)
    [left] = shop.terminal.json("documents", "list", "--tenant", "shelf")
    assert left == listed[1]
    assert shop.terminal.run("documents", "delete", "--tenant", "shelf", gone).returncode == 1
    trail = shop.terminal.json("audit", "list", "--tenant", "shelf")
    assert [each["resource"] for each in trail if each["action"] == "document.delete"] == [gone]
    empty = shop.terminal.json("documents", "list", "--tenant", "umbra")
    assert empty == []


def test_an_operator_shows_a_person_what_is_kept_and_forgets_it(shop: Shop) -> None:
    shop.terminal.ok("tenant", "create", "diary", "--plan", "pro")
    headers = {"Authorization": f"Bearer {shop.token('diary', role='admin')}"}
    for text, of in (("tea", "person"), ("milk", "person"), ("noon", "tenant")):
        said = {"text": text, "of": of}
        url = f"{shop.up.url}/v1/memories"
        assert httpx.post(url, json=said, headers=headers, timeout=30).status_code == 201
    hers, of_all = ["--tenant", "diary", "--subject", "ann"], ["--tenant", "diary"]
    kept = shop.terminal.json("memories", "list", *hers)
    assert [each["value"]["text"] for each in kept] == ["tea", "milk"]
    assert {tuple(each["namespace"]) for each in kept} == {("person", "memories")}
    assert "milk" in shop.terminal.ok("memories", "list", *hers)
    [shared] = shop.terminal.json("memories", "list", *of_all)
    assert shared["value"] == {"text": "noon"}
    first = kept[0]["memory_id"]
    assert shop.terminal.json("memories", "forget", *hers, first) == {"forgotten": 1}
    assert shop.terminal.run("memories", "forget", *hers, shared["memory_id"]).returncode == 1
    assert shop.terminal.run("memories", "forget", *of_all).returncode == 2
    assert shop.terminal.ok("memories", "forget", *hers) == "1 forgotten\n"
    assert shop.terminal.ok("memories", "forget", *hers) == "0 forgotten\n"
    assert shop.terminal.json("memories", "list", *of_all) == [shared]
    trail = shop.terminal.json("audit", "list", "--tenant", "diary")
    did = [(each["action"], each["resource"]) for each in trail if each["subject"] == "cli"]
    assert did.count(("memory.export", "ann")) == 2
    assert did.count(("memory.forget_all", "ann")) == 2
    assert did.count(("memory.forget", first)) == 1


def test_nobodys_memories_are_listed_and_none_of_another_tenant(shop: Shop) -> None:
    assert shop.terminal.json("memories", "list", "--tenant", "umbra", "--subject", "ann") == []
    assert shop.terminal.run("memories", "list", "--tenant", "nobody").returncode == 1


def test_a_page_that_is_not_public_is_not_fetched(shop: Shop) -> None:
    words = ("documents", "add", "--tenant", "umbra")
    done = shop.terminal.run(*words, "--json", "--url", "http://127.0.0.1/", "--url", "file:///x")
    assert done.returncode == 1
    failed = json.loads(done.stdout)["failed"]
    assert [each["path"] for each in failed] == ["http://127.0.0.1/", "file:///x"]
    assert "must name a public host" in failed[0]["reason"]
    mapped = shop.terminal.run(*words, "--sitemap", "http://169.254.169.254/sitemap.xml")
    assert (mapped.returncode, mapped.stdout) == (2, "")
    assert "sitemap must name a public host" in mapped.stderr
    assert shop.terminal.run(*words).returncode == 2


def test_a_chat_goes_through_the_server_and_remembers_its_thread(
    shop: Shop, lamps: dict[str, Any]
) -> None:
    first = shop.terminal.run("chat", "--tenant", "lumen", QUESTION)
    assert "nine years" in first.stdout
    assert "[1]" in first.stderr
    thread_id = first.stderr.split("thread ")[1].strip()
    shop.terminal.ok("chat", "--tenant", "lumen", "--thread", thread_id, QUESTION)
    thread = shop.get(f"/v1/threads/{thread_id}", shop.token("lumen", role="admin")).json()
    assert [each["role"] for each in thread["messages"]] == ["user", "assistant"] * 2
    foreign = shop.terminal.run("chat", "--tenant", "umbra", "--thread", thread_id, QUESTION)
    assert foreign.returncode == 1
    assert foreign.stdout == ""
    assert shop.terminal.run("chat", "--tenant", "nobody", QUESTION).returncode == 1


def test_usage_and_audit_tell_what_was_done(shop: Shop, lamps: dict[str, Any]) -> None:
    shop.terminal.ok("chat", "--tenant", "lumen", QUESTION)
    usage = shop.terminal.json("usage", "--tenant", "lumen")
    assert set(usage) == {"from", "to", "meters", "currency"}
    assert {"runs", "input_tokens", "output_tokens"} <= {m["meter"] for m in usage["meters"]}
    records = shop.terminal.json("audit", "list", "--tenant", "lumen", "--limit", "5")
    assert {"subject", "action", "outcome", "created_at", "run_id"} <= set(records[0])
    through_http = shop.get("/v1/audit?limit=5", shop.token("lumen", role="admin")).json()
    shared = [each for each in through_http["items"] if each in records]
    assert shared
    assert "cli" in shop.terminal.ok("audit", "list", "--tenant", "lumen")


def test_the_noisiest_tenants_are_told_beside_a_server(shop: Shop) -> None:
    shop.terminal.ok("chat", "--tenant", "lumen", QUESTION)
    seen = shop.terminal.json("noisiest", "--minutes", "60", "--limit", "3")
    assert [each["runs"] > 0 for each in seen if each["tenant_id"] == "lumen"] == [True]
    assert len(seen) <= 3
    assert "lumen" in shop.terminal.ok("noisiest", "--by", "runs")


def test_tools_are_enabled_configured_and_disabled(shop: Shop) -> None:
    token = shop.token("lumen")

    def enabled() -> dict[str, bool]:
        items = shop.get("/v1/tools", token).json()["items"]
        return {each["name"]: each["enabled"] for each in items}

    memory = {"remember": True, "forget": True}
    known = {"current_time": True, "search_documents": True, "order_status": False} | memory
    assert enabled() == known
    shop.terminal.ok("tool", "enable", "--tenant", "lumen", "order_status")
    shop.terminal.ok("tool", "disable", "--tenant", "lumen", "current_time")
    setting = "support_email=help@lumen.example"
    shop.terminal.ok("tool", "configure", "--tenant", "lumen", "order_status", setting)
    decided = known | {"current_time": False, "order_status": True}
    within_a_second(lambda: enabled() == decided)
    listed = shop.terminal.json("tool", "list", "--tenant", "lumen")
    assert {each["name"]: each["enabled"] for each in listed} == decided


def test_four_commands_at_once_do_not_disturb_each_other(shop: Shop) -> None:
    codes: list[int] = []
    words = ("tenant", "show", "lumen")
    threads = [
        threading.Thread(target=lambda: codes.append(shop.terminal.run(*words).returncode))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0] * 4


def test_the_doctor_finds_a_healthy_deployment_healthy(shop: Shop) -> None:
    findings = shop.terminal.json("doctor")
    assert [each for each in findings if not each["ok"]] == []
    assert {"database", "isolation", "redis", "model", "tools"} <= {f["check"] for f in findings}


MISTAKES = [
    (1, "There is no tenant ghost.", ["tenant", "show", "ghost"]),
    (1, "There is no tenant ghost.", ["tenant", "suspend", "ghost"]),
    (1, "There is no tenant ghost.", ["tenant", "set", "ghost", "persona=x"]),
    (1, "There is no tenant ghost.", ["usage", "--tenant", "ghost"]),
    (1, "There is no tenant ghost.", ["audit", "list", "--tenant", "ghost"]),
    (1, "There is no plan ghost.", ["tenant", "create", "new", "--plan", "ghost"]),
    (1, "There is no plan ghost.", ["plan", "show", "ghost"]),
    (1, "There is a tenant lumen already.", ["tenant", "create", "lumen"]),
    (1, "There is no tool ghost.", ["tool", "enable", "--tenant", "lumen", "ghost"]),
    (1, "There is no tenant ghost.", ["tenant", "limits", "ghost"]),
    (1, "There is no tenant ghost.", ["tenant", "limit", "ghost", "weight=2"]),
    (1, "There is no tenant ghost.", ["tenant", "limit", "ghost", "burst=2", "--user", "ann"]),
    (1, "There is no price of ghost.", ["price", "remove", "ghost"]),
    (1, "There is no such corpus.", ["corpus", "subscribe", "ghost", "--tenant", "lumen"]),
    (1, "lumen does not subscribe", ["corpus", "unsubscribe", "ghost", "--tenant", "lumen"]),
    (1, "There is a tenant lumen already.", ["corpus", "create", "lumen", "--title", "x"]),
    (1, f"There is no key {NOWHERE}.", ["key", "revoke", NOWHERE]),
    (1, f"There is no key {NOWHERE}.", ["key", "rotate", NOWHERE]),
    (1, "There is no issuer ghost.", ["issuer", "remove", "ghost"]),
    (1, "There is no tenant ghost.", ["key", "create", "--tenant", "ghost", "--subject", "s"]),
    (2, "is no setting of", ["tool", "configure", "--tenant", "lumen", "order_status", "a=b"]),
]


@pytest.mark.parametrize(("code", "said", "words"), MISTAKES)
def test_a_mistake_is_one_line_and_its_exit_code(
    alone: Terminal, capsys: pytest.CaptureFixture[str], code: int, said: str, words: list[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*words, "--data-dir", str(alone.data_dir)])
    out, err = capsys.readouterr()
    assert ended.value.code == code
    assert said in err
    assert err.count("\n") == 1
    assert out == ""


# Without a server ----------------------------------------------------------------------------


def test_without_a_server_commands_do_their_work_in_process(alone: Terminal) -> None:
    alone.ok("tenant", "create", "solo", "--plan", "pro")
    alone.ok("tenant", "set", "solo", "language=German", "persona=a lamp expert")
    shown = alone.json("tenant", "show", "solo")
    assert shown["preferences"] == {"language": "German", "persona": "a lamp expert"}
    assert alone.json("tenant", "set", "solo", "persona=")["preferences"] == {"language": "German"}
    lamps = alone.folder / "lamps.md"
    lamps.write_text(LAMPS)
    assert alone.json("ingest", "--tenant", "solo", str(lamps))["added"] == 1
    done = alone.run("chat", "--tenant", "solo", QUESTION)
    assert "nine years" in done.stdout
    assert done.returncode == 0
    assert alone.ok("worker", "--once") == ""
    assert alone.json("migrate") == {"applied": []}


def test_tenants_are_promoted_and_demoted_by_an_operator(alone: Terminal) -> None:
    alone.ok("tenant", "create", "shelf")
    assert alone.json("index", "list") == []
    for refused, said in (
        (("promote", "shelf"), "fewer than 1000 passages"),
        (("promote", "nobody"), "no tenant nobody"),
        (("demote", "nobody"), "no tenant nobody"),
        (("auto", "nobody"), "no tenant nobody"),
    ):
        done = alone.run("index", *refused)
        assert (done.returncode, said in done.stderr) == (1, True)
    assert alone.run("index", "demote", "shelf").returncode == 0
    assert alone.run("index", "auto", "shelf").returncode == 0


def test_the_noisiest_tenants_are_told_without_a_server(alone: Terminal) -> None:
    assert alone.run("chat", "--tenant", "lumen", QUESTION).returncode == 0
    assert "lumen" in [each["tenant_id"] for each in alone.json("noisiest")]
    assert alone.run("noisiest", "--minutes", "0").returncode == 2
    assert alone.run("noisiest", "--by", "colour").returncode == 2


def test_the_noisiest_tenants_need_the_role_of_operators(alone: Terminal, stores: Stores) -> None:
    given = alone.but(DATABASE_URL=stores.app_url, REDIS_URL=stores.redis_url)
    with open_folder() as empty:
        done = given.run("noisiest", data_dir=empty)
    assert (done.returncode, done.stdout) == (2, "")
    assert "TENANTRY_OPERATOR_DATABASE_URL" in done.stderr
    assert done.stderr.count("\n") == 1
    urls = {"TENANTRY_OPERATOR_DATABASE_URL": stores.operator_url or ""}
    assert given.but(**urls).json("noisiest") == []


async def test_a_suspended_tenant_leaves_no_copy_of_a_thread_in_redis(
    alone: Terminal, stores: Stores
) -> None:
    urls = {"DATABASE_URL": stores.app_url, "TENANTRY_OWNER_DATABASE_URL": stores.owner()}
    given = alone.but(**urls, REDIS_URL=stores.redis_url, TENANTRY_SEAL_KEY=SEAL_KEY.text)
    copy, copies = (redis_key(ACME, Area.HOT, id_) for id_ in ("thread/one", "copies"))
    redis = connect(stores.redis_url)
    try:
        await redis.execute_command("SET", copy, "what was said")
        await redis.execute_command("ZADD", copies, 1, copy)
        await asyncio.to_thread(given.ok, "tenant", "suspend", "acme")
        assert await redis.execute_command("EXISTS", copy, copies) == 0
    finally:
        await redis.aclose()


async def test_preferences_reach_the_model(alone: Terminal, model: ModelServer) -> None:
    alone.ok("tenant", "set", "lumen", "language=Esperanto", "persona=a lighthouse keeper")
    online = alone.but(OPENAI_BASE_URL=model.base_url, TENANTRY_MODEL="scripted")
    done = await asyncio.to_thread(online.run, "chat", "--tenant", "lumen", "Hello?")
    assert done.returncode == 0, done.stderr
    system = model.chat_requests[-1]["messages"][0]["content"]
    assert "Esperanto" in system
    assert "a lighthouse keeper" in system


async def test_what_is_said_of_assistants_reaches_the_model(
    alone: Terminal, model: ModelServer
) -> None:
    said = {"": {"tone": "calm"}, "--plan": {"length": "short"}, "--tenant": {"tone": "warm"}}
    for whose, says in said.items():
        file = alone.folder / "says.json"
        file.write_text(json.dumps(says))
        name = {"--plan": ["--plan", "free"], "--tenant": ["--tenant", "lumen"]}.get(whose, [])
        assert alone.json("profile", "put", str(file), *name) == says
        assert alone.json("profile", "show", *name) == says
    file.write_text(json.dumps({"persona": "a clerk", "policies": ["No."]}))
    assert "policies" in alone.run("assistant", "put", "clerk", str(file)).stderr
    file.write_text(json.dumps({"persona": "a clerk"}))
    assert alone.json("assistant", "put", "clerk", str(file))["version"] == 1
    assert alone.json("assistant", "put", "clerk", str(file))["version"] == 2
    assert [each["slug"] for each in alone.json("assistant", "list")] == ["clerk"]
    online = alone.but(OPENAI_BASE_URL=model.base_url, TENANTRY_MODEL="scripted")
    words = ("chat", "--tenant", "lumen", "--assistant", "clerk", "Hello?")
    done = await asyncio.to_thread(online.run, *words)
    assert done.returncode == 0, done.stderr
    system = model.chat_requests[-1]["messages"][0]["content"]
    for line in ("Persona: a clerk", "Tone: warm", "Length of answers: short"):
        assert line in system
    alone.ok("assistant", "remove", "clerk")
    gone = alone.run(*words)
    assert gone.returncode == 1
    assert "No such assistant." in gone.stderr


def test_the_doctor_says_what_is_wrong(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://app@127.0.0.1:{free_port()}/db")
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}")
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--json", "--data-dir", str(tmp_path)])
    assert ended.value.code == 1
    (failed,) = [each for each in json.loads(capsys.readouterr().out) if not each["ok"]]
    assert failed["check"] == "stores"
    assert "DATABASE_URL: connection" in failed["detail"]


def test_a_command_alone_starts_and_stops_what_it_needs(tmp_path: Path) -> None:
    with open_folder() as folder:
        terminal = Terminal(folder)
        assert terminal.json("tenant", "list") == []
        assert not (terminal.data_dir / "run.json").exists()


# Settings ------------------------------------------------------------------------------------


def test_an_unknown_setting_is_a_warning_with_the_nearest_name(alone: Terminal) -> None:
    done = alone.but(TENANTRY_PROT="1").run("tenant", "list", "--json")
    assert done.returncode == 0
    assert done.stderr == "tenantry: TENANTRY_PROT is no setting; did you mean TENANTRY_PORT?\n"
    json.loads(done.stdout)


INVALID = [
    ({"TENANTRY_PORT": "abc"}, "TENANTRY_PORT"),
    ({"REDIS_URL": "sesame"}, "REDIS_URL"),
    ({"TENANTRY_EMBEDDING_MODEL": "embed-9"}, "TENANTRY_EMBEDDING_MODEL"),
    ({"TENANTRY_ENV": "production"}, "TENANTRY_MODEL"),
]


@pytest.mark.parametrize(("variables", "named"), INVALID, ids=str)
def test_up_refuses_an_invalid_setting_before_it_starts_anything(
    tmp_path: Path, variables: dict[str, str], named: str
) -> None:
    done = Terminal(tmp_path, variables).run("up", "--port", "0")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert named in done.stderr
    assert "sesame" not in done.stderr
    assert not (tmp_path / "data").exists()


def test_production_issues_no_tokens(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TENANTRY_ENV=production\n")
    done = Terminal(tmp_path).run("token", "issue", "--tenant", "a", "--subject", "b")
    assert done.returncode == 2
    assert "Production issues no tokens" in done.stderr
    assert not (tmp_path / "data").exists()
