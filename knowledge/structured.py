"""CSV and JSON to text that is split where it is cut anyway: at rows, and at values."""

import csv
import json
from collections.abc import Iterator
from io import StringIO
from typing import Any

from knowledge.tables import table_lines
from tenancy.errors import Invalid

MAX_DEPTH = 100
MAX_FIELD_CHARACTERS = 1_000_000
_SNIFFED = 20_000
_DELIMITERS = ",;\t|"


def read_csv(text: str) -> str:
    """The rows as a table, its first one the header; raises `Invalid`."""
    csv.field_size_limit(MAX_FIELD_CHARACTERS)  # of the whole process: there is no other
    try:
        dialect = csv.Sniffer().sniff(text[:_SNIFFED], _DELIMITERS)
    except csv.Error:
        dialect = csv.excel  # one column has no delimiter
    try:
        return "\n".join(table_lines(csv.reader(StringIO(text), dialect)))
    except csv.Error as broken:
        raise Invalid("file", f"is no CSV that can be read: {broken}") from None


def read_json(text: str) -> str:
    """A line for each value, named by the way to it: `orders[0].total: 5`; raises `Invalid`."""
    try:
        return "\n".join(_values(json.loads(text), "", 0))
    except ValueError:
        return "\n".join(_lines(text))
    except RecursionError:
        raise Invalid("file", f"is nested more than {MAX_DEPTH} deep") from None


def _lines(text: str) -> Iterator[str]:
    """Of a file in which each line is a value of its own."""
    for number, line in enumerate(filter(str.strip, StringIO(text)), 1):
        try:
            yield from _values(json.loads(line), f"[{number}]", 0)
        except ValueError:
            raise Invalid("file", f"is not valid JSON in line {number}") from None


def _values(value: Any, way: str, depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH:
        raise RecursionError
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _values(inner, f"{way}.{name}" if way else name, depth + 1)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _values(inner, f"{way}[{place}]", depth + 1)
    elif value is not None:
        said = str(value).lower() if isinstance(value, bool) else str(value)
        yield f"{way}: {said}" if way else said
