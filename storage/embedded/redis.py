"""Redis: its configuration and its readiness, spoken without a client library."""

import socket
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL, SIGTERM
from urllib.parse import urlsplit

from storage.embedded.binaries import REDIS, Program, locate
from storage.embedded.files import make_password, private_folder, read_password, write_private
from storage.embedded.kind import NotReady, Plan
from storage.embedded.places import Place

SETTINGS = {
    "port": "0",
    "unixsocketperm": "700",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "maxmemory-policy": "noeviction",
    "set-proc-title": "no",  # the arguments stay readable: it is recognised by them
    "daemonize": "no",
}


class Redis:
    """The embedded Redis."""

    name = "redis"
    signals = (SIGTERM, SIGKILL)

    def program(self, place: Place) -> Program:
        return locate(REDIS, place.account)

    def marker(self, place: Place) -> Path:
        return place.home / "redis" / "redis.conf"

    def noted_pid(self, place: Place) -> int | None:
        with suppress(FileNotFoundError, ValueError):
            return int((place.home / "redis" / "redis.pid").read_text())
        return None

    def arrange(self, place: Place, program: Program, hold: int) -> None:
        private_folder(place.home / "redis", place.account)
        if read_password(place.data_dir, "redis") is None:
            make_password(place.data_dir, "redis")

    def plan(self, place: Place, program: Program, folder: Path) -> Plan:
        password = read_password(place.data_dir, "redis")
        settings = SETTINGS | {
            "dir": str(place.home / "redis"),
            "pidfile": str(place.home / "redis" / "redis.pid"),
            "unixsocket": str(folder / "redis.sock"),
            "requirepass": str(password),
        }
        lines = [f"{key} {_quoted(value)}\n" for key, value in settings.items()]
        write_private(self.marker(place), "".join(lines), place.account)
        return Plan(
            [str(program.folder / "redis-server"), str(self.marker(place))],
            f"unix://:{password}@{folder}/redis.sock",
        )

    def probe(self, url: str) -> None:
        address = urlsplit(url)
        try:
            answer = _ask(address.path, f"AUTH {address.password}\r\nPING\r\n")
        except OSError as error:
            raise NotReady(str(error)) from None
        if answer != ["+OK", "+PONG"]:
            raise NotReady(" ".join(answer), recovering="-LOADING" in " ".join(answer))


def _ask(path: str, commands: str) -> list[str]:
    """One line of answer for each line of `commands`."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2)
        connection.connect(path)
        connection.sendall(commands.encode())
        with connection.makefile("r") as answers:
            return [answers.readline().strip() for _ in commands.splitlines()]


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
