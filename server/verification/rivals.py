"""The throw-away tenants, and the words by which each is recognised."""

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import quote

from tenancy.ids import TenantId

CANARY_DIGITS = 20


@dataclass(frozen=True)
class Rival:
    """One throw-away tenant. `ids` are those of its own things, by the name of the field."""

    tenant_id: TenantId
    secret: str = field(repr=False)
    key: str = field(repr=False)
    ids: dict[str, str] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)

    def canary(self, place: str) -> str:
        """The word that this tenant alone has, in this place alone."""
        digest = hashlib.sha256(f"{self.secret}/{self.tenant_id}/{place}".encode()).hexdigest()
        return self.places.setdefault(place, f"cn{digest[:CANARY_DIGITS]}")


@dataclass(frozen=True, slots=True)
class Finding:
    """What should not have been: where, and what."""

    where: str
    what: str


class Observer:
    """Searches what a tenant observes for the canaries of the other."""

    def __init__(self, rivals: tuple[Rival, Rival]) -> None:
        self.rivals = rivals
        self.findings: list[Finding] = []
        self.observations = 0

    def other(self, rival: Rival) -> Rival:
        """The neighbour of `rival`."""
        one, two = self.rivals
        return two if rival is one else one

    def saw(self, rival: Rival, where: str, data: bytes | str) -> None:
        """Look through what `rival` was shown."""
        self.observations += 1
        text = data.encode() if isinstance(data, str) else data
        for place, word in canaries_in(text, self.other(rival)):
            self.found(where, f"{rival.tenant_id} saw {word} of its neighbour's {place}")

    def found(self, where: str, what: str) -> None:
        """Take down that something should not have been."""
        finding = Finding(where, what)
        if finding not in self.findings:
            self.findings.append(finding)


def canaries_in(data: bytes, rival: Rival) -> Iterator[tuple[str, str]]:
    """Where in `data` a canary of `rival` is, in whatever spelling: (place, spelling)."""
    lowered = data.lower()
    for place, canary in [*rival.places.items(), ("name", rival.tenant_id)]:
        for spelling, pattern, folds in _spellings(canary):
            if pattern in (lowered if folds else data):
                yield place, spelling
                break


def _spellings(word: str) -> list[tuple[str, bytes, bool]]:
    """A word as it may be written: (how, the bytes, whether case is no matter)."""
    plain = word.encode()
    escaped = "".join(f"%{byte:02x}" for byte in plain).encode()
    return [
        ("a word", plain, True),
        ("the hexadecimal digits", plain.hex().encode(), True),
        ("the URL encoding", quote(word, safe="").lower().encode(), True),
        ("the URL encoding", escaped, True),
        *(("the base64", piece, False) for piece in _base64(plain)),
    ]


def _base64(plain: bytes) -> Iterator[bytes]:
    """The parts of base64 that depend on the word alone, for each of the three alignments."""
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + plain)
        start = -(-8 * before // 6)
        end = (8 * (before + len(plain))) // 6
        for spelling in (whole, base64.urlsafe_b64encode(b"\0" * before + plain)):
            yield spelling[start:end]


@dataclass(frozen=True)
class Masked:
    """An answer without what may differ between two asks for the same thing."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    VOLATILE = re.compile(
        rb'"(created_at|updated_at|finished_at|resets_at|run_id|document_id|event_id)":"[^"]*"'
    )

    @cached_property
    def plain(self) -> tuple[object, ...]:
        """What is compared: volatile times, ids and counters are left out."""
        named = {k.lower(): v for k, v in self.headers.items()}
        named.pop("date", None)
        named = {k: re.sub(r"\d+", "n", v) if "limit" in k else v for k, v in named.items()}
        return self.status, tuple(sorted(named.items())), self.VOLATILE.sub(rb'"\1":""', self.body)
