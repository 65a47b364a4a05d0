"""Identifiers, parsed once at the edge and trusted inside."""

import re
from typing import NewType
from uuid import UUID

from tenancy.errors import Invalid

TenantId = NewType("TenantId", str)
SubjectId = NewType("SubjectId", str)
PlanId = NewType("PlanId", str)
KeyId = NewType("KeyId", UUID)
ThreadId = NewType("ThreadId", UUID)
RunId = NewType("RunId", UUID)
DocumentId = NewType("DocumentId", UUID)
AssistantId = NewType("AssistantId", UUID)
PassageId = NewType("PassageId", UUID)
MemoryId = NewType("MemoryId", UUID)

# Never a brace (the Redis hash tag), never upper case (identity providers map their own values).
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z")
MAX_SUBJECT_CHARACTERS = 256
MAX_ISSUER_CHARACTERS = 512


def parse_tenant_id(text: object, field: str = "tenant_id") -> TenantId:
    """Return `text` as a tenant id; raises `Invalid` for anything else."""
    return TenantId(_name(text, field))


def parse_plan_id(text: object, field: str = "plan") -> PlanId:
    """Return `text` as a plan name; raises `Invalid` for anything else."""
    return PlanId(_name(text, field))


def parse_cell_id(text: object, field: str = "cell") -> str:
    """Return `text` as the name of a cell; raises `Invalid` for anything else."""
    return _name(text, field)


def parse_subject_id(text: object, field: str = "subject") -> SubjectId:
    """Return `text` as a subject: 1 to 256 printable characters; raises `Invalid`."""
    if isinstance(text, str) and 0 < len(text) <= MAX_SUBJECT_CHARACTERS and text.isprintable():
        return SubjectId(text)
    raise Invalid(field, f"must be 1 to {MAX_SUBJECT_CHARACTERS} printable characters")


def parse_issuer_url(text: object, field: str = "url") -> str:
    """Return `text` as what tokens name as their `iss`; raises `Invalid`."""
    said = text.strip() if isinstance(text, str) and text.isprintable() else ""
    if not 0 < len(said) <= MAX_ISSUER_CHARACTERS or said != text:
        raise Invalid(field, f"must be 1 to {MAX_ISSUER_CHARACTERS} printable characters")
    return said


def _name(text: object, field: str) -> str:
    if isinstance(text, str) and NAME.match(text):
        return text
    raise Invalid(field, "must match [a-z0-9][a-z0-9_-]{0,62}")
