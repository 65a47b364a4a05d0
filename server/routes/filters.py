"""Which documents a search looks into, as a client says it."""

from typing import Annotated, Any

from pydantic import (
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from server.routes.wire import Body, JsonUUID, Text
from tenancy.filter_form import (
    FORMS,
    MAX_DOCUMENTS,
    MAX_MEDIA_TYPE_CHARACTERS,
    MAX_MEDIA_TYPES,
    MAX_VALUES,
    parse_filter,
)
from tenancy.search_filter import MAX_METADATA, MAX_NAME_CHARACTERS, SearchFilter

JsonScalar = Text | StrictBool | StrictInt | StrictFloat
Name = Annotated[Text, Field(min_length=1, max_length=MAX_NAME_CHARACTERS)]
MediaType = Annotated[Text, Field(max_length=MAX_MEDIA_TYPE_CHARACTERS)]
Instant = Annotated[Text, Field(json_schema_extra={"format": "date-time"})]


class In(Body):
    """One of some values."""

    in_: Annotated[list[JsonScalar], Field(alias="in", min_length=1, max_length=MAX_VALUES)]


class Exists(Body):
    """Whether there is a value."""

    exists: bool


def _one_reason(value: Any, parse: ValidatorFunctionWrapHandler) -> Any:
    """One reason for what is none of the forms, not one for each of them."""
    try:
        return parse(value)
    except ValidationError:
        raise PydanticCustomError("condition", FORMS) from None


Wanted = Annotated[JsonScalar | In | Exists, WrapValidator(_one_reason)]


class FilterBody(Body):
    """All that is given must hold."""

    document_ids: (
        Annotated[list[JsonUUID], Field(min_length=1, max_length=MAX_DOCUMENTS)] | None
    ) = None
    media_types: (
        Annotated[list[MediaType], Field(min_length=1, max_length=MAX_MEDIA_TYPES)] | None
    ) = None
    created_from: Instant | None = None
    created_before: Instant | None = None
    metadata: Annotated[dict[Name, Wanted], Field(max_length=MAX_METADATA)] | None = None

    def parsed(self) -> SearchFilter:
        """As the search takes it; raises `Invalid`."""
        return parse_filter(self.model_dump(mode="json", by_alias=True))
