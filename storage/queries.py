"""The statements of `sql/`, as typed constants: `queries` of the app role, `platform`, `admin`.

Each is named and described in one line. A *call* runs one tenant function, whose first argument is
the tenant entered: one round trip. A *query* runs inside `cell.as_tenant(...)`, which has set the
tenant, or on a control connection.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SQL = Path(__file__).parent / "sql"
_HEADER = re.compile(r"^-- (call|query): (\w+)\n-- (.+)\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Query:
    """A statement for a connection whose tenant is already set."""

    name: str
    sql: bytes
    about: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """A statement that runs one tenant function: it sets the tenant itself, as its first act."""

    name: str
    sql: bytes
    about: str = ""


@cache
def load(role: str = "queries") -> dict[str, Query | Call]:
    """Every named statement of a role: of its file, or of the files of its folder."""
    paths = sorted((SQL / role).glob("*.sql")) or [SQL / f"{role}.sql"]
    named = [each for path in paths for each in _statements(path.read_text(encoding="utf-8"))]
    found = {each.name: each for each in named}
    if len(found) < len(named):
        raise ValueError(f"two statements of {role} have one name")
    return found


def _statements(text: str) -> Iterator[Query | Call]:
    kinds: dict[str, type[Query] | type[Call]] = {"call": Call, "query": Query}
    headers = list(_HEADER.finditer(text))
    ends = [header.start() for header in headers[1:]] + [len(text)]
    for header, end in zip(headers, ends, strict=True):
        sql = text[header.end() : end].strip().encode()
        yield kinds[header[1]](header[2], sql, header[3].rstrip("."))


def query(name: str, role: str = "queries") -> Query:
    """The query called `name`."""
    found = load(role)[name]
    if not isinstance(found, Query):
        raise TypeError(f"{name} is a call: use cell.call")
    return found


def call(name: str) -> Call:
    """The tenant function call called `name`."""
    found = load()[name]
    if not isinstance(found, Call):
        raise TypeError(f"{name} is a query: use cell.as_tenant")
    return found
