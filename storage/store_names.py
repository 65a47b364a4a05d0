"""Names in a store: two roots, whoever asks, and below them what fits into an index."""

from dataclasses import dataclass

from langgraph.store.base import InvalidNamespaceError

from tenancy.errors import Invalid
from tenancy.ids import SubjectId

PERSON, TENANT = "person", "tenant"
OF_TENANT = ""  # the owner of what is the tenant's own: no subject is called so
MAX_NAME_BYTES = 1000  # of a namespace and key: an index entry holds 2,700
WRONG_ROOT = f"A namespace begins with {PERSON!r}, the caller's own, or {TENANT!r}."

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """A namespace as it is kept: whose it is, and the labels below its root."""

    owner: str
    labels: Labels


def place_of(namespace: Labels, subject_id: SubjectId) -> Place:
    """Where a namespace is kept; raises `InvalidNamespaceError` for any root but the two."""
    if namespace[:1] == (PERSON,):
        return Place(subject_id, namespace[1:])
    if namespace[:1] == (TENANT,):
        return Place(OF_TENANT, namespace[1:])
    raise InvalidNamespaceError(WRONG_ROOT)


def namespace_of(place: Place) -> Labels:
    """The namespace by which a caller knows a place that it may see."""
    return (TENANT if place.owner == OF_TENANT else PERSON, *place.labels)


def owners_below(prefix: Labels, subject_id: SubjectId) -> tuple[list[str], Labels]:
    """Whose things a search looks at, and below which labels: with no prefix all of both roots."""
    if not prefix:
        return [subject_id, OF_TENANT], ()
    place = place_of(prefix, subject_id)
    return [place.owner], place.labels


def require_fitting(place: Place, key: str) -> None:
    """Raise `Invalid` for a name that no index entry holds."""
    size = sum(len(each.encode("utf-8", "replace")) for each in (*place.labels, key))
    if not key or size > MAX_NAME_BYTES:
        raise Invalid("key", f"namespace and key must have 1 to {MAX_NAME_BYTES:,} bytes together")
