"""The owner of a data directory's servers."""

import os
from collections.abc import Mapping, Sequence
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
        known = record.read(self._data_dir).servers
        self._keep([kind for kind in KINDS if kind.name not in self._wanted], known)
        if self._wanted:
            self._adopt_or_launch([kind for kind in KINDS if kind.name in self._wanted], known)

    def _keep(self, unwanted: Sequence[Kind], known: Mapping[str, Running]) -> None:
        """Leave what lives as it is: another user may need it. It ends with the others."""
        for kind in unwanted:
            if (running := known.get(kind.name)) is None:
                continue
            if running.is_alive:
                self._running[kind.name] = running
            else:
                dismiss(kind, running)

    def _adopt_or_launch(self, wanted: Sequence[Kind], known: Mapping[str, Running]) -> None:
        place = settle(self._data_dir)
        fresh = [kind for kind in wanted if not self._adopt(kind, place, known.get(kind.name))]
        for kind in fresh:
            self._running[kind.name] = launch(kind, place)
        self._write_record()
        for kind in fresh:
            await_ready(kind, place, self._running[kind.name])

    def _adopt(self, kind: Kind, place: Place, known: Running | None) -> bool:
        """Whether `known` is good enough to go on with; if not, it is ended."""
        if known is None:
            return False
        if known.version != kind.program(place).version or not answers(kind, known):
            dismiss(kind, known)
            return False
        self._running[kind.name] = known
        return True

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


def start(data_dir: Path, *, postgres: bool = True, redis: bool = True) -> EmbeddedServers:
    """Own `data_dir` and its servers until `stop()`: adopted when they run, started when not.

    Raises `DataDirectoryInUse` while another owner lives, `Misconfigured` when a server cannot
    start, `Unavailable` when one stays silent.
    """
    return EmbeddedServers(make_data_dir(data_dir), names_of(postgres=postgres, redis=redis))


def names_of(*, postgres: bool, redis: bool) -> frozenset[str]:
    """The names of the servers that are wanted."""
    return frozenset(name for name, wanted in (("postgres", postgres), ("redis", redis)) if wanted)
