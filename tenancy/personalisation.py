"""How an assistant speaks: what is said of it in several places, and what of that holds."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tenancy.errors import Invalid, Refusal
from tenancy.said import (
    Parse,
    glossary_terms,
    line_up_to,
    lines_up_to,
    one_of,
    temperature,
    text_up_to,
)
from tenancy.search_setting import SearchSetting, parse_search

MAX_POLICIES = 20
MAX_POLICY_CHARACTERS = 300
MAX_TOOLS = 64
MAX_NAME_CHARACTERS = 128  # of a model or tool
MAX_CHARACTERS = 16_000  # of all that one source says: every prompt carries it
LENGTHS = ("short", "medium", "long")


class Source(StrEnum):
    """Who says something, in rising precedence."""

    PLATFORM = "platform"
    PLAN = "plan"
    TENANT = "tenant"
    ASSISTANT = "assistant"
    USER = "user"
    REQUEST = "request"


class Combine(StrEnum):
    """What becomes of a field that several sources speak of."""

    LAST = "last"  # the highest source that speaks
    ADDED = "added"  # all of it: no source takes back what another said
    MERGED = "merged"  # key by key, the highest source that speaks


@dataclass(frozen=True, slots=True)
class Rule:
    """A field: how its value is read, who may say it, and how several are combined."""

    parse: Parse
    sources: tuple[Source, ...]
    combine: Combine = Combine.LAST


@dataclass(frozen=True, slots=True)
class Layer:
    """What one source says, by field."""

    source: Source
    says: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Value:
    """A field as one source says it."""

    field: str
    value: Any
    source: Source


@dataclass(frozen=True, slots=True)
class Effective:
    """All that is said of one assistant, in rising precedence, and what of it holds."""

    values: tuple[Value, ...] = ()

    def of(self, name: str) -> list[Value]:
        """All that is said of a field, in rising precedence."""
        return [each for each in self.values if each.field == name]

    def last(self, name: str) -> Any:
        """What the highest source says of a field; None where none does."""
        return next((each.value for each in reversed(self.values) if each.field == name), None)

    def text(self, name: str) -> str:
        """The text that holds; '' where nobody says one."""
        return self.last(name) or ""

    def joined(self, layers: Iterable[Layer]) -> "Effective":
        """With what more sources say."""
        values = [*self.values, *resolve(layers).values]
        return Effective(tuple(sorted(values, key=lambda value: RANK[value.source])))

    @property
    def glossary(self) -> dict[str, str]:
        """The meaning of each term."""
        return self._merged("glossary")

    @property
    def policies(self) -> list[str]:
        """All policies, each once."""
        return [*dict.fromkeys(each for said in self.of("policies") for each in said.value)]

    def _merged(self, name: str) -> dict[str, Any]:
        return {key: value for each in self.of(name) for key, value in each.value.items()}

    def model(self, allows: Callable[[str], bool]) -> str | None:
        """The model of the highest source that names one which the plan allows."""
        named = [each.value for each in self.of("model") if allows(each.value)]
        return named[-1] if named else None

    def allows_tool(self, name: str) -> bool:
        """Whether the assistant uses the tool: every one, unless it names those it does."""
        named = self.last("tools")
        return named is None or name in named

    @property
    def search(self) -> SearchSetting:
        """How passages are looked up."""
        return SearchSetting.of(self._merged("search"))

    def holding(self, allows_model: Callable[[str], bool]) -> Iterator[Value]:
        """What holds, by field; a field that is combined is there once for each source."""
        for name, rule in FIELDS.items():
            said = self.of(name)
            if name == "model":
                said = [each for each in said if allows_model(each.value)]
            if rule.combine is Combine.LAST:
                yield from said[-1:]
            elif rule.combine is Combine.ADDED:
                yield from said
            else:
                yield from _unmasked(said)


def resolve(layers: Iterable[Layer]) -> Effective:
    """What several sources say together, in whatever order they come.

    A field that its source may not set, or whose value cannot be read, is not said.
    """
    ranked = sorted(layers, key=lambda layer: RANK[layer.source])
    sound_ones = [(layer.source, sound(layer.source, layer.says)) for layer in ranked]
    return Effective(
        tuple(Value(n, v, source) for source, says in sound_ones for n, v in says.items())
    )


def parse_said(source: Source, said: Mapping[str, object]) -> dict[str, Any]:
    """What a source says, as stored: null and what is empty are left out; raises `Invalid`."""
    parsed = {name: parse_value(source, name, value) for name, value in said.items()}
    kept = {name: value for name, value in parsed.items() if value is not None}
    if sum(map(_size, kept.values())) > MAX_CHARACTERS:
        raise Invalid(max(kept, key=lambda name: _size(kept[name])), TOO_LONG)
    return kept


def parse_value(source: Source, name: str, value: object) -> Any:
    """One field as stored, or None for what says nothing; raises `Invalid`."""
    rule = FIELDS.get(name)
    if rule is None or source not in rule.sources:
        known = [each for each, rule in FIELDS.items() if source in rule.sources]
        raise Invalid(name, f"is nothing that is said here; one of {', '.join(known)}")
    if value is None or value == "":
        return None
    parsed = rule.parse(name, value)
    return None if parsed in ("", {}) or (parsed == [] and name != "tools") else parsed


def sound(source: Source, stored: Mapping[str, object]) -> dict[str, Any]:
    """What is stored, without what this program cannot read or the source may not say."""
    kept = {}
    for name, value in stored.items():
        try:
            parsed = parse_value(source, name, value)
        except Refusal:
            continue
        if parsed is not None:
            kept[name] = parsed
    return kept


def _unmasked(said: list[Value]) -> Iterator[Value]:
    """Each source with those of its keys that no higher one says too."""
    for position, each in enumerate(said):
        higher = {key for other in said[position + 1 :] for key in other.value}
        kept = {key: value for key, value in each.value.items() if key not in higher}
        if kept:
            yield Value(each.field, kept, each.source)


def _size(value: object) -> int:
    if isinstance(value, Mapping):
        return sum(_size(k) + _size(v) for k, v in value.items())
    return sum(map(_size, value)) if isinstance(value, list) else len(str(value))


EVERYBODY = tuple(Source)
TENANTS = (Source.PLATFORM, Source.PLAN, Source.TENANT)
ASSISTANTS = (*TENANTS, Source.ASSISTANT)
CONTEXT = ("page", "locale", "channel")  # where the user is, as the client says
RANK: Mapping[Source, int] = {source: rank for rank, source in enumerate(Source)}
TOO_LONG = f"is too long: all together must be at most {MAX_CHARACTERS} characters"
FIELDS: Mapping[str, Rule] = {
    "persona": Rule(line_up_to(500), ASSISTANTS),
    "tone": Rule(line_up_to(64), EVERYBODY),
    "language": Rule(line_up_to(64), EVERYBODY),
    "length": Rule(one_of(*LENGTHS), EVERYBODY),
    "instructions": Rule(text_up_to(4000), (*ASSISTANTS, Source.USER), Combine.ADDED),
    "policies": Rule(
        lines_up_to(MAX_POLICIES, MAX_POLICY_CHARACTERS, "sentences"), TENANTS, Combine.ADDED
    ),
    "glossary": Rule(glossary_terms, TENANTS, Combine.MERGED),
    "model": Rule(line_up_to(MAX_NAME_CHARACTERS), ASSISTANTS),
    "temperature": Rule(temperature, ASSISTANTS),
    "search": Rule(parse_search, ASSISTANTS, Combine.MERGED),
    "tools": Rule(lines_up_to(MAX_TOOLS, MAX_NAME_CHARACTERS, "names"), (Source.ASSISTANT,)),
    "page": Rule(line_up_to(512), (Source.REQUEST,)),
    "locale": Rule(line_up_to(35), (Source.REQUEST,)),
    "channel": Rule(line_up_to(32), (Source.REQUEST,)),
}
