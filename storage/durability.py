"""Which checkpoints of a run must be committed, and how held ones are merged into fewer rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from langgraph._internal._config import recast_checkpoint_ns
from langgraph.checkpoint.serde.types import TASKS
from langgraph.graph.state import CompiledStateGraph

from tenancy.durability import Durability

Rules = Mapping[str, Durability]

_NEXT, _JOIN = "branch:to:", "join:"


def durability_rules(
    graph: CompiledStateGraph[Any, Any, Any, Any],
    prefix: str = "",
    inherited: Durability = Durability.EFFECT,
) -> dict[str, Durability]:
    """What each node needs, by path: `{"retrieve": FREE, "research|plan": PAID}`.

    A subgraph inherits from the node it is. Raises `ValueError` for an unknown word.
    """
    rules: dict[str, Durability] = {}
    for name, node in graph.nodes.items():
        said = (node.metadata or {}).get("durability", inherited)
        kind = Durability.FREE if name == "__start__" else Durability(said)
        rules[prefix + name] = kind
        for subgraph in node.subgraphs:
            if isinstance(subgraph, CompiledStateGraph):
                rules |= durability_rules(subgraph, f"{prefix}{name}|", kind)
    return rules


def kind_of(rules: Rules, namespace: str, node: str) -> Durability:
    """What `node` needs; a subgraph called from inside a node is as durable as that node."""
    path = [*(recast_checkpoint_ns(namespace).split("|") if namespace else []), node]
    while path:
        if kind := rules.get("|".join(path)):
            return kind
        path.pop()
    return Durability.EFFECT


def must_commit(rules: Rules, namespace: str, checkpoint: Mapping[str, Any], *, paid: bool) -> bool:
    """Must this checkpoint be stored before the run goes on? Unsure means yes.

    `paid` tells that a paid or effect node wrote in the step that ends here.
    """
    values = checkpoint["channel_values"]
    if values.get(TASKS) or any(name.startswith(_JOIN) for name in values):
        return True  # a fan-out or fan-in: what runs next cannot be told
    following = [
        kind_of(rules, namespace, name.removeprefix(_NEXT))
        for name in values
        if name.startswith(_NEXT)
    ]
    if not following:
        return False  # the end, which the run's last commit carries
    if all(kind is Durability.CLOSING for kind in following):
        return False
    return paid or Durability.EFFECT in following


class Put(NamedTuple):
    """A checkpoint without the values that are blobs of their own.

    Blobs are `(channel, version, type, bytes)`, serialised when put: a node that mutates its
    state in place cannot change an earlier checkpoint.
    """

    parent: str | None
    checkpoint: dict[str, Any]
    metadata: Mapping[str, Any]
    blobs: list[tuple[str, str, str, bytes]]
    delta: bool


PutKey = tuple[str, str, str]  # thread, namespace, checkpoint
WriteKey = tuple[str, str, str, str, int]  # the same, task, index
Write = tuple[str, str, str, bytes]  # task path, channel, type, bytes


@dataclass(slots=True)
class Buffer:
    """What a run holds in memory until its next commit."""

    puts: dict[PutKey, Put] = field(default_factory=dict)
    writes: dict[WriteKey, Write] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.puts or self.writes)

    def holds(self, thread: str, namespace: str) -> bool:
        """Whether anything of this thread and namespace is still uncommitted."""
        keys = [*self.puts, *self.writes]
        return any(key[0] == thread and key[1] == namespace for key in keys)

    def add_write(self, key: WriteKey, write: Write) -> None:
        """The first of a task's own writes stays; of interrupts and errors (index < 0) the last."""
        if key[4] < 0 or key not in self.writes:
            self.writes[key] = write

    def followed_by(self, later: "Buffer") -> "Buffer":
        """This buffer again after its commit failed, with what came in meanwhile."""
        self.puts |= later.puts
        for key, write in later.writes.items():
            self.add_write(key, write)
        return self

    def rows(self, *, merge: bool) -> tuple[dict[str, Any], list[bytes]]:
        """Rows for `commit_turn` (`c`, `b`, `w`) and the bytes that they point at.

        Merging drops a checkpoint whose only descendant is in this very buffer: the descendant
        takes over its blobs and its parent. Writes of a checkpoint with a child here are spent.
        """
        merge = merge and not any(put.delta for put in self.puts.values())
        parents = {(t, ns, p.parent) for (t, ns, _), p in self.puts.items() if p.parent}
        merged = {key for key in self.puts if key in parents} if merge else set()
        pages = _Pages()
        for key, put in self.puts.items():
            if key not in merged:
                pages.add_checkpoint(key, put, self._ancestors(key, merged))
        for write_key, write in self.writes.items():
            if not (merge and write_key[:3] in parents):
                pages.add_write(write_key, write)
        return pages.rows(), pages.blobs

    def _ancestors(self, key: PutKey, merged: set[PutKey]) -> list[Put]:
        found, parent = [], self.puts[key].parent
        while parent and (above := (key[0], key[1], parent)) in merged:
            found.append(self.puts[above])
            parent = self.puts[above].parent
        return found


@dataclass(slots=True)
class _Pages:
    blobs: list[bytes] = field(default_factory=list)
    b: list[dict[str, Any]] = field(default_factory=list)
    w: list[dict[str, Any]] = field(default_factory=list)
    c: list[dict[str, Any]] = field(default_factory=list)

    def _blob(self, content: bytes) -> int:
        self.blobs.append(content)
        return len(self.blobs)  # SQL arrays start at 1

    def add_checkpoint(self, key: PutKey, put: Put, ancestors: list[Put]) -> None:
        thread, namespace, id_ = key
        versions = put.checkpoint["channel_versions"]
        for source in (put, *ancestors):
            for channel, version, type_, content in source.blobs:
                if source is put or versions.get(channel) == version:
                    self.b.append(
                        {"t": thread, "ns": namespace, "ch": channel, "v": version, "ty": type_}
                        | {"i": self._blob(content)}
                    )
        parent = ancestors[-1].parent if ancestors else put.parent
        self.c.append(
            {"t": thread, "ns": namespace, "id": id_, "parent": parent}
            | {"cp": put.checkpoint, "meta": put.metadata}
        )

    def add_write(self, key: WriteKey, write: Write) -> None:
        thread, namespace, id_, task, index = key
        path, channel, type_, content = write
        self.w.append(
            {"t": thread, "ns": namespace, "id": id_, "task": task, "idx": index}
            | {"path": path, "ch": channel, "ty": type_, "i": self._blob(content)}
        )

    def rows(self) -> dict[str, Any]:
        pages = (("b", self.b), ("w", self.w), ("c", self.c))
        return {name: rows for name, rows in pages if rows}
