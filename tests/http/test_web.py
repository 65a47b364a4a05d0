"""Fetching: only public addresses, the one that was looked at, within bounds."""

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from aiohttp import web

from server.web import AT_ONCE, Web
from tenancy.errors import Invalid, PayloadTooLarge, QuotaExceeded
from tenancy.ids import TenantId
from tests.support.internet import PUBLIC, internet
from tools.egress import Target

ACME, GLOBEX = TenantId("acme"), TenantId("globex")


async def page(_request: web.Request) -> web.Response:
    return web.Response(text="<html><body>Words</body></html>", content_type="text/html")


async def refused(network: Web, url: str, **options: Any) -> str:
    with pytest.raises(Invalid) as found:
        await network.fetch(ACME, url, **options)
    assert found.value.field == "url"
    return found.value.message


async def test_a_page_is_fetched_by_its_name() -> None:
    seen: list[web.Request] = []

    async def serve(request: web.Request) -> web.Response:
        seen.append(request)
        return await page(request)

    async with internet(serve) as network:
        upload = await network.fetch(ACME, "http://docs.example.com/a/guide?x=1")
    assert (upload.name, upload.media_type) == ("guide.html", "text/html")
    assert upload.data == b"<html><body>Words</body></html>"
    [request] = seen
    assert request.headers["Host"] == "docs.example.com"
    assert "Cookie" not in request.headers
    assert "Authorization" not in request.headers
    assert network.dialled == [(PUBLIC, 80)]


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "169.254.169.254", "::ffff:127.0.0.1", "fd00:ec2::254", "10.0.0.1"]
)
async def test_a_name_that_leads_inside_is_not_dialled(address: str) -> None:
    async with internet(page, {"evil.example.com": [address]}) as network:
        said = await refused(network, "http://evil.example.com/")
    assert said == "does not lead to a public address"
    assert network.dialled == []


async def test_silent_name_servers_hold_no_thread_of_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its threads look up where the models are, and read files."""
    heard = threading.Event()

    def look_up(*_name: Any, **_kind: Any) -> list[Any]:
        heard.wait(20)
        raise socket.gaierror(socket.EAI_AGAIN, "silent")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(AT_ONCE))
    network = Web()
    asked = [
        asyncio.create_task(network.fetch(ACME, "http://silent.example.com/"))
        for _ in range(AT_ONCE)
    ]
    await asyncio.sleep(0.1)
    try:
        async with asyncio.timeout(5):
            assert await asyncio.to_thread(lambda: "read") == "read"
    finally:
        heard.set()
        await asyncio.gather(*asked, return_exceptions=True)


async def test_a_name_inside_is_told_like_one_that_never_was() -> None:
    async def nowhere(_host: str, _port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    async with internet(page, {"inside.example.com": ["10.0.0.1"]}) as network:
        inside = await refused(network, "http://inside.example.com/")
        network._resolve = nowhere
        assert await refused(network, "http://nowhere.example.com/") == inside


async def test_a_number_is_not_dialled() -> None:
    async with internet(page) as network:
        for url in (
            "http://127.0.0.1/",
            "http://[::1]/",
            "http://2130706433/",
            "http://localhost/",
        ):
            await refused(network, url)
    assert network.dialled == []


async def test_a_name_is_looked_up_once_and_its_address_kept() -> None:
    async with internet(page, {"rebind.example.com": [PUBLIC, "127.0.0.1"]}) as network:
        await network.fetch(ACME, "http://rebind.example.com/")
        assert network.dialled == [(PUBLIC, 80)]
        await refused(network, "http://rebind.example.com/")
    assert network.dialled == [(PUBLIC, 80)]


@pytest.mark.parametrize(
    "onward",
    [
        "http://127.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://evil.example.com/",
        "http://docs.example.com:22/",
        "file:///etc/passwd",
        "//[::1]/",
        "gopher://docs.example.com/",
    ],
)
async def test_a_redirect_is_looked_at_like_any_address(onward: str) -> None:
    async def serve(_request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": onward})

    async with internet(serve, {"evil.example.com": ["127.0.0.1"]}) as network:
        await refused(network, "http://docs.example.com/")
        assert network.dialled == [(PUBLIC, 80)]


async def test_a_redirect_is_followed_to_a_public_page_but_not_for_ever() -> None:
    async def serve(request: web.Request) -> web.Response:
        if request.path == "/loop":
            return web.Response(status=302, headers={"Location": "/loop"})
        if request.path == "/old":
            return web.Response(status=301, headers={"Location": "http://new.example.com/page"})
        return await page(request)

    async with internet(serve) as network:
        assert (await network.fetch(ACME, "http://docs.example.com/old")).name == "page.html"
        assert "redirected" in await refused(network, "http://docs.example.com/loop")

        def allowed(target: Target) -> None:
            if target.host != "docs.example.com":
                raise Invalid("url", "is elsewhere")

        said = await refused(network, "http://docs.example.com/old", allowed=allowed)
    assert said == "is elsewhere"


async def test_what_is_too_large_is_not_read_to_its_end() -> None:
    async def announced(_request: web.Request) -> web.Response:
        return web.Response(body=b"a" * 5000)

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"a" * 1000)
        except ConnectionError:
            return response

    for serve in (announced, endless):
        async with internet(serve) as network:
            with pytest.raises(PayloadTooLarge):
                await network.fetch(ACME, "http://docs.example.com/", max_bytes=2000)


async def test_a_silent_host_is_left() -> None:
    released = asyncio.Event()

    async def silent(request: web.Request) -> web.Response:
        await released.wait()
        return await page(request)

    async with internet(silent) as network:
        network._seconds = 0.05
        assert "too long" in await refused(network, "http://docs.example.com/")
        released.set()


async def test_a_tenant_fetches_so_many_at_once_and_hinders_nobody() -> None:
    released, waiting = asyncio.Event(), asyncio.Semaphore(0)

    async def slow(request: web.Request) -> web.Response:
        waiting.release()
        if request.path == "/slow":
            await released.wait()
        return await page(request)

    async with internet(slow) as network, asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(network.fetch(ACME, "http://docs.example.com/slow"))
        for _ in range(AT_ONCE):
            await waiting.acquire()
        with pytest.raises(QuotaExceeded):
            await network.fetch(ACME, "http://docs.example.com/")
        assert await network.fetch(GLOBEX, "http://docs.example.com/")
        released.set()
    assert not network._under_way


@pytest.mark.parametrize("status", [204, 304, 401, 404, 500])
async def test_only_a_page_that_is_there_is_taken(status: int) -> None:
    async def serve(_request: web.Request) -> web.Response:
        return web.Response(status=status)

    async with internet(serve) as network:
        assert str(status) in await refused(network, "http://docs.example.com/")


async def test_what_is_packed_is_not_unpacked() -> None:
    async def serve(_request: web.Request) -> web.Response:
        return web.Response(body=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})

    async with internet(serve) as network:
        assert "packed" in await refused(network, "http://docs.example.com/")


async def test_a_host_that_answers_nonsense_cannot_be_reached() -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"SSH-2.0-OpenSSH_9.9\r\n")
        writer.close()

    server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def resolve(_host: str, _port: int) -> list[str]:
        return [PUBLIC]

    async with server:
        network = Web(resolve, lambda _address, _port: ("127.0.0.1", port))
        assert await refused(network, "http://docs.example.com/") == "cannot be reached"
        assert await refused(network, "https://docs.example.com/") == "cannot be reached"
