"""Every error has one document, and no document says more than a client may know."""

from datetime import timedelta
from enum import Enum
from typing import Annotated, Literal
from uuid import UUID

import httpx
import orjson
import pytest
from fastapi import FastAPI, File, Query, UploadFile
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator
from starlette.exceptions import HTTPException

from server.problems import install, problem_of
from server.refusal import BadCredential
from tenancy import errors

SECOND = timedelta(seconds=1)
STATUS = {
    errors.NotAuthenticated(): 401,
    BadCredential("the signature does not hold"): 401,
    errors.Forbidden(): 403,
    errors.TenantSuspended(): 403,
    errors.TenantMismatch(): 403,
    errors.NotFound(): 404,
    errors.PayloadTooLarge(): 413,
    errors.UnsupportedMedia(): 415,
    errors.Invalid("title", "is too long"): 422,
    errors.Conflict(): 409,
    errors.ThreadBusy(): 409,
    errors.ThreadQuarantined(): 409,
    errors.QuotaExceeded("tokens", 9 * SECOND): 429,
    errors.Unavailable(): 503,
    errors.Overloaded(): 503,
    errors.ModelFailed(): 502,
    errors.BreakerOpen(3 * SECOND): 502,
    errors.ModelTimeout(): 504,
    errors.BreakerOpen(9 * SECOND): 502,
    errors.IsolationBreach("search", "globex"): 500,
    errors.LeaseLost("fence 7 of run 12"): 500,
    errors.Misconfigured("DATABASE_URL=postgres://secret"): 500,
    errors.TenantryError("internals"): 500,
}


def name_of(error):
    return type(error).__name__


@pytest.mark.parametrize(("error", "status"), STATUS.items(), ids=map(name_of, STATUS))
def test_each_error_has_its_status(error, status):
    problem = problem_of(error)
    document = orjson.loads(problem.body())
    assert problem.status == document["status"] == status
    assert document.keys() - {"errors"} == {"type", "title", "status", "detail"}
    assert document["type"].startswith("urn:tenantry:problem:")


def test_the_table_covers_the_tree():
    covered = {type(error) for error in STATUS}
    abstract = {errors.Refusal, errors.Failure}
    tree = {c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, Exception)}
    assert tree - abstract <= covered


def test_every_401_has_the_same_bytes_and_names_the_scheme():
    plain, reasoned = errors.NotAuthenticated(), BadCredential("expired")
    detailed = errors.NotAuthenticated("The token expired at noon.")
    assert len({problem_of(error).body() for error in (plain, reasoned, detailed)}) == 1
    assert problem_of(reasoned).headers == {"WWW-Authenticate": "Bearer"}


@pytest.mark.parametrize(
    ("wait", "seconds"),
    [(0, "1"), (-5, "1"), (0.2, "1"), (1, "1"), (1.001, "2"), (86_399.5, "86400")],
)
def test_retry_after_is_whole_seconds_rounded_up(wait, seconds):
    wait = timedelta(seconds=wait)
    for error in (
        errors.ThreadBusy(wait),
        errors.QuotaExceeded("tokens", wait),
        errors.Unavailable(retry_after=wait),
        errors.BreakerOpen(wait),
    ):
        assert problem_of(error).headers["Retry-After"] == seconds


def test_an_invalid_field_is_named():
    document = problem_of(errors.Invalid("title", "is too long")).document()
    assert document["errors"] == [{"field": "title", "message": "is too long"}]


def test_what_is_ours_alone_says_nothing():
    for error in (errors.LeaseLost("fence 7"), errors.Misconfigured("postgres://secret")):
        assert problem_of(error).detail == problem_of(errors.TenantryError()).detail


class Colour(Enum):
    RED = "red"


class Inner(BaseModel):
    name: str = Field(max_length=3)


class Question(BaseModel):
    model_config = ConfigDict(extra="forbid")
    message: str
    title: Annotated[str, AfterValidator(str.strip), Field(max_length=3)] = ""
    thread_id: UUID | None = None
    inner: list[Inner] = []
    colour: Colour = Colour.RED
    kind: Annotated[Literal["a"], Field()] = "a"

    @field_validator("message")
    @classmethod
    def _short(cls, message: str) -> str:
        if len(message) > 5:
            raise ValueError("must be at most 5 characters")
        return message


@pytest.fixture(scope="module")
def app():
    app = FastAPI()
    install(app)

    @app.post("/ask")
    async def ask(question: Question) -> dict[str, str]:
        return {"message": question.message}

    @app.post("/file")
    async def receive(file: Annotated[UploadFile, File()]) -> None: ...

    @app.get("/list/{thread_id}")
    async def find(thread_id: UUID, limit: Annotated[int, Query(le=5)] = 1) -> None: ...

    @app.get("/raise/{name}")
    async def fail(name: str) -> None:
        if name == "unknown":
            raise RuntimeError("postgres://user:password@host")
        if name == "http":
            raise HTTPException(418)
        raise errors.QuotaExceeded("tokens", timedelta(seconds=2.5))

    return app


@pytest.fixture
async def client(app):
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


def faults(response):
    document = response.json()
    assert response.status_code == document["status"] == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert document["type"] == "urn:tenantry:problem:invalid"
    return {fault["field"]: fault["message"] for fault in document["errors"]}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "message"),
        ({"message": "long message"}, "message"),
        ({"message": "hi", "thread_id": "zecret"}, "thread_id"),
        ({"message": "hi", "inner": [{"name": "a"}, {"name": "zecret"}]}, "inner.1.name"),
        ({"message": "hi", "colour": "zecret"}, "colour"),
        ({"message": "hi", "unknown": "zecret"}, "unknown"),
        ([], "body"),
        (None, "body"),
    ],
)
async def test_a_fault_in_the_body_is_named_without_its_value(client, body, field):
    response = await client.post("/ask", json=body)
    assert list(faults(response)) == [field]
    assert b"zecret" not in response.content
    assert b"`z`" not in response.content


async def test_a_text_that_is_too_long_is_counted_in_characters(client):
    response = await client.post("/ask", json={"message": "hi", "title": "four"})
    assert faults(response) == {"title": "must have at most 3 characters"}


@pytest.mark.parametrize("body", [b"{", b'{"message": hi}', b"\xff\xfe", b"[" * 200_000, b"nul"])
async def test_malformed_json_is_a_fault_of_the_body(client, body):
    response = await client.post("/ask", content=body, headers={"content-type": "application/json"})
    assert list(faults(response)) == ["body"]


async def test_malformed_multipart_is_a_fault_of_the_body(client):
    response = await client.post(
        "/file", content=b"--x", headers={"content-type": "multipart/form-data"}
    )
    assert list(faults(response)) == ["body"]


async def test_half_a_surrogate_as_a_field_is_a_fault(client):
    headers = {"content-type": "application/json"}
    body = b'{"message": "hi", "\\ud800": 1}'
    response = await client.post("/ask", content=body, headers=headers)
    assert list(faults(response)) == ["body"]


def test_half_a_surrogate_in_a_field_name_is_replaced():
    document = orjson.loads(problem_of(errors.Invalid("\ud800", "no \udfff field")).body())
    assert document["errors"] == [{"field": "?", "message": "no ? field"}]


async def test_an_endless_field_name_is_cut(client):
    response = await client.post("/ask", json={"message": "hi", "x" * 10_000: 1})
    assert list(faults(response)) == ["x" * 128]


async def test_parameters_are_named_as_they_are(client):
    response = await client.get("/list/zecret?limit=9")
    assert faults(response).keys() == {"thread_id", "limit"}
    assert b"zecret" not in response.content


async def test_the_frameworks_refusals_are_problems(client):
    missing = await client.get("/nowhere")
    assert missing.content == problem_of(errors.NotFound()).body()
    method = await client.get("/ask")
    assert (method.status_code, method.headers["allow"]) == (405, "POST")
    assert method.json()["type"] == "urn:tenantry:problem:method-not-allowed"
    assert (await client.get("/raise/http")).status_code == 418


async def test_errors_of_a_route_are_problems(client):
    refused = await client.get("/raise/quota")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "3")
    failed = await client.get("/raise/unknown")
    assert failed.status_code == 500
    assert failed.headers["content-type"] == "application/problem+json"
    assert failed.headers["connection"] == "close"
    assert b"password" not in failed.content
