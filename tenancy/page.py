"""Lists are read a page at a time, from an opaque cursor on."""

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar
from uuid import UUID

from tenancy.errors import Invalid

T = TypeVar("T")

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
BEGINNING = datetime.min.replace(tzinfo=UTC)  # the time in a cursor of what has none


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last item of the page before: its time and id."""

    time: datetime
    id: UUID

    def encode(self) -> str:
        """The cursor as a client carries it."""
        text = f"{self.time.isoformat()}/{self.id}"
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def parse_cursor(text: str | None) -> Cursor | None:
    """The cursor a client sent; raises `Invalid` for one we never gave out."""
    if text is None:
        return None
    try:
        plain = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        time, _, id_ = plain.decode().partition("/")
        cursor = Cursor(datetime.fromisoformat(time), UUID(id_))
    except (ValueError, binascii.Error):
        raise Invalid("cursor", "is not a cursor of this list") from None
    if cursor.time.tzinfo is None:
        raise Invalid("cursor", "is not a cursor of this list")
    return cursor


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items, and where the next ones begin."""

    items: Sequence[T]
    next_cursor: str | None


def page_of(items: Sequence[T], limit: int, cursor_of: Callable[[T], Cursor]) -> Page[T]:
    """The first `limit` of `items`, of which one more than `limit` was asked for."""
    if len(items) <= limit:
        return Page(items, None)
    return Page(items[:limit], cursor_of(items[limit - 1]).encode())
