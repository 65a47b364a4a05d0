"""What a site lets crawlers fetch (robots.txt, RFC 9309).

The standard library's parser takes the first rule that fits and no wildcards; the standard wants
the longest, and `*` and `$` mean something.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

MAX_BYTES = 512 * 1024  # what crawlers read of one at least
MAX_RULES = 1_000  # for us: more than any site we know of has
MAX_CHARACTERS = 100_000  # of those rules: as many as a site with a thousand has
MAX_WILD_CHARACTERS = 20_000  # of those with stars: each may be looked for all along a path
_TOKEN = re.compile(r"\*|[A-Za-z_-]+")
_ENCODED = re.compile("%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")
_ASCII = "".join(chr(number) for number in range(0x21, 0x7F))


@dataclass(frozen=True, slots=True)
class Rule:
    """A path, cut at its stars; `ends` when nothing may follow it."""

    allows: bool
    parts: tuple[str, ...]
    ends: bool
    weight: int

    def fits(self, path: str) -> bool:
        """Whether it is about a path; its time grows with the path, and with the rule."""
        first, *rest = self.parts
        if not path.startswith(first):
            return False
        if not rest:
            return not self.ends or path == first
        at = len(first)
        for part in rest[:-1]:
            at = path.find(part, at) + len(part)
            if at < len(part):
                return False
        if self.ends:
            return path.endswith(rest[-1]) and len(path) - len(rest[-1]) >= at
        return path.find(rest[-1], at) >= 0


@dataclass(frozen=True, slots=True)
class Robots:
    """The rules of a site for one crawler."""

    rules: tuple[Rule, ...]

    def allow(self, url: str) -> bool:
        """Whether a page may be fetched: the longest rule that fits says so, else it may."""
        parts = urlsplit(url)
        path = _alike((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        found = [rule for rule in self.rules if rule.fits(path)]
        return max(found, key=lambda rule: (rule.weight, rule.allows)).allows if found else True


_CLOSED = Robots((Rule(False, ("/",), False, 1),))


def read_robots(data: bytes, crawler: str) -> Robots:
    """The rules for a crawler: those that name it, else those for all.

    More than anybody follows in time are followed by keeping out.
    """
    lines = list(_lines(data))
    named = list(_rules_for(lines, crawler.lower()))
    rules = (
        named if any(_names(line, crawler.lower()) for line in lines) else _rules_for(lines, "*")
    )
    found = tuple(dict.fromkeys(rules))
    return Robots(found) if _can_be_followed(found) else _CLOSED


def _can_be_followed(rules: Sequence[Rule]) -> bool:
    wild = sum(rule.weight for rule in rules if len(rule.parts) > 1)
    return (
        len(rules) <= MAX_RULES
        and sum(rule.weight for rule in rules) <= MAX_CHARACTERS
        and wild <= MAX_WILD_CHARACTERS
    )


def _lines(data: bytes) -> Iterator[tuple[str, str]]:
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    for line in re.split("[\r\n]+", text):
        key, colon, value = line.partition("#")[0].partition(":")
        if colon:
            yield key.strip().lower(), value.strip()


def _names(line: tuple[str, str], crawler: str) -> bool:
    token = _TOKEN.match(line[1])
    return line[0] == "user-agent" and token is not None and token.group().lower() == crawler


def _rules_for(lines: Iterable[tuple[str, str]], crawler: str) -> Iterator[Rule]:
    """Those of every group that names the crawler; a group may name several."""
    ours, naming = False, False
    for line in lines:
        if line[0] == "user-agent":
            ours = _names(line, crawler) or (naming and ours)
            naming = True
        elif line[0] in ("allow", "disallow"):
            naming = False
            if ours and line[1]:
                yield _rule(line[0] == "allow", line[1])


def _rule(allows: bool, value: str) -> Rule:
    path = _alike(value)
    parts = path.removesuffix("$").split("*")
    return Rule(allows, tuple(parts), path.endswith("$"), len(path))


def _alike(path: str) -> str:
    """The spelling that all spellings of a path have in common."""
    return _ENCODED.sub(_plain, quote(path, safe=_ASCII))


def _plain(found: re.Match[str]) -> str:
    character = chr(int(found[1], 16))
    return character if _UNRESERVED.match(character) else found[0].upper()
