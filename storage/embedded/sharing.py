"""Passing users of the servers: the command line beside a running server, or without one."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from storage.embedded import lock, record
from storage.embedded.kind import answers
from storage.embedded.lock import DataDirectoryInUse
from storage.embedded.places import make_data_dir
from storage.embedded.record import Record, Servers
from storage.embedded.supervisor import KINDS, EmbeddedServers, names_of

ALL = names_of(postgres=True, redis=True)
NONE: frozenset[str] = frozenset()
STEP_SECONDS = 0.05


def attach(data_dir: Path) -> Servers | None:
    """The servers another process owns and keeps for `data_dir`, if all of them answer."""
    found = record.read(data_dir.absolute())
    return found.urls(ALL) if found.has_owner and _answers(found) else None


@contextmanager
def attach_or_start(
    data_dir: Path, *, postgres: bool = True, redis: bool = True
) -> Iterator[Servers]:
    """The servers of `data_dir` for as long as the block runs, whoever runs them.

    With an owner they are the owner's: what it does not run is None. Without one, whoever comes
    first starts them, any number may share them, and the last to leave ends them. Raises what
    `start` raises.
    """
    folder = make_data_dir(data_dir)
    place = lock.share(folder)
    try:
        yield _find_or_start(folder, names_of(postgres=postgres, redis=redis))
    finally:
        os.close(place)
        _end_if_last(folder)


def _find_or_start(data_dir: Path, wanted: frozenset[str]) -> Servers:
    deadline = time.monotonic() + lock.PATIENCE_SECONDS
    while True:
        found = record.read(data_dir)
        if (found.has_owner or wanted <= found.servers.keys()) and _answers(found):
            return found.urls(wanted)
        try:
            return _start_ownerless(data_dir, wanted)
        except DataDirectoryInUse:  # its owner is still starting
            if time.monotonic() > deadline:
                raise
        time.sleep(STEP_SECONDS)


def _start_ownerless(data_dir: Path, wanted: frozenset[str]) -> Servers:
    servers = EmbeddedServers(data_dir, wanted, brief=True)
    servers.leave()
    return servers.servers


def _end_if_last(data_dir: Path) -> None:
    alone = lock.try_lock(data_dir / "users.lock")
    if alone is None:
        return
    try:
        with suppress(DataDirectoryInUse):
            EmbeddedServers(data_dir, NONE, brief=True).stop()
    finally:
        os.close(alone)


def _answers(found: Record) -> bool:
    """Whether there are recorded servers, and all of them live and serve."""
    known = [(kind, found.servers[kind.name]) for kind in KINDS if kind.name in found.servers]
    return bool(known) and all(answers(kind, running) for kind, running in known)
