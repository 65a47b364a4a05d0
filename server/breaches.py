"""The tripwire's bell: a breach of isolation is counted and logged for the operator."""

import structlog

from server.metrics import BREACHES
from tenancy.errors import IsolationBreach

log = structlog.get_logger()


def report(breach: IsolationBreach) -> None:
    """Count a breach, and say whose thing it was where only operators read it."""
    BREACHES.labels(breach.boundary).inc()
    log.critical(
        "isolation_breach",
        boundary=breach.boundary,
        foreign_tenant_id=breach.foreign_tenant_id,
    )
