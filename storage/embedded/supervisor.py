"""The owner of a data directory's servers."""

import os
from pathlib import Path
from typing import Self

from storage.embedded import lock, record
from storage.embedded.kind import Kind, answers, await_ready, dismiss, launch
from storage.embedded.places import Place, make_data_dir, remove, settle
from storage.embedded.postgres import Postgres
from storage.embedded.processes import started
from storage.embedded.record import Record, Running, Servers
from storage.embedded.redis import Redis

KINDS: tuple[Kind, ...] = (Postgres(), Redis())


class EmbeddedServers:
    """The servers of one data directory, from `start()` to `stop()`."""

    def __init__(self, data_dir: Path, wanted: frozenset[str], *, brief: bool = False) -> None:
        self._data_dir = data_dir
        self._wanted = wanted
        self._lock: int | None = lock.own(data_dir, brief=brief)
        self._running: dict[str, Running] = {}
        try:
            self._bring_up()
        except BaseException:
            self.stop()
            raise

    @property
    def servers(self) -> Servers:
        """How to reach those that were wanted."""
        return Record(self._running).urls(self._wanted)

    def stop(self) -> None:
        """End every server of the data directory and give the directory up; safe to repeat."""
        if self._lock is not None:
            self._end_all()
            self._give_up()

    def erase(self) -> None:
        """End the servers, and remove all they kept, wherever that is."""
        if self._lock is not None:
            self._end_all()
            remove(settle(self._data_dir))
            self._give_up()

    def leave(self) -> None:
        """Give the directory up with its servers running: the next owner adopts them."""
        record.write(self._data_dir, Record(self._running))
        self._give_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _bring_up(self) -> None:
        place = settle(self._data_dir)
        known = record.read(self._data_dir).servers
        fresh = [kind for kind in KINDS if self._must_launch(kind, place, known.get(kind.name))]
        for kind in fresh:
            self._running[kind.name] = launch(kind, place)
        self._write_record()
        for kind in fresh:
            await_ready(kind, place, self._running[kind.name])

    def _must_launch(self, kind: Kind, place: Place, known: Running | None) -> bool:
        """Whether `kind` is wanted and cannot be adopted; what lives unwanted is kept as it is."""
        wanted = kind.name in self._wanted
        if known is None:
            return wanted
        if _can_adopt(kind, place, known) if wanted else known.is_alive:
            self._running[kind.name] = known
            return False
        dismiss(kind, known)
        return wanted

    def _write_record(self) -> None:
        pid = os.getpid()
        record.write(self._data_dir, Record(self._running, pid, started(pid)))

    def _end_all(self) -> None:
        for kind in reversed(KINDS):
            if running := self._running.pop(kind.name, None):
                dismiss(kind, running)
        (self._data_dir / "run.json").unlink(missing_ok=True)

    def _give_up(self) -> None:
        if self._lock is not None:
            lock.disown(self._lock)
            self._lock = None


def _can_adopt(kind: Kind, place: Place, known: Running) -> bool:
    return known.version == kind.program(place).version and answers(kind, known)


def start(data_dir: Path, *, postgres: bool = True, redis: bool = True) -> EmbeddedServers:
    """Own `data_dir` and its servers until `stop()`: adopted when they run, started when not.

    Raises `DataDirectoryInUse` while another owner lives, `Misconfigured` when a server cannot
    start, `Unavailable` when one stays silent.
    """
    return EmbeddedServers(make_data_dir(data_dir), names_of(postgres=postgres, redis=redis))


def names_of(*, postgres: bool, redis: bool) -> frozenset[str]:
    """The names of the servers that are wanted."""
    return frozenset(name for name, wanted in (("postgres", postgres), ("redis", redis)) if wanted)
