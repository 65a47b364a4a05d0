"""What is kept of somebody, as they are shown it: over HTTP and by the command line alike."""

from datetime import UTC
from typing import Any

from tenancy.memory import Kept


def exported(kept: Kept) -> dict[str, Any]:
    """One item, whole."""
    return {
        "memory_id": kept.memory_id,
        "namespace": list(kept.namespace),
        "key": kept.key,
        "value": dict(kept.value),
        "thread_id": kept.thread_id,
        "created_at": kept.created_at.astimezone(UTC),
        "updated_at": kept.updated_at.astimezone(UTC),
    }
