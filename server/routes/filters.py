"""Which documents a search looks into, as a client says it."""

from typing import Annotated, Any

from pydantic import (
    AwareDatetime,
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
from tenancy.ids import DocumentId
from tenancy.search_filter import (
    MAX_METADATA,
    MAX_NAME_CHARACTERS,
    Condition,
    SearchFilter,
    check_scalar,
)

MAX_DOCUMENTS = 100
MAX_MEDIA_TYPES = 20
MAX_VALUES = 50
FORMS = f'must be text, a number, true, false, {{"in": [1 to {MAX_VALUES}]}} or {{"exists": true}}'

JsonScalar = Text | StrictBool | StrictInt | StrictFloat
Name = Annotated[Text, Field(min_length=1, max_length=MAX_NAME_CHARACTERS)]
MediaType = Annotated[Text, Field(max_length=200)]
Instant = Annotated[AwareDatetime, Field(strict=False)]


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
    metadata: Annotated[dict[Name, Wanted], Field(max_length=MAX_METADATA)] = Field(
        default_factory=dict
    )

    def parsed(self) -> SearchFilter:
        """As the search takes it; raises `Invalid`."""
        ids = self.document_ids
        return SearchFilter(
            document_ids=None if ids is None else [DocumentId(each) for each in ids],
            media_types=self.media_types,
            created_from=self.created_from,
            created_before=self.created_before,
            metadata=[_condition(name, wanted) for name, wanted in self.metadata.items()],
        )


def _condition(name: str, wanted: JsonScalar | In | Exists) -> Condition:
    if isinstance(wanted, Exists):
        return Condition(name, present=wanted.exists)
    values = wanted.in_ if isinstance(wanted, In) else [wanted]
    for value in values:
        check_scalar(value, f"filter.metadata.{name}")
    return Condition(name, any_of=values)
