"""An assistant: what a tenant, or the deployment for all of them, made of the agent."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tenancy.errors import Conflict, Invalid
from tenancy.ids import AssistantId
from tenancy.personalisation import Source, parse_said
from tenancy.text import is_carriable

DEFAULT = "default"
DRAFT = "@draft"
NO_ASSISTANT = "No such assistant."
MAX_ASSISTANTS = 200  # of one tenant: a list that people read
MAX_VERSIONS = 1000  # of one assistant
MAX_UNIVERSAL = 100  # that every tenant sees: every process knows them by heart
MAX_TITLE_CHARACTERS = 200
MAX_DESCRIPTION_CHARACTERS = 1000
SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
DESCRIBED = {"name": MAX_TITLE_CHARACTERS, "description": MAX_DESCRIPTION_CHARACTERS}

Content = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Assistant:
    """A tenant's assistant: its draft, and the version in use with its content, if there is one."""

    assistant_id: AssistantId
    slug: str
    draft: Content
    published: int | None
    content: Content | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Version:
    """What was published once, and by whom."""

    version: int
    content: Content
    subject: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Chosen:
    """The assistant of a run; `version` is None for a draft and for the default one."""

    name: str = DEFAULT
    version: int | None = None
    content: Content = field(default_factory=dict)

    @property
    def is_default(self) -> bool:
        """Whether it is the one that nobody made."""
        return self.name == DEFAULT

    def mention(self) -> dict[str, Any]:
        """The part of an answer or a run that names it; empty for the default one."""
        if self.is_default:
            return {}
        return {"assistant": {"assistant": self.name, "version": self.version}}


@dataclass(frozen=True, slots=True)
class Wanted:
    """The assistant a run asks for, by id or slug.

    One that `goes_on` answers an interrupt: with the assistant that asked, a draft if it may.
    `universal` are those that every tenant sees, of which it may be one.
    """

    name: str = DEFAULT
    draft: bool = False
    goes_on: bool = False
    universal: Mapping[str, Chosen] = field(default_factory=dict)


WHOEVER = Wanted()


@dataclass(frozen=True, slots=True)
class Speaking:
    """The assistant that speaks in a run, and what its user prefers."""

    chosen: Chosen = field(default_factory=Chosen)
    preferences: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """A field that differs between two versions; None where one does not say it."""

    field: str
    before: Any
    after: Any


def is_name(text: str) -> bool:
    """Whether an assistant may have `text` as its id or slug."""
    return SLUG.fullmatch(text) is not None


def parse_slug(text: str) -> str:
    """The name by which a chat asks for an assistant; raises `Invalid`."""
    if not SLUG.fullmatch(text) or text == DEFAULT:
        raise Invalid("slug", "must be a-z, 0-9, - and _, at most 63, and not default")
    return text


def parse_content(said: Mapping[str, object]) -> dict[str, Any]:
    """What an assistant is, as stored; null is left out; raises `Invalid`."""
    described = {name: _described(name, said[name]) for name in DESCRIBED if said.get(name)}
    speaks = {name: value for name, value in said.items() if name not in DESCRIBED}
    return {**described, **parse_said(Source.ASSISTANT, speaks)}


def speech(content: Content) -> dict[str, Any]:
    """How an assistant speaks: its content without what only people read."""
    return {name: value for name, value in content.items() if name not in DESCRIBED}


def require_tools(content: Content, tools: Collection[str]) -> None:
    """Raise `Invalid` for a tool that the tenant's plan does not include."""
    for name in content.get("tools", []):
        if name not in tools:
            raise Invalid("tools", f"names {name}, which is not among the tools of the plan")


def require_version(version: int | None) -> int:
    """The version that was stored; raises `Conflict` where there was no room for it."""
    if version is None:
        raise Conflict(f"There are at most {MAX_UNIVERSAL} assistants that every tenant sees.")
    return version


def changes(before: Content, after: Content) -> list[Change]:
    """What differs between two versions, by field."""
    names = sorted({*before, *after})
    found = [Change(name, before.get(name), after.get(name)) for name in names]
    return [each for each in found if each.before != each.after]


def _described(name: str, value: object) -> str:
    most = DESCRIBED[name]
    if not isinstance(value, str) or len(value) > most or not is_carriable(value):
        raise Invalid(name, f"must be at most {most} characters of text")
    return value.strip()
