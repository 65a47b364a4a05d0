"""Words that only one tenant has, and finding them in whatever form they get out."""

import base64
import json
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from string import ascii_lowercase
from urllib.parse import quote

MARK = "zqxjvk"  # so that all are found in one look
LETTERS = 10


@dataclass(frozen=True, slots=True)
class Sighting:
    """A canary where it was seen."""

    where: str
    seen_by: str
    of: str
    form: str


def canary(dice: random.Random) -> str:
    """A word that no text has by chance; its one foreign letter makes URLs quote it."""
    letters = dice.choices(ascii_lowercase, k=LETTERS)
    return "".join((MARK, *letters[: LETTERS // 2], "é", *letters[LETTERS // 2 :]))


def forms(word: str) -> dict[str, bytes]:
    """The word as it may stand in bytes; in lower case but for base64, which has its cases."""
    raw = word.encode()
    return {
        "raw": raw,
        "json": json.dumps(word).strip('"').encode(),
        "hex": raw.hex().encode(),
        "url": quote(word).lower().encode(),
        "url, every byte": "".join(f"%{byte:02x}" for byte in raw).encode(),
        **{f"base64 {at}": _base64(raw, at) for at in range(3)},
        **{f"base64url {at}": _base64(raw, at, b"-_") for at in range(3)},
    }


def _base64(raw: bytes, at: int, altchars: bytes = b"+/") -> bytes:
    """What is the same in every text that has the word `at` bytes after a multiple of three."""
    whole = len(raw) - (-at % 3)
    inner = raw[-at % 3 :][: whole - whole % 3]
    return base64.b64encode(inner, altchars)


class Aviary:
    """The canaries of all tenants."""

    def __init__(self, tenants: Iterable[str], dice: random.Random) -> None:
        self.words = {tenant: canary(dice) for tenant in tenants}
        self._owners: dict[str, dict[bytes, str]] = {}
        for tenant, word in self.words.items():
            for form, shape in forms(word).items():
                self._owners.setdefault(form, {})[shape] = tenant

    def seen(self, where: str, by: str, text: bytes) -> Iterator[Sighting]:
        """Every canary in `text`, one's own among them, once a form."""
        lower = text.lower()
        for form, owners in self._owners.items():
            found = _owners_in(text if form.startswith("base64") else lower, owners)
            for tenant in found:
                yield Sighting(where, by, tenant, form)


def _owners_in(text: bytes, owners: Mapping[bytes, str]) -> set[str]:
    first, last = min(owners), max(owners)
    common = first[: next((n for n in range(len(first)) if first[n] != last[n]), len(first))]
    found, at = set(), text.find(common)
    while at >= 0:
        found.add(owners.get(text[at : at + len(first)]))
        at = text.find(common, at + 1)
    return {tenant for tenant in found if tenant is not None}
