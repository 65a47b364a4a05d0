"""The statements of `sql/*.sql`, as typed constants."""

import re
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
def load(file: str = "queries") -> dict[str, Query | Call]:
    """Every named statement of a file."""
    text = (SQL / f"{file}.sql").read_text(encoding="utf-8")
    headers = list(_HEADER.finditer(text))
    ends = [header.start() for header in headers[1:]] + [len(text)]
    kinds: dict[str, type[Query] | type[Call]] = {"call": Call, "query": Query}
    return {
        header[2]: kinds[header[1]](
            header[2], text[header.end() : end].strip().encode(), header[3].rstrip(".")
        )
        for header, end in zip(headers, ends, strict=True)
    }


def query(name: str, file: str = "queries") -> Query:
    """The query called `name`."""
    found = load(file)[name]
    if not isinstance(found, Query):
        raise TypeError(f"{name} is a call: use cell.call")
    return found


def call(name: str) -> Call:
    """The tenant function call called `name`."""
    found = load()[name]
    if not isinstance(found, Call):
        raise TypeError(f"{name} is a query: use cell.as_tenant")
    return found
