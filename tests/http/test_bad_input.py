"""Everything a hostile or hasty stranger sends: a problem that names the field, and never a 500."""

import asyncio
import json
from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import pytest

from tenancy.principal import Role
from tests.http.speech import answer, ask, assert_problem
from tests.support.house import House

JSON = {"content-type": "application/json"}


@pytest.fixture
async def acme(product: House) -> AsyncIterator[httpx.AsyncClient]:
    """A member of acme."""
    async with product.client("acme") as client:
        yield client


@pytest.fixture
async def boss(product: House) -> AsyncIterator[httpx.AsyncClient]:
    """An admin of acme."""
    async with product.client("acme", "boss", Role.ADMIN) as client:
        yield client


class TestFields:
    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ('{"message": "Hi", "colour": 1}', "colour"),
            ('{"message": "Hi", "tenant_id": "globex"}', "tenant_id"),
            ('{"message": "Hi", "configurable": {}}', "configurable"),
            ('{"message": "Hi", "a\\u0000b": 1}', "a\0b"),
            ("{}", "message"),
            ('{"message": 5}', "message"),
            ('{"message": null}', "message"),
            ('{"message": ["Hi"]}', "message"),
            ('{"message": {"text": "Hi"}}', "message"),
            ('{"message": true}', "message"),
            ('{"message": NaN}', "message"),
            ('{"message": ""}', "message"),
            ('{"message": " \\t\\n\\u2003"}', "message"),
            ('{"message": "a\\u0000b"}', "message"),
            ('{"message": "\\ud800"}', "message"),
            ('{"message": "\\udc00\\ud800"}', "message"),
            ('{"message": "Hi", "stream": "true"}', "stream"),
            ('{"message": "Hi", "stream": 1}', "stream"),
            ('{"message": "Hi", "stream": null}', "stream"),
            ('{"message": "Hi", "thread_id": "abc"}', "thread_id"),
            ('{"message": "Hi", "thread_id": ""}', "thread_id"),
            ('{"message": "Hi", "thread_id": 5}', "thread_id"),
            ('{"message": "Hi", "thread_id": ["a"]}', "thread_id"),
            ('{"message": "Hi", "thread_id": "\\u0000"}', "thread_id"),
            ('{"message": "Hi", "thread_id": "\\ud800"}', "thread_id"),
            ('{"message": "Hi", "assistant": 5}', "assistant"),
            ('{"message": "Hi", "assistant": ""}', "assistant"),
            ('{"message": "Hi", "assistant": "a\\u0000"}', "assistant"),
            ('{"message": "Hi", "assistant": "\\ud800"}', "assistant"),
            ('{"message": "Hi", "resume": {}}', "resume.decisions"),
            ('{"resume": 5, "thread_id": "6c1f6c52-7f0e-5d0b-9d6b-6b1f2f3c9a10"}', "resume"),
        ],
    )
    async def test_a_field_that_is_wrong_is_named(
        self, product: House, acme: httpx.AsyncClient, body: str, field: str
    ) -> None:
        problem = assert_problem(
            await acme.post("/v1/chat", content=body, headers=JSON), 422, field
        )
        assert "pydantic" not in str(problem)
        assert product.model.chat_requests == []

    async def test_every_wrong_field_is_named_at_once(self, acme: httpx.AsyncClient) -> None:
        body = {"message": 5, "stream": "no", "colour": 1}
        problem = assert_problem(await acme.post("/v1/chat", json=body), 422)
        assert {error["field"] for error in problem["errors"]} == {"message", "stream", "colour"}

    async def test_what_was_sent_is_not_said_back(self, acme: httpx.AsyncClient) -> None:
        body = {"message": {"canary-1": 1}, "stream": "canary-2", "thread_id": "canary-3"}
        assert "canary" not in (await acme.post("/v1/chat", json=body)).text

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"title": 5}, "title"),
            ({"title": "x" * 201}, "title"),
            ({"title": "a\0"}, "title"),
            ({"thread_id": "abc"}, "thread_id"),
            ({"name": "x"}, "name"),
        ],
    )
    async def test_a_thread_that_is_wrong_is_refused(
        self, acme: httpx.AsyncClient, body: dict, field: str
    ) -> None:
        assert_problem(await acme.post("/v1/threads", json=body), 422, field)

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "subject"),
            ({"subject": ""}, "subject"),
            ({"subject": "a\0"}, "subject"),
            ({"subject": "x" * 1000}, "subject"),
            ({"subject": "bot", "role": "king"}, "role"),
            ({"subject": "bot", "role": "operator"}, "role"),
            ({"subject": "bot", "role": 5}, "role"),
            ({"subject": "bot", "scopes": ["everything"]}, "scopes"),
            ({"subject": "bot", "scopes": ["platform:*"]}, "scopes"),
            ({"subject": "bot", "scopes": "chat"}, "scopes"),
            ({"subject": "bot", "ttl_seconds": 0}, "ttl_seconds"),
            ({"subject": "bot", "ttl_seconds": -1}, "ttl_seconds"),
            ({"subject": "bot", "ttl_seconds": 10**30}, "ttl_seconds"),
            ({"subject": "bot", "ttl_seconds": 1e999}, "ttl_seconds"),
            ({"subject": "bot", "tenant": "globex"}, "tenant"),
        ],
    )
    async def test_a_key_that_is_wrong_is_refused(
        self, boss: httpx.AsyncClient, body: dict, field: str
    ) -> None:
        content = json.dumps(body)
        assert_problem(await boss.post("/v1/keys", content=content, headers=JSON), 422, field)


BODIES = {
    "malformed": b'{"message": ',
    "trailing": b'{"message": "Hi"} x',
    "comment": b'{"message": "Hi" /* hello */}',
    "single quotes": b"{'message': 'Hi'}",
    "array": b'["Hi"]',
    "string": b'"Hi"',
    "number": b"5",
    "null": b"null",
    "empty": b"",
    "blank": b"  ",
    "not utf-8": b'{"message": "\xff\xfe"}',
    "raw NUL": b'{"message": "a\0b"}',
    "deep array": b"[" * 100_000,
    "deep object": b'{"message":' * 50_000,
    "balanced depth": b'{"message": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "huge integer": b'{"message": ' + b"9" * 100_000 + b"}",
    "long key": b'{"' + b"k" * 100_000 + b'": 1, "message": "Hi"}',
    "many keys": b"{" + b",".join(b'"k%d": 1' % n for n in range(20_000)) + b"}",
}


class TestBodies:
    @pytest.mark.parametrize("name", BODIES)
    @pytest.mark.parametrize("path", ["/v1/chat", "/v1/threads", "/v1/search"])
    async def test_a_body_that_is_no_object_is_a_422(
        self, acme: httpx.AsyncClient, name: str, path: str
    ) -> None:
        response = await acme.post(path, content=BODIES[name], headers=JSON)
        assert_problem(response, 422)

    async def test_of_a_key_given_twice_the_last_counts(
        self, product: House, acme: httpx.AsyncClient
    ) -> None:
        body = '{"message": "one", "message": "two"}'
        assert (await acme.post("/v1/chat", content=body, headers=JSON)).status_code == 200
        assert product.model.chat_requests[-1]["messages"][-1]["content"] == "two"

    @pytest.mark.parametrize(
        "kind",
        ["text/plain", "application/x-www-form-urlencoded", "application/xml", "", "nonsense"],
    )
    async def test_a_body_of_another_kind_is_a_415(
        self, acme: httpx.AsyncClient, kind: str
    ) -> None:
        body = b'{"message": "Hi"}'
        response = await acme.post("/v1/chat", content=body, headers={"content-type": kind})
        assert_problem(response, 415, says="application/json")

    @pytest.mark.parametrize(
        "kind", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/ld+json"]
    )
    async def test_json_by_another_name_is_json(self, acme: httpx.AsyncClient, kind: str) -> None:
        body, headers = b'{"message": "Hi"}', {"content-type": kind}
        assert (await acme.post("/v1/chat", content=body, headers=headers)).status_code == 200
        assert_problem(await acme.post("/v1/chat", content=b"{}", headers=headers), 422)

    @pytest.mark.parametrize("size", [2**20 + 1, 6 * 2**20])
    @pytest.mark.parametrize("chunked", [False, True])
    async def test_a_body_over_a_mebibyte_is_a_413(
        self, acme: httpx.AsyncClient, size: int, chunked: bool
    ) -> None:
        body = b'{"message": "' + b"x" * size + b'"}'

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(body), 65536):
                yield body[start : start + 65536]

        content = pieces() if chunked else body
        assert_problem(await acme.post("/v1/chat", content=content, headers=JSON), 413)
        assert (await ask(acme)).status_code == 200

    async def test_a_body_of_a_mebibyte_is_read(self, acme: httpx.AsyncClient) -> None:
        body = b'{"message": "' + b"x" * (2**20 - 15) + b'"}'
        assert len(body) == 2**20
        assert_problem(await acme.post("/v1/chat", content=body, headers=JSON), 422, "message")


class TestPaths:
    @pytest.mark.parametrize("given", ["abc", "1", "%00", "%ff", "..", "a" * 5000, "' or 1=1"])
    @pytest.mark.parametrize(
        ("method", "path", "field"),
        [
            ("GET", "/v1/threads/{}", "thread_id"),
            ("DELETE", "/v1/threads/{}", "thread_id"),
            ("GET", "/v1/documents/{}", "document_id"),
            ("DELETE", "/v1/documents/{}", "document_id"),
            ("GET", "/v1/runs/{}", "run_id"),
            ("DELETE", "/v1/keys/{}", "key_id"),
            ("POST", "/v1/keys/{}/rotate", "key_id"),
        ],
    )
    async def test_an_id_that_is_none_is_named(
        self, boss: httpx.AsyncClient, method: str, path: str, field: str, given: str
    ) -> None:
        response = await boss.request(method, path.format(given))
        if given == "..":  # makes another path
            assert_problem(response, 404)
        else:
            assert_problem(response, 422, field)

    async def test_a_slash_in_an_id_makes_another_path(self, acme: httpx.AsyncClient) -> None:
        assert_problem(await acme.get(f"/v1/threads/{uuid4()}%2fmessages"), 404)

    @pytest.mark.parametrize("path", ["/v1/threads", "/v1/documents", "/v1/audit", "/v1/keys"])
    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("limit=0", "limit"),
            ("limit=-1", "limit"),
            ("limit=1000", "limit"),
            ("limit=abc", "limit"),
            ("limit=", "limit"),
            ("limit=1.5", "limit"),
            ("limit=99999999999999999999", "limit"),
            ("cursor=garbage", "cursor"),
            ("cursor=", "cursor"),
            ("cursor=%00", "cursor"),
            ("cursor=%ff", "cursor"),
            ("cursor=MjAyNi0wMS0wMVQwMDowMDowMC9h", "cursor"),
            ("cursor=" + "A" * 300, "cursor"),
        ],
    )
    async def test_a_page_that_is_none_is_refused(
        self, boss: httpx.AsyncClient, path: str, query: str, field: str
    ) -> None:
        assert_problem(await boss.get(f"{path}?{query}"), 422, field)

    @pytest.mark.parametrize("path", ["/v1/threads", "/v1/documents", "/v1/audit", "/v1/keys"])
    @pytest.mark.parametrize(
        "time", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999-23:59"]
    )
    async def test_a_cursor_at_the_ends_of_time_is_no_fault_of_ours(
        self, boss: httpx.AsyncClient, path: str, time: str
    ) -> None:
        from base64 import urlsafe_b64encode

        cursor = urlsafe_b64encode(f"{time}/{uuid4()}".encode()).decode().rstrip("=")
        response = await boss.get(path, params={"cursor": cursor})
        assert response.status_code in {200, 422}

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ({"from": "yesterday"}, "from"),
            ({"to": "2026-13-01T00:00:00Z"}, "to"),
            ({"from": "2026-01-01T00:00:00"}, "from"),
            ({"from": "2026-02-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "from"),
            ({"from": "0001-01-01T00:00:00+23:59"}, "from"),
            ({"to": "9999-12-31T23:59:59-23:59"}, "to"),
            ({"from": "\0"}, "from"),
        ],
    )
    async def test_a_time_that_is_none_is_named(
        self, boss: httpx.AsyncClient, query: dict, field: str
    ) -> None:
        assert_problem(await boss.get("/v1/usage", params=query), 422, field)

    @pytest.mark.parametrize(
        "path",
        ["/v1", "/v1/", "/v1/nothing", "/v2/chat", "/admin", "/v1/chat/1", "/v1//chat", "/.env"],
    )
    async def test_an_unknown_path_is_a_404(self, acme: httpx.AsyncClient, path: str) -> None:
        assert_problem(await acme.get(path), 404)

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/v1/chat"),
            ("PUT", "/v1/chat"),
            ("DELETE", "/v1/threads"),
            ("PATCH", "/v1/documents"),
            ("POST", "/v1/usage"),
            ("OPTIONS", "/v1/chat"),
            ("TRACE", "/v1/threads"),
        ],
    )
    async def test_a_wrong_method_is_a_405(
        self, acme: httpx.AsyncClient, method: str, path: str
    ) -> None:
        refused = await acme.request(method, path)
        assert_problem(refused, 405)
        assert refused.headers["allow"]

    async def test_a_head_has_no_body(self, acme: httpx.AsyncClient) -> None:
        for path, status in (("/v1/chat", 405), ("/v1/nothing", 404)):
            response = await acme.head(path)
            assert (response.status_code, response.content) == (status, b"")

    async def test_a_path_that_is_no_path_is_no_fault_of_ours(self, product: House) -> None:
        port = int(product.url.rpartition(":")[2])
        for line in (
            b"GET /v1/threads/%ZZ HTTP/1.1",
            b"GET * HTTP/1.1",
            b"GET /\xff HTTP/1.1",
            b"?",
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
            status = (await reader.read()).split(b" ")[1]
            writer.close()
            assert status in {b"400", b"401", b"404"}


class TestOrder:
    """401, 403, 404, 413, 415, 422, 409, 429: of two refusals the earlier one is given."""

    async def test_a_stranger_is_told_nothing_else(self, product: House) -> None:
        async with httpx.AsyncClient(base_url=product.url) as nobody:
            for request in (
                ("POST", "/v1/chat", b"{"),
                ("POST", "/v1/chat", b"x" * (2**20 + 1)),
                ("GET", "/v1/nothing", b""),
                ("PATCH", "/v1/chat", b""),
                ("GET", "/v1/threads/abc", b""),
            ):
                method, path, body = request
                assert_problem(await nobody.request(method, path, content=body), 401)

    async def test_a_missing_scope_comes_before_the_body(self, product: House) -> None:
        async with product.client("acme", "looker", Role.VIEWER) as viewer:
            for body in (b"{", b"x" * (2**20 + 1), b""):
                response = await viewer.post("/v1/chat", content=body)
                assert_problem(response, 403, says="chat")
            assert_problem(await viewer.delete("/v1/threads/abc"), 403)
            assert_problem(await viewer.delete(f"/v1/documents/{uuid4()}"), 403)

    async def test_an_unknown_path_comes_before_its_body(self, acme: httpx.AsyncClient) -> None:
        for body in (b"{", b"x" * (2**20 + 1)):
            assert_problem(await acme.post("/v1/nothing", content=body), 404)

    async def test_too_large_comes_before_the_wrong_kind(self, acme: httpx.AsyncClient) -> None:
        headers = {"content-type": "text/plain"}
        body = b"x" * (2**20 + 1)
        assert_problem(await acme.post("/v1/chat", content=body, headers=headers), 413)
        assert_problem(await acme.post("/v1/documents", content=body, headers=headers), 403)

    async def test_too_large_comes_before_the_wrong_kind_of_upload(
        self, boss: httpx.AsyncClient
    ) -> None:
        headers = {"content-type": "text/plain"}
        body = b"x" * (2**20 + 1)
        assert_problem(await boss.post("/v1/documents", content=body, headers=headers), 413)

    async def test_the_wrong_kind_comes_before_the_wrong_field(
        self, acme: httpx.AsyncClient
    ) -> None:
        headers = {"content-type": "text/plain"}
        assert_problem(await acme.post("/v1/chat", content=b'{"a": 1}', headers=headers), 415)

    async def test_a_wrong_field_comes_before_a_busy_thread(
        self, product: House, acme: httpx.AsyncClient
    ) -> None:
        product.model.hold()
        thread = (await acme.post("/v1/threads", json={})).json()["thread_id"]
        turn = asyncio.create_task(ask(acme, thread_id=thread))
        await product.model.wait_in_flight(1)
        assert_problem(await ask(acme, "", thread_id=thread), 422, "message")
        product.model.release()
        assert (await turn).status_code == 200

    async def test_an_unknown_and_a_busy_thread_come_before_the_quota(self, product: House) -> None:
        tenant = await product.new_tenant("ordered", requests_per_minute=2, burst=2)
        async with product.client(tenant) as client:
            said = await answer(client)
            product.model.hold()
            turn = asyncio.create_task(ask(client, thread_id=said["thread_id"]))
            await product.model.wait_in_flight(1)
            assert_problem(await ask(client, thread_id=said["thread_id"]), 409)
            assert_problem(await ask(client, thread_id=str(uuid4())), 404)
            assert_problem(await ask(client, ""), 422)
            assert_problem(await ask(client), 429)
            product.model.release()
            await turn
