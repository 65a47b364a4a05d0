"""The console's files: the same for everybody, and closed to everything that is not ours."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from server.routes.console import FOLDER, Files
from tenancy.principal import Role
from tests.support.house import House

PAGES = ["/console", "/console/search", f"/console/documents/{uuid4()}"]
FILES = sorted(path.name for path in FOLDER.iterdir())
ASSETS = [f"/console/assets/{name}" for name in FILES]
PERSON = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


@pytest.fixture
async def nobody(product: House) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody without a credential."""
    async with httpx.AsyncClient(base_url=product.url) as client:
        yield client


async def document_of(product: House, tenant: str) -> str:
    """The id of a document of the tenant's."""
    async with product.client(tenant, "boss", Role.ADMIN) as boss:
        file = {"file": ("consolecanary.md", b"# consolecanary\n\nconsolecanary")}
        sent = await boss.post("/v1/documents", files=file)
    return str(sent.json()["document_id"])


async def asked_raw(product: House, target: str) -> tuple[int, str]:
    """The status and head of the answer to a path as it is: HTTP clients tidy theirs up."""
    host, _, port = product.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    return int(answer.split()[1]), answer.partition("\r\n\r\n")[0]


@pytest.mark.parametrize("path", [*PAGES[:2], "/console/documents/x", *ASSETS])
async def test_every_file_lets_in_nothing_from_elsewhere(
    nobody: httpx.AsyncClient, path: str
) -> None:
    answer = await nobody.get(path)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"].split("; ")
    assert policy[:8] == [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
    assert {"require-trusted-types-for 'script'", "trusted-types 'none'"} <= set(policy)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert answer.headers["cache-control"] == "no-cache"
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("main.js", "javascript"),
        ("console.css", "text/css"),
        ("icon.svg", "image/svg+xml"),
        ("index.html", "text/html"),
    ],
)
async def test_a_file_says_what_it_is(nobody: httpx.AsyncClient, name: str, kind: str) -> None:
    assert kind in (await nobody.get(f"/console/assets/{name}")).headers["content-type"]


async def test_what_has_not_changed_is_not_sent_again(nobody: httpx.AsyncClient) -> None:
    first = await nobody.get("/console")
    again = await nobody.get("/console", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["content-security-policy"] == first.headers["content-security-policy"]


async def test_a_file_that_changed_is_sent_whatever_its_time_and_size(tmp_path: Path) -> None:
    file, scope = tmp_path / "x.js", {"type": "http", "method": "GET", "headers": []}
    tags = []
    for content in ("old", "new"):
        file.write_text(content)
        os.utime(file, (0, 0))
        answer = await Files(directory=tmp_path).get_response("x.js", scope)
        tags.append(answer.headers["etag"])
    assert tags[0] != tags[1]


async def test_the_shell_is_the_same_whoever_asks(
    product: House, nobody: httpx.AsyncClient
) -> None:
    pages = [*PAGES, f"/console/documents/{await document_of(product, 'acme')}"]
    shell = (FOLDER / "index.html").read_bytes()
    async with product.client("acme", "boss", Role.ADMIN) as boss:
        answers = [await client.get(path) for client in (nobody, boss) for path in pages]
    assert {answer.content for answer in answers} == {shell}
    assert {frozenset(answer.headers) - {"date"} for answer in answers} == {
        frozenset(answers[0].headers) - {"date"}
    }


@pytest.mark.parametrize(
    "path",
    [
        "../routes/console.py",
        "../../pyproject.toml",
        "..%2f..%2fpyproject.toml",
        "%2e%2e/routes/console.py",
        "..%5croutes%5cconsole.py",
        "%2fetc%2fpasswd",
        "/etc/passwd",
        "../../console/main.js/../../middleware.py",
        "main.js%00",
        "",
        ".",
        "nothing.js",
    ],
)
async def test_nothing_but_the_consoles_own_files_is_served(product: House, path: str) -> None:
    status, head = await asked_raw(product, f"/console/assets/{path}")
    assert status == 404
    assert "content-type: application/problem+json" in head


@pytest.mark.parametrize("path", ["/consoles", "/console.css", "/Console", "//console"])
async def test_what_is_beside_the_console_needs_a_credential(
    nobody: httpx.AsyncClient, product: House, path: str
) -> None:
    assert (await nobody.get(f"{product.url}{path}")).status_code == 401


def test_no_file_reaches_for_anything_from_elsewhere() -> None:
    texts = [(FOLDER / name).read_text(encoding="utf-8") for name in FILES]
    addresses = {found for text in texts for found in re.findall(r"https?://[^\s\"'`]+", text)}
    assert addresses == {"https://example.com/guide", "http://www.w3.org/2000/svg"}


@pytest.mark.parametrize("script", sorted(FOLDER.glob("*.js")), ids=lambda path: path.name)
def test_no_script_makes_markup_of_text(script: Path) -> None:
    doors = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|Function\(|srcdoc"
    assert re.findall(doors, script.read_text(encoding="utf-8")) == []


def test_every_file_is_used() -> None:
    texts = {name: (FOLDER / name).read_text(encoding="utf-8") for name in FILES}
    named = {each for text in texts.values() for each in re.findall(r"[\w]+\.(?:js|css|svg)", text)}
    assert set(FILES) - named == {"index.html"}


class TestAPersonWhoOpensADocumentsAddress:
    """`/v1/documents/{id}#passage`, as a citation names it."""

    async def test_is_led_to_the_page_that_shows_it(self, nobody: httpx.AsyncClient) -> None:
        asked = uuid4()
        answer = await nobody.get(f"/v1/documents/{asked}?corpus=law", headers=PERSON)
        assert answer.status_code == 303
        assert answer.headers["location"] == f"/console/documents/{asked}?corpus=law"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["vary"] == "Accept, Authorization, X-Api-Key"

    async def test_learns_nothing_of_whether_it_is_there(
        self, product: House, nobody: httpx.AsyncClient
    ) -> None:
        there, missing = await document_of(product, "acme"), str(uuid4())
        answers = [
            await nobody.get(f"/v1/documents/{each}", headers=PERSON) for each in (there, missing)
        ]
        heads = [
            {name: value.replace(there, missing) for name, value in answer.headers.items()}
            for answer in answers
        ]
        for head in heads:
            head.pop("date", None)
        assert heads[0] == heads[1]
        assert [answer.content for answer in answers] == [b"", b""]

    @pytest.mark.parametrize("header", ["Authorization", "X-Api-Key"])
    async def test_gets_what_a_program_gets_with_a_credential(
        self, product: House, nobody: httpx.AsyncClient, header: str
    ) -> None:
        document = await document_of(product, "acme")
        token = product.token("acme", "boss", Role.ADMIN)
        shown = f"Bearer {token}" if header == "Authorization" else token
        headers = PERSON | {header: shown}
        answer = await nobody.get(f"/v1/documents/{document}", headers=headers)
        assert answer.json()["document_id"] == document

    async def test_is_refused_with_a_credential_that_does_not_hold(
        self, nobody: httpx.AsyncClient
    ) -> None:
        headers = PERSON | {"Authorization": "Bearer garbage"}
        answer = await nobody.get(f"/v1/documents/{uuid4()}", headers=headers)
        assert answer.status_code == 401

    @pytest.mark.parametrize("accept", ["*/*", "application/json", ""])
    async def test_is_not_taken_for_a_program(self, nobody: httpx.AsyncClient, accept: str) -> None:
        answer = await nobody.get(f"/v1/documents/{uuid4()}", headers={"Accept": accept})
        assert answer.status_code == 401

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("DELETE", f"/v1/documents/{'0' * 8}-0000-0000-0000-{'0' * 12}"),
            ("GET", f"/v1/documents/{'0' * 8}-0000-0000-0000-{'0' * 12}/text"),
            ("GET", "/v1/documents"),
            ("GET", "/v1/documents/x"),
            ("GET", "/v1/audit"),
        ],
    )
    async def test_is_led_nowhere_else(
        self, nobody: httpx.AsyncClient, method: str, path: str
    ) -> None:
        assert (await nobody.request(method, path, headers=PERSON)).status_code == 401
