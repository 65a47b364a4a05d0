"""What every route shares: parameters, pages, and text that stores can hold."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

import orjson
from fastapi import Depends, Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from knowledge.parse import title_of
from server.middleware import principal_in
from server.services import Services
from tenancy.page import DEFAULT_LIMIT, MAX_LIMIT, Page
from tenancy.principal import Principal

T = TypeVar("T")

MAX_MESSAGE_CHARACTERS = 32_000
MAX_QUERY_CHARACTERS = 4_000
MAX_TITLE_CHARACTERS = 200


class Body(BaseModel):
    """A JSON body: unknown fields and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def carriable(text: str) -> str:
    """The text, which every store and wire can carry; raises `ValueError`."""
    if "\0" in text:
        raise ValueError("must not contain NUL")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("must not contain a lone surrogate")
    return text


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def _title(text: str) -> str:
    return title_of(text) or ""


Text = Annotated[str, AfterValidator(carriable)]
Said = Annotated[Text, AfterValidator(_said)]
Message = Annotated[Said, Field(min_length=1, max_length=MAX_MESSAGE_CHARACTERS)]
Title = Annotated[Text, Field(max_length=MAX_TITLE_CHARACTERS), AfterValidator(_title)]
JsonUUID = Annotated[UUID, Field(strict=False)]

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]
Cursor = Annotated[str | None, Query(max_length=256)]
LIMIT = DEFAULT_LIMIT


async def services_of(request: Request) -> Services:
    """The rooms of the house."""
    services: Services = request.app.state.services
    return services


async def caller_of(request: Request) -> Principal:
    """The verified caller."""
    return principal_in(request.scope)


Rooms = Annotated[Services, Depends(services_of)]
Caller = Annotated[Principal, Depends(caller_of)]


def reply(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response; times are RFC 3339 in UTC."""
    body = orjson.dumps(content, option=orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC)
    return Response(body, status, headers, media_type="application/json")


def reply_page(page: Page[T], item: Callable[[T], Mapping[str, Any]]) -> Response:
    """A page as every list has it."""
    items = [item(each) for each in page.items]
    return reply({"items": items, "next_cursor": page.next_cursor})


def utc(instant: datetime | None) -> datetime | None:
    """The instant in UTC."""
    return None if instant is None else instant.astimezone(UTC)
