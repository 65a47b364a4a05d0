"""Documents in and out: every kind we read, every kind we do not, and never half of one."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4
from zipfile import ZIP_DEFLATED, ZipFile

import httpx
import pytest
from aiohttp import web

from knowledge.ingest import Library
from server.in_hand import AT_ONCE
from server.loading import load_files
from tenancy.errors import Invalid
from tenancy.ids import PlanId
from tenancy.principal import Role
from tests.http.speech import admin_of, answer, assert_problem, audit, messages, quota, usage
from tests.support.house import House
from tests.support.internet import internet
from tests.support.model_server import Reply

DEMO = Path(__file__).parents[2] / "server" / "demo" / "acme"
DOCUMENT = {"document_id", "title", "media_type", "bytes", "passages", "status", "created_at"}
MARKDOWN = "# Returns\n\nA desk may be returned within thirty days.\n"


async def send(
    client: httpx.AsyncClient, name: str, data: bytes | str, *, kind: str = "", **fields: str
) -> httpx.Response:
    """Upload a file."""
    file = (name, data, kind) if kind else (name, data)
    return await client.post("/v1/documents", files={"file": file}, data=fields)


async def listed(client: httpx.AsyncClient) -> list[dict]:
    """The tenant's documents."""
    items: list[dict] = (await client.get("/v1/documents", params={"limit": 200})).json()["items"]
    return items


@pytest.fixture
async def boss(product: House) -> httpx.AsyncClient:
    """An admin of acme."""
    async with product.client("acme", "boss", Role.ADMIN) as client:
        yield client


class TestUploads:
    @pytest.mark.parametrize(
        ("name", "media_type"),
        [
            ("returns.md", "text/markdown"),
            ("opening-hours.txt", "text/plain"),
            ("catalogue.html", "text/html"),
            ("careers.pdf", "application/pdf"),
        ],
    )
    async def test_a_file_of_each_kind_becomes_a_document_once(
        self, boss: httpx.AsyncClient, name: str, media_type: str
    ) -> None:
        data = (DEMO / name).read_bytes()
        first = await send(boss, name, data)
        again = await send(boss, f"copy of {name}", data, title="Another title")
        assert (first.status_code, again.status_code) == (201, 200)
        document = first.json()
        assert set(document) == DOCUMENT
        assert UUID(document["document_id"])
        assert document["media_type"] == media_type
        assert document["bytes"] == len(data)
        assert document["passages"] >= 1
        assert document["status"] == "ready"
        assert document["title"]
        assert datetime.fromisoformat(document["created_at"]).tzinfo
        assert again.json() == document
        shown = await boss.get(f"/v1/documents/{document['document_id']}")
        assert shown.json() == document
        assert document in await listed(boss)

    async def test_a_title_that_is_sent_is_taken(self, boss: httpx.AsyncClient) -> None:
        sent = await send(boss, "x.txt", "Some words about nothing.", title=" Spam &  Eggs 🥚 ")
        assert sent.json()["title"] == "Spam & Eggs 🥚"

    async def test_a_blank_title_is_none(self, boss: httpx.AsyncClient) -> None:
        assert (await send(boss, "b.md", "# Own\n\nblank", title=" ")).json()["title"] == "Own"

    @pytest.mark.parametrize("title", ["x" * 201, "a\0b"])
    async def test_a_title_no_store_can_hold_is_refused(
        self, boss: httpx.AsyncClient, title: str
    ) -> None:
        before = await listed(boss)
        assert_problem(await send(boss, "t.md", "# T\n\ntitled", title=title), 422, "title")
        assert await listed(boss) == before

    @pytest.mark.parametrize(
        "name", ["../../etc/passwd.md", "a\\b.md", "ünï.md", "x" * 300 + ".md"]
    )
    async def test_a_name_is_only_a_name(self, boss: httpx.AsyncClient, name: str) -> None:
        sent = await send(boss, name, f"unheaded text of {name}", kind="text/markdown")
        assert sent.status_code == 201
        assert "/" not in sent.json()["title"]

    async def test_what_was_uploaded_is_found_and_counted(self, product: House) -> None:
        tenant = await product.new_tenant("counter")
        async with product.client(tenant, "boss", Role.ADMIN) as client:
            sent = await send(client, "z.md", "# Zebras\n\nA zebra has stripes.")
            response = await client.post("/v1/search", json={"query": "zebra"})
        [item] = response.json()["items"]
        assert set(item) >= {"passage_id", "document_id", "title", "text", "score"}
        assert item["document_id"] == sent.json()["document_id"]
        assert item["title"] == "Zebras"
        assert "stripes" in item["text"]
        assert item["score"] > 0
        assert (await usage(product, tenant))["embedding_tokens"] >= 2
        assert [e["action"] for e in await audit(product, tenant)] == ["document.add"]

    async def test_the_same_file_of_two_tenants_is_two_documents(self, product: House) -> None:
        ids = []
        for tenant in ("acme", "globex"):
            async with product.client(tenant, "boss", Role.ADMIN) as client:
                sent = await send(client, "same.md", "# Same\n\nThe same in both.")
                assert sent.status_code == 201
                ids.append(sent.json()["document_id"])
        assert ids[0] != ids[1]

    async def test_a_plan_holds_so_many_documents(self, product: House) -> None:
        tenant = await product.new_tenant("small", documents=1)
        async with product.client(tenant, "boss", Role.ADMIN) as client:
            assert (await send(client, "1.txt", "one")).status_code == 201
            assert_problem(await send(client, "2.txt", "two"), 429, says="1 documents")
            assert (await send(client, "1.txt", "one")).status_code == 200
            [document] = await listed(client)
            await client.delete(f"/v1/documents/{document['document_id']}")
            assert (await send(client, "2.txt", "two")).status_code == 201

    async def test_a_plan_holds_so_many_bytes(self, product: House) -> None:
        tenant = await product.new_tenant("light", document_bytes=10)
        async with product.client(tenant, "boss", Role.ADMIN) as client:
            assert (await send(client, "1.txt", "seven..")).status_code == 201
            for params in ({}, {"wait": "false"}):
                files = {"file": ("2.txt", "four")}
                refused = await client.post("/v1/documents", files=files, params=params)
                assert_problem(refused, 429, says="10 bytes of documents")
            assert (await send(client, "3.txt", "one")).status_code == 201
            assert (await send(client, "1.txt", "seven..")).status_code == 200
            held = await quota(client)
        assert (held["document_bytes"]["used"], held["document_bytes"]["limit"]) == (10, 10)
        assert held["document_bytes"]["refuses"]
        assert (held["documents"]["used"], held["documents"]["refuses"]) == (2, False)
        assert held["documents"]["resets_at"] is None

    @pytest.mark.parametrize("limit", [{"documents": 0}, {"document_bytes": 3}], ids=str)
    async def test_a_file_that_has_no_room_is_never_embedded(
        self, product: House, limit: dict[str, int]
    ) -> None:
        tenant = await product.new_tenant(
            f"roomless-{next(iter(limit))}".replace("_", "-"), **limit
        )
        async with product.client(tenant, "boss", Role.ADMIN) as client:
            before = len(product.model.embedding_requests)
            assert_problem(await send(client, "1.txt", "four"), 429, says="The plan allows")
        assert len(product.model.embedding_requests) == before
        assert "embedding_tokens" not in await usage(product, tenant)

    async def test_a_plan_says_how_many_pages_a_document_may_have(self, product: House) -> None:
        tenant, careers = await product.new_tenant("short", pages_per_document=0), "careers.pdf"
        data = (DEMO / careers).read_bytes()
        async with product.client(tenant, "boss", Role.ADMIN) as client:
            assert_problem(await send(client, careers, data), 429, says="0 pages a document")
            assert await listed(client) == []
            files = {"file": (careers, data)}
            sent = await client.post("/v1/documents", files=files, params={"wait": "false"})
            failed = await TestInTheBackground.ended(client, sent.json()["document_id"])
            assert failed["status"] == "failed"
            assert "0 pages a document" in failed["error"]
            assert (await send(client, "no.md", "no pages at all")).status_code == 201


def packed(**files: bytes | str) -> bytes:
    """A ZIP archive."""
    target = BytesIO()
    with ZipFile(target, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return target.getvalue()


class TestArchives:
    async def test_each_file_becomes_a_document_or_says_why_not(
        self, product: House, boss: httpx.AsyncClient
    ) -> None:
        data = packed(
            **{"a/one.md": "# One\n\nOf an archive.", "two.txt": "Two of an archive."},
            **{"in.zip": packed(x="x"), "no.png": b"\x89PNG\r\n\x1a\nrest", "empty.md": ""},
        )
        sent = await send(boss, "all.zip", data, kind="application/zip")
        assert sent.status_code == 207
        items = {item["path"]: item for item in sent.json()["items"]}
        assert {path: item["status"] for path, item in items.items()} == {
            **{"a/one.md": 202, "two.txt": 202, "in.zip": 415, "no.png": 415, "empty.md": 422}
        }
        assert items["empty.md"]["problem"]["errors"] == [{"field": "file", "message": "is empty"}]
        assert "inside an archive" in items["in.zip"]["problem"]["detail"]
        one = items["a/one.md"]["document"]
        assert (await TestInTheBackground.ended(boss, one["document_id"]))["title"] == "One"
        two = items["two.txt"]["document"]["document_id"]
        assert (await TestInTheBackground.ended(boss, two))["status"] == "ready"
        again = (await send(boss, "all.zip", data)).json()["items"]
        assert [item["status"] for item in again] == [200, 200, 415, 415, 422]
        trail = (await audit(product, "acme"))[:4]
        assert {event["action"] for event in trail} == {"document.add"}
        assert {event["resource"] for event in trail} == {one["document_id"], two}

    async def test_a_plan_that_is_full_refuses_the_rest(self, product: House) -> None:
        tenant = await product.new_tenant("two-docs", documents=2)
        data = packed(**{f"{n}.txt": f"text {n}" for n in range(4)})
        async with product.client(tenant, "boss", Role.ADMIN) as client:
            items = (await send(client, "all.zip", data)).json()["items"]
        assert [item["status"] for item in items] == [202, 202, 429, 429]

    async def test_a_bomb_is_refused_as_a_whole(self, boss: httpx.AsyncClient) -> None:
        target, before = BytesIO(), await listed(boss)
        with ZipFile(target, "w", ZIP_DEFLATED) as archive:
            archive.writestr("fine.txt", "fine")
            archive.writestr("bomb.txt", bytes(20_000_000))
        refused = await send(boss, "bomb.zip", target.getvalue())
        assert_problem(refused, 422, "file", says="times its size")
        assert await listed(boss) == before

    async def test_an_archive_has_no_title(self, boss: httpx.AsyncClient) -> None:
        refused = await send(boss, "a.zip", packed(a="a"), title="All of it")
        assert_problem(refused, 422, "title")


async def test_uploads_at_once_are_billed_for_what_they_had_embedded(
    product: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of them was stored and billed; the model was asked for all."""
    monkeypatch.setattr(product.model, "embedding_tokens", 5)
    product.model.script_embeddings(*[Reply(delay_seconds=0.3)] * 4)
    tenant = await product.new_tenant("one-shelf", documents=1)
    async with product.client(tenant, "boss", Role.ADMIN) as boss:
        uploads = (send(boss, "w.md", f"# Words\n\n{uuid4()}") for _ in range(4))
        sent = await asyncio.gather(*uploads)
    assert sorted(each.status_code for each in sent) == [201, 429, 429, 429]
    assert (await usage(product, tenant))["embedding_tokens"] == 5 * 4


async def test_more_files_of_a_tenant_than_four_wait_on_disk(
    product: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All were in memory at once, 25 MiB each, and a tenant could send as many as it liked."""
    honest, now, most = Library.add, 0, 0

    async def add(*words: Any, **options: Any) -> Any:
        nonlocal now, most
        now += 1
        most = max(most, now)
        try:
            return await honest(*words, **options)
        finally:
            now -= 1

    monkeypatch.setattr(Library, "add", add)
    tenant = await product.new_tenant("many-at-once")
    product.model.script_embeddings(*[Reply(delay_seconds=0.3)] * (AT_ONCE + 3))
    async with product.client(tenant, "boss", Role.ADMIN) as boss:
        uploads = (send(boss, "w.md", f"# Words\n\n{uuid4()}") for _ in range(AT_ONCE + 3))
        assert {each.status_code for each in await asyncio.gather(*uploads)} == {201}
    assert most == AT_ONCE


class TestFetching:
    @pytest.fixture
    async def network(self, product: House, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
        """The house's own way out, in a network that we answer."""
        async with internet(_site, {"inside.example.com": ["10.0.0.1"]}) as network:
            for hook in ("_resolve", "_dial"):
                monkeypatch.setattr(product.services.web, hook, getattr(network, hook))
            yield

    @pytest.mark.usefixtures("network")
    async def test_a_page_becomes_a_document_once(
        self, product: House, boss: httpx.AsyncClient
    ) -> None:
        body = {"url": "http://docs.example.com/guide"}
        first = await boss.post("/v1/documents/fetch", json=body)
        again = await boss.post("/v1/documents/fetch", json={**body, "title": "Another"})
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.json()["title"] == "The guide"
        assert again.json() == first.json()
        queued = await boss.post(
            "/v1/documents/fetch",
            json={"url": "http://docs.example.com/other", "title": "Mine"},
            params={"wait": "false"},
        )
        assert queued.status_code == 202
        ready = await TestInTheBackground.ended(boss, queued.json()["document_id"])
        assert (ready["status"], ready["title"]) == ("ready", "Mine")
        trail = (await audit(product, "acme"))[:3]
        assert {event["action"] for event in trail} == {"document.add"}

    @pytest.mark.usefixtures("network")
    @pytest.mark.parametrize(
        ("url", "says"),
        [
            ("http://inside.example.com/", "public"),
            ("http://169.254.169.254/latest/meta-data/", "public host"),
            ("http://docs.example.com/to-inside", "public"),
            ("http://docs.example.com/nothing", "404"),
            ("file:///etc/passwd", "https://"),
            ("x" * 3000, ""),
        ],
    )
    async def test_what_is_not_public_is_refused(
        self, boss: httpx.AsyncClient, url: str, says: str
    ) -> None:
        before = await listed(boss)
        refused = await boss.post("/v1/documents/fetch", json={"url": url})
        assert_problem(refused, 422, "url", says=says)
        assert await listed(boss) == before

    @pytest.mark.usefixtures("network")
    async def test_each_page_of_a_sitemap_becomes_a_document_or_says_why_not(
        self, product: House
    ) -> None:
        tenant, body = await product.new_tenant("pages", documents=2), {"metadata": {"of": "site"}}
        async with product.client(tenant, "boss", Role.ADMIN) as client:
            body |= {"sitemap": "http://docs.example.com/index.xml"}
            sent = await client.post("/v1/documents/fetch", json=body)
            assert sent.status_code == 207
            items = sent.json()["items"]
            assert [item["path"].rpartition("/")[2] for item in items] == ["guide", "other", "", ""]
            assert [item["status"] for item in items] == [202, 202, 422, 422]
            assert items[2]["problem"]["errors"] == [
                {"field": "url", "message": "leads to another host"}
            ]
            for item in items[:2]:
                assert item["document"]["url"] == item["path"]
                ended = TestInTheBackground.ended(client, item["document"]["document_id"])
                assert (await ended)["metadata"] == {"of": "site"}
            found = await client.post("/v1/search", json={"query": "guide"})
            assert found.json()["items"][0]["title"] == "The guide"
            again = await client.post("/v1/documents/fetch", json=body)
            assert [item["status"] for item in again.json()["items"]] == [200, 200, 422, 422]
            page = {"url": "http://docs.example.com/guide"}
            known = await client.post("/v1/documents/fetch", json=page)
            assert (known.status_code, known.json()["url"]) == (200, page["url"])
        trail = await audit(product, tenant)
        assert [event["action"] for event in trail] == ["document.add"] * 5

    @pytest.mark.usefixtures("network")
    async def test_a_plan_that_is_full_takes_no_page(self, product: House) -> None:
        tenant = await product.new_tenant("one-page", documents=1)
        async with product.client(tenant, "boss", Role.ADMIN) as client:
            body = {"sitemap": "http://docs.example.com/map.xml"}
            sent = await client.post("/v1/documents/fetch", json=body)
            assert [item["status"] for item in sent.json()["items"]] == [202, 429, 422, 422]

    @pytest.mark.usefixtures("network")
    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "url"),
            ({"url": "http://docs.example.com/", "sitemap": "http://docs.example.com/"}, "url"),
            ({"sitemap": "http://docs.example.com/map.xml", "title": "All"}, "title"),
            ({"sitemap": "http://docs.example.com/guide"}, "sitemap"),
            ({"sitemap": "http://169.254.169.254/"}, "sitemap"),
            ({"sitemap": "x" * 3000}, "sitemap"),
        ],
        ids=["nothing", "both", "title", "page", "inside", "long"],
    )
    async def test_what_is_no_sitemap_is_refused(
        self, boss: httpx.AsyncClient, body: dict[str, str], field: str
    ) -> None:
        assert_problem(await boss.post("/v1/documents/fetch", json=body), 422, field)

    @pytest.mark.usefixtures("network")
    @pytest.mark.parametrize("kind", ["url", "sitemap"])
    async def test_nothing_is_fetched_where_fetching_is_off(
        self,
        product: House,
        boss: httpx.AsyncClient,
        monkeypatch: pytest.MonkeyPatch,
        kind: str,
    ) -> None:
        monkeypatch.setattr(product.services.web, "_off", True)
        body = {kind: "http://docs.example.com/map.xml"}
        refused = await boss.post("/v1/documents/fetch", json=body)
        assert_problem(refused, 403, says="fetches nothing")

    @pytest.mark.usefixtures("network")
    async def test_a_sitemap_is_its_own_hosts_pages(self, product: House) -> None:
        tenant_id = await product.new_tenant("mapped")
        tenant = await product.services.directory.tenant(tenant_id)
        sites = product.services.sites
        pages = await sites.pages(tenant_id, "http://docs.example.com/index.xml")
        counts = await load_files(product.services, tenant, pages)
        assert (counts["added"], counts["unchanged"]) == (2, 0)
        assert {each["path"]: each["reason"] for each in counts["failed"]} == {
            "http://elsewhere.example.com/": "url leads to another host",
            "http://127.0.0.1/": "url must name a public host, not a number or an internal name",
        }
        for url in ("http://docs.example.com/guide", "http://docs.example.com/nothing"):
            with pytest.raises(Invalid) as refused:
                await sites.pages(tenant_id, url)
            assert refused.value.field == "sitemap"


async def _site(request: web.Request) -> web.Response:
    """A small site with a way inside, and a sitemap that lists more than its own."""
    host = "http://docs.example.com"
    if request.path == "/to-inside":
        return web.Response(status=302, headers={"Location": "http://inside.example.com/"})
    if request.path == "/index.xml":
        return web.Response(text=f"<sitemapindex><s><loc>{host}/map.xml</loc></s></sitemapindex>")
    if request.path == "/map.xml":
        urls = (f"{host}/guide", f"{host}/other", "http://elsewhere.example.com/")
        inside = "".join(f"<url><loc>{url}</loc></url>" for url in (*urls, "http://127.0.0.1/"))
        return web.Response(text=f"<urlset>{inside}</urlset>", content_type="text/xml")
    if request.path == "/nothing":
        return web.Response(status=404)
    name = request.path.removeprefix("/")
    page = (
        f"<html><head><title>The {name}</title></head><body><p>Words of {name}.</p></body></html>"
    )
    return web.Response(text=page, content_type="text/html")


class TestPlaces:
    async def test_a_passage_opens_where_it_stands(self, boss: httpx.AsyncClient) -> None:
        text = "# Terms\n\n" + "".join(f"## Clause {n}\n\n{n} days.\n\n" for n in range(7))
        document = (await send(boss, "terms.md", text)).json()
        opened = f"/v1/documents/{document['document_id']}"
        assert (await boss.get(f"{opened}/text")).json()["text"] == text
        items, cursor = [], None
        for _ in range(4):
            params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
            page = (await boss.get(f"{opened}/passages", params=params)).json()
            items, cursor = items + page["items"], page["next_cursor"]
        assert cursor is None
        assert [item["ordinal"] for item in items] == [*range(7)]
        assert items[3]["path"] == ["Terms", "Clause 3"]
        assert items[3]["page"] is None
        assert text[items[3]["start"] : items[3]["end"]] == "3 days."

    async def test_a_passage_of_a_pdf_knows_its_page(self, boss: httpx.AsyncClient) -> None:
        document = (await send(boss, "c.pdf", (DEMO / "careers.pdf").read_bytes())).json()
        page = (await boss.get(f"/v1/documents/{document['document_id']}/passages")).json()
        assert {item["page"] for item in page["items"]} >= {1}

    async def test_what_is_not_there_has_no_text(self, boss: httpx.AsyncClient) -> None:
        for part in ("text", "passages"):
            assert_problem(await boss.get(f"/v1/documents/{uuid4()}/{part}"), 404)


BROKEN_PDF = b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\ntrailer\n<<>>"
UNREADABLE = {
    "zip": ("a.docx", b"PK\x03\x04rest", 415, "ZIP archive"),
    "image": ("a.png", b"\x89PNG\r\n\x1a\nrest", 415, "PNG image"),
    "image in disguise": ("a.md", b"\xff\xd8\xff\xe0rest", 415, "JPEG image"),
    "binary": ("a.txt", bytes(range(256)) * 40, 415, "binary"),
    "extension": ("a.parquet", b"a,b\n1,2\n", 415, ".parquet"),
    "broken pdf": ("a.pdf", BROKEN_PDF, 422, "file"),
    "pdf in name only": ("a.pdf", b"just words", 422, "file"),
    "empty": ("a.md", b"", 422, "empty"),
    "blank": ("a.md", b" \n\t\n", 422, "empty"),
    "no text": ("a.html", b"<html><body><script>x</script></body></html>", 422, "no text"),
}


class TestRefusedUploads:
    @pytest.mark.parametrize("kind", UNREADABLE)
    async def test_a_file_we_cannot_read_is_refused_with_the_reason(
        self, product: House, boss: httpx.AsyncClient, kind: str
    ) -> None:
        name, data, status, reason = UNREADABLE[kind]
        before, trail = await listed(boss), await audit(product, "acme")
        refused = await send(boss, name, data)
        assert_problem(refused, status, "file" if status == 422 else None, says=reason)
        assert await listed(boss) == before
        assert product.model.embedding_requests == []
        [event] = (await audit(product, "acme"))[: -len(trail)]
        assert (event["outcome"], event["attributes"]["status"]) == ("refused", status)

    async def test_an_embedding_that_fails_leaves_nothing(
        self, product: House, boss: httpx.AsyncClient
    ) -> None:
        before, text = await listed(boss), "# Unlucky\n\nNever embedded."
        product.model.script_embeddings(*[Reply.error(500)] * 2)
        assert_problem(await send(boss, "u.md", text), 502)
        assert await listed(boss) == before
        product.model.forget()
        assert (await send(boss, "u.md", text)).status_code == 201

    async def test_a_missing_file_is_named(self, boss: httpx.AsyncClient) -> None:
        other = {"document": ("a.md", MARKDOWN)}
        assert_problem(await boss.post("/v1/documents", files=other), 422, "file")
        assert_problem(await boss.post("/v1/documents"), 422, "file")

    async def test_two_files_of_one_upload_are_refused(self, boss: httpx.AsyncClient) -> None:
        files = [("file", ("first.md", "Unread words.")), ("file", ("second.md", "Others."))]
        assert_problem(await boss.post("/v1/documents", files=files), 422, "file")

    async def test_a_file_that_is_no_file_is_named(self, boss: httpx.AsyncClient) -> None:
        body = {"file": (None, "words")}
        assert_problem(await boss.post("/v1/documents", files=body), 422, "file")

    @pytest.mark.parametrize(
        ("kind", "body"),
        [
            ("application/json", b'{"file": "a.md"}'),
            ("text/markdown", MARKDOWN.encode()),
            ("application/x-www-form-urlencoded", b"file=words"),
        ],
    )
    async def test_an_upload_is_multipart(
        self, boss: httpx.AsyncClient, kind: str, body: bytes
    ) -> None:
        headers = {"content-type": kind}
        refused = await boss.post("/v1/documents", content=body, headers=headers)
        assert_problem(refused, 415, says="multipart/form-data")

    @pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=x"])
    async def test_a_multipart_body_that_is_none_is_refused(
        self, boss: httpx.AsyncClient, kind: str
    ) -> None:
        headers = {"content-type": kind}
        refused = await boss.post("/v1/documents", content=b"nonsense", headers=headers)
        assert_problem(refused, 422)

    async def test_a_file_over_25_mebibytes_is_a_413(self, boss: httpx.AsyncClient) -> None:
        just_over = b"a" * (25 * 2**20 + 1)
        assert_problem(await send(boss, "big.txt", just_over), 413)

    async def test_a_file_far_over_the_limit_is_a_413(self, boss: httpx.AsyncClient) -> None:
        assert_problem(await send(boss, "big.txt", b"a" * (26 * 2**20)), 413)
        assert (await boss.get("/v1/documents")).status_code == 200

    async def test_a_large_file_of_who_may_not_is_refused_and_not_cut_off(
        self, product: House
    ) -> None:
        big = b"a" * (26 * 2**20)
        async with product.client("acme") as member:
            assert_problem(await send(member, "big.txt", big), 403)
            member.headers["authorization"] = "Bearer nothing"
            assert_problem(await send(member, "big.txt", big), 401)

    async def test_only_who_may_write_uploads(self, product: House) -> None:
        async with product.client("acme") as member:
            assert_problem(await send(member, "a.md", MARKDOWN), 403)
            assert_problem(await member.delete(f"/v1/documents/{uuid4()}"), 403)
            assert (await member.get("/v1/documents")).status_code == 200


class TestDeletion:
    async def test_a_deleted_document_is_gone_from_everywhere(self, product: House) -> None:
        tenant = await product.new_tenant("deleter")
        async with product.client(tenant, "boss", Role.ADMIN) as client:
            document = (await send(client, "w.md", "# W\n\nwalrus tusk")).json()
            product.model.script(Reply.text("It says so [1]."))
            said = await answer(client, "walrus tusk")
            url = f"/v1/documents/{document['document_id']}"
            deleted = await client.delete(url)
            assert (deleted.status_code, deleted.content) == (204, b"")
            assert_problem(await client.get(url), 404)
            assert_problem(await client.delete(url), 404)
            assert await listed(client) == []
            found = await client.post("/v1/search", json={"query": "walrus tusk"})
            assert found.json()["items"] == []
            await answer(client, "walrus tusk")
            prompt = product.model.chat_requests[-1]["messages"][0]["content"]
            assert "</passage>" not in prompt
            assert len(await messages(client, said["thread_id"])) == 2
            assert (await send(client, "w.md", "# W\n\nwalrus tusk")).status_code == 201

    async def test_anothers_document_is_one_that_never_was(self, product: House) -> None:
        async with product.client("acme", "boss", Role.ADMIN) as acme:
            own = (await send(acme, "own.md", "# Own\n\nonly acme has aardvarks")).json()
        async with product.client("globex", "boss", Role.ADMIN) as globex:
            for method in ("GET", "DELETE"):
                answers = [
                    await globex.request(method, f"/v1/documents/{document}")
                    for document in (own["document_id"], uuid4())
                ]
                assert_problem(answers[0], 404)
                assert answers[0].content == answers[1].content
            found = await globex.post("/v1/search", json={"query": "only acme has aardvarks"})
            assert "aardvark" not in found.text
            assert own["document_id"] not in found.text + (await globex.get("/v1/documents")).text
        async with product.client("acme") as acme:
            assert (await acme.get(f"/v1/documents/{own['document_id']}")).json() == own
            found = await acme.post("/v1/search", json={"query": "only acme has aardvarks"})
            assert found.json()["items"][0]["document_id"] == own["document_id"]


class TestLists:
    async def test_documents_are_listed_latest_first_in_pages(self, product: House) -> None:
        tenant = await product.new_tenant("librarian")
        async with product.client(tenant, "boss", Role.ADMIN) as client:
            made = [
                (await send(client, f"{n}.txt", f"text {n}")).json()["document_id"]
                for n in range(5)
            ]
            found, query = [], {"limit": 2}
            for size in (2, 2, 1):
                page = (await client.get("/v1/documents", params=query)).json()
                assert len(page["items"]) == size
                found += [item["document_id"] for item in page["items"]]
                query["cursor"] = page["next_cursor"]
        assert found == made[::-1]
        assert query["cursor"] is None

    @pytest.mark.parametrize("limit", [1, 50])
    async def test_a_search_gives_up_to_its_limit(
        self, boss: httpx.AsyncClient, limit: int
    ) -> None:
        for n in range(3):
            await send(boss, f"{n}.txt", f"kangaroo {n}")
        found = await boss.post("/v1/search", json={"query": "kangaroo", "limit": limit})
        scores = [item["score"] for item in found.json()["items"]]
        assert scores == sorted(scores, reverse=True)
        assert 1 <= len(scores) <= limit

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"query": "x", "limit": 0}, "limit"),
            ({"query": "x", "limit": 51}, "limit"),
            ({"query": "x", "limit": "5"}, "limit"),
            ({"query": "x", "limit": True}, "limit"),
            ({"query": ""}, "query"),
            ({"query": "  "}, "query"),
            ({"query": "x" * 4001}, "query"),
            ({"query": "a\0b"}, "query"),
            ({"query": None}, "query"),
            ({}, "query"),
            ({"query": "x", "tenant_id": "acme"}, "tenant_id"),
        ],
    )
    async def test_a_search_that_makes_no_sense_is_refused(
        self, boss: httpx.AsyncClient, body: dict, field: str
    ) -> None:
        assert_problem(await boss.post("/v1/search", json=body), 422, field)

    @pytest.mark.parametrize(
        "query", ["'; drop table passages; --", "a & b | !c:*", "%s %(x)s", "🦊"]
    )
    async def test_a_query_is_only_words(self, boss: httpx.AsyncClient, query: str) -> None:
        assert (await boss.post("/v1/search", json={"query": query})).status_code == 200


async def test_the_free_plan_exists(product: House) -> None:
    async with admin_of(product) as admin:
        plan = admin.plan(PlanId("free"))
    assert plan is not None
    assert plan.documents == 50


class TestInTheBackground:
    async def test_who_does_not_wait_gets_a_queued_document(self, boss: httpx.AsyncClient) -> None:
        for options in ({"params": {"wait": "false"}}, {"headers": {"Prefer": "respond-async"}}):
            files = {"file": ("later.md", f"# Later\n\n{uuid4()}\n")}
            sent = await boss.post("/v1/documents", files=files, **options)
            assert (sent.status_code, sent.json()["status"]) == (202, "queued")
            assert sent.json()["progress"] == {"done": 0, "total": 0}
            ready = await self.ended(boss, sent.json()["document_id"])
            assert set(ready) == DOCUMENT
            assert (ready["status"], ready["title"]) == ("ready", "Later")
            again = await boss.post("/v1/documents", files=files, **options)
            assert (again.status_code, again.json()) == (200, ready)

    @pytest.mark.parametrize("wait", ["true", "false"])
    async def test_whatever_a_file_and_its_type_are_called_it_is_taken(
        self, boss: httpx.AsyncClient, wait: str
    ) -> None:
        """One with a NUL was an internal error, where nobody waited."""
        head = b'Content-Disposition: form-data; name="file"; filename="no\0tes.md"'
        kind = b"Content-Type: text/\0markdown"
        text = uuid4().hex.encode()
        sent = await boss.post(
            "/v1/documents",
            content=b"\r\n".join((b"--x", head, kind, b"", text, b"--x--", b"")),
            headers={"Content-Type": "multipart/form-data; boundary=x"},
            params={"wait": wait},
        )
        assert sent.is_success
        ready = await self.ended(boss, sent.json()["document_id"])
        assert (ready["status"], ready["title"]) == ("ready", "Notes")

    async def test_a_large_file_is_queued_unless_somebody_waits(
        self, boss: httpx.AsyncClient
    ) -> None:
        for params, status in (({}, 202), ({"wait": "true"}, 201)):
            large = f"{uuid4()} " + "So it goes. " * 17_000
            files = {"file": ("large.txt", large)}
            sent = await boss.post("/v1/documents", files=files, params=params)
            assert sent.status_code == status
            ready = await self.ended(boss, sent.json()["document_id"])
            assert ready["passages"] > 100
            await boss.delete(f"/v1/documents/{ready['document_id']}")

    async def test_a_file_that_failed_says_why_and_may_be_tried_again(
        self, boss: httpx.AsyncClient
    ) -> None:
        files = {"file": ("broken.pdf", f"%PDF-1.7 {uuid4()}")}
        sent = await boss.post("/v1/documents", files=files, params={"wait": "false"})
        url = f"/v1/documents/{sent.json()['document_id']}"
        failed = await self.ended(boss, sent.json()["document_id"])
        assert failed["status"] == "failed"
        assert failed["error"]
        assert (await boss.post(f"{url}/retry")).status_code == 202
        assert await self.ended(boss, sent.json()["document_id"]) == failed
        assert (await boss.delete(url)).status_code == 204
        assert_problem(await boss.post(f"{url}/retry"), 404)

    async def test_a_ready_document_is_not_tried_again(self, boss: httpx.AsyncClient) -> None:
        document = (await send(boss, "r.md", f"# R {uuid4()}")).json()
        again = await boss.post(f"/v1/documents/{document['document_id']}/retry")
        assert (again.status_code, again.json()) == (200, document)

    async def test_a_kind_that_is_not_read_is_refused_at_once(
        self, boss: httpx.AsyncClient
    ) -> None:
        files = {"file": ("a.png", b"\x89PNG\r\n\x1a\n" + b"0" * 300_000)}
        assert_problem(await boss.post("/v1/documents", files=files), 415)

    @staticmethod
    async def ended(client: httpx.AsyncClient, document_id: str) -> dict:
        """The document when it is ready or has failed."""
        while True:
            document: dict = (await client.get(f"/v1/documents/{document_id}")).json()
            if "progress" not in document:
                return document
            await asyncio.sleep(0.02)
