"""What Prometheus reads of limits, model calls and alerts, beside what `metrics` counts."""

from prometheus_client import Counter, Gauge, Histogram

from server.metric_labels import (
    ADMISSION,
    CALL,
    DELIVERY,
    DIRECTION,
    ENDPOINT,
    LIMIT,
    NONE,
    PRIORITY,
    STEP,
    THRESHOLD,
)
from server.metrics import REGISTRY
from tenancy.usage import Tokens

_ADMISSIONS = Counter(
    "tenantry_admissions",
    "Runs that asked to be let in, and the limit that refused.",
    ["outcome", "limit"],
    registry=REGISTRY,
)
_ADMISSION_SECONDS = Histogram(
    "tenantry_admission_seconds",
    "Time of the one call that admits at all levels.",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.02, 0.1, 0.5, 2),
    registry=REGISTRY,
)
_MODEL_CALLS = Counter(
    "tenantry_model_calls",
    "Model calls, by how they ended; `pressed` is a 429 or 503 of the endpoint.",
    ["endpoint", "outcome"],
    registry=REGISTRY,
)
_MODEL_WAIT_SECONDS = Histogram(
    "tenantry_model_wait_seconds",
    "Time a model call waited for its tenant's turn.",
    ["priority"],
    buckets=(0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30),
    registry=REGISTRY,
)
_DEGRADED = Counter(
    "tenantry_degraded",
    "Runs that were served with less than they asked for, by step of the ladder.",
    ["step"],
    registry=REGISTRY,
)
_TOKENS = Counter(
    "tenantry_tokens",
    "Tokens of settled model calls, as the endpoint counted them.",
    ["direction"],
    registry=REGISTRY,
)
_QUOTA_LOCAL = Gauge(
    "tenantry_quota_local",
    "1 while Redis is away and this process admits by local limits.",
    registry=REGISTRY,
)
_QUOTA_DRIFT = Gauge(
    "tenantry_quota_drift_tokens",
    "Tokens by which counters and ledger differed at the last reconciliation, added over tenants.",
    registry=REGISTRY,
)
_ALERTS = Counter(
    "tenantry_alerts",
    "Budgets that reached a threshold, counted by the process that recorded it first.",
    ["threshold"],
    registry=REGISTRY,
)
_ALERT_WEBHOOKS = Counter(
    "tenantry_alert_webhooks",
    "Alerts for the webhook, by what became of them.",
    ["outcome"],
    registry=REGISTRY,
)


def count_admission(outcome: str, limit: str | None = None, *, seconds: float) -> None:
    """Count an admission, and the limit that refused it as `Verdict.refused_by` names it."""
    name = NONE if limit is None else LIMIT.of(limit.replace(" ", "_"))
    _ADMISSIONS.labels(ADMISSION.of(outcome), name).inc()
    _ADMISSION_SECONDS.observe(seconds)


def count_model_call(endpoint: str, outcome: str) -> None:
    """Count a model call that ended."""
    _MODEL_CALLS.labels(ENDPOINT.of(endpoint), CALL.of(outcome)).inc()


def observe_model_wait(priority: str, seconds: float) -> None:
    """Time how long a model call waited for its turn."""
    _MODEL_WAIT_SECONDS.labels(PRIORITY.of(priority)).observe(seconds)


def count_degraded(step: str) -> None:
    """Count a step of the ladder that was taken."""
    _DEGRADED.labels(STEP.of(step)).inc()


def count_tokens(tokens: Tokens) -> None:
    """Count what a settled model call took."""
    _TOKENS.labels("input").inc(tokens.input_tokens)
    _TOKENS.labels("output").inc(tokens.output_tokens)


def tell_quota_local(*, away: bool) -> None:
    """Say whether this process admits by local limits."""
    _QUOTA_LOCAL.set(int(away))


def tell_quota_drift(tokens: int) -> None:
    """Say by how many tokens counters and ledger differed."""
    _QUOTA_DRIFT.set(tokens)


def count_alert(threshold: int) -> None:
    """Count an alert that was recorded here first."""
    _ALERTS.labels(THRESHOLD.of(str(threshold))).inc()


def count_webhook(outcome: str) -> None:
    """Count what became of a post to the webhook."""
    _ALERT_WEBHOOKS.labels(DELIVERY.of(outcome)).inc()


def _begin_at_zero() -> None:
    """A series that is there before its first event: its first increase is seen as one."""
    for limit in LIMIT:
        outcomes = ("admitted", "unavailable") if limit == NONE else ("refused",)
        for outcome in outcomes:
            _ADMISSIONS.labels(outcome, limit)
    for counter, label in (
        (_DEGRADED, STEP),
        (_TOKENS, DIRECTION),
        (_ALERTS, THRESHOLD),
        (_ALERT_WEBHOOKS, DELIVERY),
    ):
        for value in label:
            counter.labels(value)


_begin_at_zero()
