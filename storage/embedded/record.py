"""`run.json`: what runs for a data directory, for whoever comes by."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from storage.embedded.files import write_private
from storage.embedded.processes import started

NAMES = ("postgres", "redis")


@dataclass(frozen=True, slots=True)
class Servers:
    """What runs for a data directory; None is not run. Each URL carries a password."""

    postgres_url: str | None
    redis_url: str | None
    postgres_tcp_url: str | None = None

    def __repr__(self) -> str:
        return "Servers(…)"


@dataclass(frozen=True, slots=True)
class Running:
    """A server process: enough to recognise it, reach it and end it."""

    pid: int
    started: str
    version: str
    folder: str
    url: str
    tcp_url: str | None = None

    @property
    def is_alive(self) -> bool:
        """Whether this very process lives, not one that got its pid later."""
        return started(self.pid) == self.started

    def __repr__(self) -> str:
        return f"Running({self.pid})"


@dataclass(frozen=True, slots=True)
class Record:
    """The servers by name, and the process that will stop them, if one will."""

    servers: dict[str, Running]
    owner_pid: int = 0
    owner_started: str | None = None

    @property
    def has_owner(self) -> bool:
        """Whether the owner lives."""
        return self.owner_started is not None and started(self.owner_pid) == self.owner_started

    def urls(self, wanted: frozenset[str]) -> Servers:
        """How to reach those that are wanted."""
        postgres = self.servers.get("postgres") if "postgres" in wanted else None
        redis = self.servers.get("redis") if "redis" in wanted else None
        return Servers(
            postgres.url if postgres else None,
            redis.url if redis else None,
            postgres.tcp_url if postgres else None,
        )


def write(data_dir: Path, record: Record) -> None:
    """Replace the record of `data_dir`."""
    flat: dict[str, object] = {
        "owner_pid": record.owner_pid,
        "owner_started": record.owner_started,
    }
    for name, running in record.servers.items():
        flat |= {f"{name}_{key}": value for key, value in asdict(running).items()}
    write_private(data_dir / "run.json", json.dumps(flat, indent=1))


def read(data_dir: Path) -> Record:
    """The last record of `data_dir`: who is in it may be long dead."""
    try:
        flat = json.loads((data_dir / "run.json").read_bytes())
        known = {name: _running(name, flat) for name in NAMES if f"{name}_pid" in flat}
        return Record(known, flat["owner_pid"], flat["owner_started"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return Record({})


def _running(name: str, flat: dict[str, Any]) -> Running:
    return Running(**{field.name: flat[f"{name}_{field.name}"] for field in fields(Running)})
