"""What commands share: their options, their settings, and how they print."""

import datetime
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tenancy.errors import Invalid

if TYPE_CHECKING:
    from server.settings import Settings
    from server.stores import Stores
    from storage.control import Control

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Embedded servers and secrets (.tenantry).")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON value on standard output.")]
TenantName = Annotated[str, typer.Option("--tenant", help="The tenant.")]

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def settings_for(data_dir: Path | None, *, warn: bool = True, **overrides: object) -> "Settings":
    """The settings, after a warning for each variable that looks like one and is none."""
    from server.setting_names import unknown_settings
    from server.settings import load_settings

    for warning in unknown_settings() if warn else []:
        say(f"tenantry: {warning}")
    return load_settings(data_dir=data_dir, **overrides)


@contextmanager
def stores_for(
    data_dir: Path | None, *, makes_roles: bool = False
) -> Iterator[tuple["Settings", "Stores"]]:
    """The settings and stores of a command, beside a running server or without one."""
    settings = settings_for(data_dir)
    from server.stores import attached

    with attached(settings, makes_roles=makes_roles) as stores:
        yield settings, stores


@contextmanager
def control_for(data_dir: Path | None) -> Iterator["Control"]:
    """The control database of a command, in one transaction."""
    with stores_for(data_dir) as (_, stores):
        from storage.control import control

        with control(stores.owner()) as admin:
            yield admin


def say(text: str) -> None:
    """A line for a person, on standard error."""
    sys.stderr.write(f"{text}\n")


def show(value: Any, *, as_json: bool, columns: Sequence[str] = ()) -> None:
    """Print an object or a list: as JSON, or as a table of `columns`."""
    if as_json:
        typer.echo(json.dumps(value, default=_plain))
    elif isinstance(value, Mapping):
        for name, each in value.items():
            typer.echo(f"{name}: {_text(each)}")
    else:
        _table(value, columns)


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    lines = [list(columns), *([_text(row.get(name)) for name in columns] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, default=_plain) if value else ""
    return str(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")
    return value if isinstance(value, int | float | bool) else str(value)


def pairs(arguments: Sequence[str]) -> dict[str, str]:
    """`KEY=VALUE` arguments; raises `Invalid` for one that is not."""
    found: dict[str, str] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or not name:
            raise Invalid(argument, "is not KEY=VALUE")
        found[name] = value
    return found


def duration(text: str, option: str = "--ttl", *, least: int = 1) -> datetime.timedelta:
    """A duration such as `90s`, `15m`, `1h` or `7d`; raises `Invalid`."""
    number, unit = text[:-1], text[-1:]
    if unit not in UNITS or not number.isdecimal() or not least <= int(number) < 10**6:
        raise Invalid(option, "must be like 90s, 15m, 1h or 7d")
    return datetime.timedelta(seconds=int(number) * UNITS[unit])
