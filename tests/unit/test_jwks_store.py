"""Published key sets: fresh enough to trust, kept while their endpoint is away."""

import asyncio
import json
import random
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from server import jwks_store
from server.jwks_store import JwksStore, Unfetched, fetch_https, parse_jwks_url
from tenancy.credentials import Issuer
from tenancy.errors import Invalid, Unavailable
from tenancy.token_rules import parse_token_rules
from tests.idp import ACME, HOME, Idp, public_jwk
from tests.support.waiting import HANG_SECONDS

SPARE = Idp("https://spare.example/", kid="key-2")


def published(url="https://id.acme.example/", **record):
    keys = f"{url}keys"
    return Issuer(url, "tenantry", {}, frozenset({ACME}), jwks_url=keys, **record)


class Endpoints:
    """Key sets on the network of a simulated clock."""

    def __init__(self):
        self.now = 1000.0
        self.sets = {}
        self.asked = []
        self.slow = {}

    async def fetch(self, url):
        self.asked.append((self.now, url))
        if url in self.slow:
            await self.slow[url].wait()
        if url not in self.sets:
            raise Unfetched("answered 503")
        return json.dumps({"keys": self.sets[url]}).encode()

    def publish(self, issuer, *idps):
        self.sets[issuer.jwks_url] = [public_jwk(i.alg, i.key, i.kid) for i in idps]


@pytest.fixture
def endpoints():
    return Endpoints()


@pytest.fixture
async def store(endpoints):
    store = JwksStore(endpoints.fetch, lambda: endpoints.now)
    yield store
    await store.aclose()


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_set_is_fetched_once_for_all_who_wait(store, endpoints):
    issuer = published()
    endpoints.publish(issuer, HOME)
    found = await asyncio.gather(*(store.keys(issuer, "key-1") for _ in range(50)))
    assert {tuple(keys) for keys in found} == {("key-1",)}
    assert len(endpoints.asked) == 1


async def test_no_valid_token_is_refused_while_the_endpoint_is_dead_for_an_hour(store, endpoints):
    issuer = published()
    endpoints.publish(issuer, HOME)
    assert await store.keys(issuer, "key-1")
    endpoints.sets.clear()
    refused = 0
    for _ in range(3600):
        endpoints.now += 1
        keys = await store.keys(issuer, "key-1")
        refused += "key-1" not in keys
        await settle()
    assert refused == 0
    assert 3600 / 10 - 30 <= len(endpoints.asked) <= 3600 / 10 + 1


async def test_a_dead_endpoint_is_trusted_for_a_day_and_no_longer(store, endpoints):
    issuer = published()
    endpoints.publish(issuer, HOME)
    await store.keys(issuer, "key-1")
    endpoints.sets.clear()
    endpoints.now += 24 * 3600 - 1
    assert await store.keys(issuer, "key-1")
    endpoints.now += 2
    with pytest.raises(Unavailable):
        await store.keys(issuer, "key-1")
    endpoints.publish(issuer, HOME)
    endpoints.now += 10
    with pytest.raises(Unavailable):  # asks again beside the request
        await store.keys(issuer, "key-1")
    await settle()
    assert await store.keys(issuer, "key-1")


@pytest.mark.parametrize("pause", [1, 7, 60, 299, 3600])
async def test_a_removed_key_is_refused_within_five_minutes(store, endpoints, pause):
    issuer = published()
    endpoints.publish(issuer, HOME, SPARE)
    await store.keys(issuer, "key-2")
    endpoints.publish(issuer, HOME)
    removed = endpoints.now
    while endpoints.now - removed < 300:
        endpoints.now += pause
        await store.keys(issuer, "key-1")
        await settle()
    assert "key-2" not in await store.keys(issuer, "key-2")


async def test_in_steady_use_no_request_waits_for_a_fetch(store, endpoints):
    issuer = published()
    endpoints.publish(issuer, HOME)
    await store.keys(issuer, "key-1")
    endpoints.slow[issuer.jwks_url] = asyncio.Event()
    endpoints.now += 241
    assert await asyncio.wait_for(store.keys(issuer, "key-1"), HANG_SECONDS)
    await settle()
    assert len(endpoints.asked) == 2
    endpoints.slow[issuer.jwks_url].set()


async def test_an_unknown_key_asks_at_most_once_in_ten_seconds(store, endpoints):
    issuer = published()
    endpoints.publish(issuer, HOME)
    await store.keys(issuer, "key-1")
    began = endpoints.now
    while endpoints.now < began + 100:
        endpoints.now += 0.5
        assert "made-up" not in await store.keys(issuer, "made-up")
    assert len(endpoints.asked) == 1 + 10


async def test_a_new_key_is_found_when_it_is_first_used(store, endpoints):
    issuer = published()
    endpoints.publish(issuer, HOME)
    await store.keys(issuer, "key-1")
    endpoints.publish(issuer, HOME, SPARE)
    endpoints.now += 11
    assert "key-2" in await store.keys(issuer, "key-2")


async def test_a_hanging_endpoint_delays_no_other_issuer(store, endpoints):
    hanging, quick = published(), published("https://id.globex.example/")
    endpoints.publish(quick, HOME)
    endpoints.publish(hanging, HOME)
    endpoints.slow[hanging.jwks_url] = asyncio.Event()
    waiting = [asyncio.create_task(store.keys(hanging, "key-1")) for _ in range(20)]
    await settle()
    assert await asyncio.wait_for(store.keys(quick, "key-1"), HANG_SECONDS)
    assert not any(task.done() for task in waiting)
    endpoints.slow[hanging.jwks_url].set()
    assert all(await asyncio.gather(*waiting))


async def test_a_caller_that_leaves_does_not_end_the_fetch(store, endpoints):
    issuer = published()
    endpoints.publish(issuer, HOME)
    endpoints.slow[issuer.jwks_url] = asyncio.Event()
    leaving = asyncio.create_task(store.keys(issuer, "key-1"))
    staying = asyncio.create_task(store.keys(issuer, "key-1"))
    await settle()
    leaving.cancel()
    await settle()
    endpoints.slow[issuer.jwks_url].set()
    assert await staying
    assert len(endpoints.asked) == 1


async def test_a_silent_endpoint_is_given_up(store, endpoints, monkeypatch):
    monkeypatch.setattr(jwks_store, "FETCH_SECONDS", 0.01)
    issuer = published()
    endpoints.slow[issuer.jwks_url] = asyncio.Event()
    for _ in range(3):
        with pytest.raises(Unavailable):
            await store.keys(issuer, "key-1")
    assert len(endpoints.asked) == 1  # the second and third did not wait for it


async def test_another_tenant_of_an_issuer_does_not_lose_its_set(store, endpoints):
    issuer = published()
    endpoints.publish(issuer, HOME)
    await store.keys(issuer, "key-1")
    endpoints.sets.clear()
    grown = published(rules=parse_token_rules({"tenants": {"org": "acme"}}))
    assert await store.keys(grown, "key-1")
    moved = published(rules=parse_token_rules({"algorithms": ["RS256"]}))
    with pytest.raises(Unavailable):
        await store.keys(moved, "key-1")


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"keys":[]}', b'{"keys":[{}],"keys":[]}', b"[" * 9000, b"\xff", b"NaN"],
)
async def test_nonsense_at_the_endpoint_is_no_set(body):
    async def fetch(_url):
        return body

    with pytest.raises(Unavailable):
        await JwksStore(fetch, lambda: 0.0).keys(published(), "key-1")


async def test_nonsense_does_not_replace_a_good_set(store, endpoints):
    chance, issuer = random.Random(7), published()  # noqa: S311 - the same history each time
    endpoints.publish(issuer, HOME)
    await store.keys(issuer, "key-1")
    good = endpoints.sets[issuer.jwks_url]
    for _ in range(500):
        endpoints.sets[issuer.jwks_url] = chance.choice([good, [], [{}], "no list", None])
        endpoints.now += chance.choice([1, 20, 250, 400])
        assert "key-1" in await store.keys(issuer, "key-1")
        await settle()


@pytest.mark.parametrize(
    "url",
    [
        "http://id.example/keys",
        "https://",
        "https://user:secret@id.example/keys",
        "https://id.example/keys#x",
        "https://id.example:0/keys",
        "https://id.example:99999/keys",
        "https://[/keys",
        "file:///etc/passwd",
        "//id.example/keys",
        "https://id.example/a b",
        "https://id.example/\n",
        "https://id.example/" + "x" * 1024,
        "",
    ],
)
def test_only_plain_https_urls_are_fetched(url):
    with pytest.raises(Invalid):
        parse_jwks_url(url)


# Over a real connection -----------------------------------------------------------------------


def certificate(folder):
    """A certificate of 127.0.0.1 that vouches for itself, with its key in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / "localhost.pem"
    path.write_bytes(pem + made.public_bytes(serialization.Encoding.PEM))
    return path


async def keys(_request):
    return web.json_response({"keys": [public_jwk(HOME.alg, HOME.key, HOME.kid)]})


async def moved(_request):
    raise web.HTTPFound("/keys")


async def long(_request):
    return web.Response(body=b" " * (jwks_store.MAX_BYTES + 1))


async def packed(_request):
    response = web.Response(body=b" " * (50 * jwks_store.MAX_BYTES))
    response.enable_compression(web.ContentCoding.gzip)  # asked for or not
    return response


@pytest.fixture
async def origin(tmp_path, monkeypatch):
    path = certificate(tmp_path)
    app = web.Application()
    for handler in (keys, moved, long, packed):
        app.router.add_get(f"/{handler.__name__}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)
    site = web.TCPSite(runner, "localhost", 0, ssl_context=context)
    await site.start()
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    yield f"https://localhost:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_a_set_is_fetched_over_https(origin):
    issuer = Issuer("urn:x", "tenantry", {}, frozenset({ACME}), jwks_url=f"{origin}/keys")
    store = JwksStore(lambda url: fetch_https(url, trusting()))
    assert list(await store.keys(issuer, "key-1")) == ["key-1"]


def trusting():
    return ssl.create_default_context()  # reads SSL_CERT_FILE anew


@pytest.mark.parametrize(
    ("path", "why"), [("/moved", "302"), ("/long", "longer"), ("/nowhere", "404")]
)
async def test_redirects_long_bodies_and_errors_are_no_set(origin, path, why):
    with pytest.raises(Unfetched, match=why):
        await fetch_https(f"{origin}{path}", trusting())


async def test_a_packed_body_is_not_unpacked(origin):
    body = await fetch_https(f"{origin}/packed", trusting())
    assert body.startswith(b"\x1f\x8b")


async def test_a_certificate_nobody_vouches_for_is_no_set(origin, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(Unfetched, match="Certificate"):
        await fetch_https(f"{origin}/keys", trusting())
