"""Metrics of limits, models and alerts: a bounded number of series whatever is told, no tenant."""

from collections.abc import Iterator

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from server import quota_metrics as metrics
from server.endpoint_metrics import ENDPOINTS, EndpointFigures
from server.metric_labels import Label
from server.metrics import REGISTRY
from tenancy.plan import Step
from tenancy.usage import Tokens


@pytest.fixture(autouse=True)
def _nothing_is_read() -> Iterator[None]:
    yield
    ENDPOINTS.read_queues(tuple)
    ENDPOINTS.read_breakers(dict)


def told(sample: str, **labels: str) -> float:
    """What Prometheus reads; 0 for a series that is not there."""
    return REGISTRY.get_sample_value(sample, labels) or 0.0


def series() -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    """Every series, by its name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in text_string_to_metric_families(generate_latest(REGISTRY).decode())
        for sample in family.samples
    }


def tell_everything(number: int) -> None:
    """Everything that can be told, with values that nobody knows."""
    stranger = f"acme-{number}"
    metrics.count_admission(stranger, stranger, seconds=0.001)
    metrics.count_model_call(stranger, stranger)
    metrics.observe_model_wait(stranger, 0.1)
    metrics.count_degraded(stranger)
    metrics.count_alert(number + 1000)
    metrics.count_webhook(stranger)
    figures = EndpointFigures(stranger, 4, 2, {stranger: 3, "interactive": 1})
    ENDPOINTS.read_queues(lambda: [figures, figures])
    ENDPOINTS.read_breakers(lambda: {stranger: 1, f"{stranger}!": 1})


def test_what_nobody_knows_is_told_as_other() -> None:
    tell_everything(0)
    before = series()
    for number in range(1, 200):
        tell_everything(number)
    assert series() == before
    assert "acme" not in str(before)
    assert told("tenantry_model_slots", endpoint="other") == 8
    assert told("tenantry_model_calls_in_flight", endpoint="other") == 4
    assert told("tenantry_model_calls_waiting", endpoint="other", priority="other") == 6
    assert told("tenantry_breakers_open", endpoint="other") == 2


def test_a_label_learns_so_many_values_and_no_more() -> None:
    label = Label("default", most=3)
    label.learn(["one", "two", "three"])
    assert [*label] == ["default", "one", "two"]
    assert [label.of(value) for value in ("two", "three")] == ["two", "other"]


def test_no_label_is_for_a_tenant() -> None:
    tell_everything(0)
    names = {name for _, labels in series() for name, _ in labels}
    assert names <= {
        *("method", "route", "status", "le", "boundary", "reason", "outcome", "limit"),
        *("endpoint", "priority", "step", "direction", "threshold", "state"),
    }


@pytest.mark.parametrize("limit", [None, "requests", "tokens per day", "user tokens per minute"])
def test_an_admission_is_counted_by_the_limit_that_refused(limit: str | None) -> None:
    outcome, name = ("refused", limit.replace(" ", "_")) if limit else ("admitted", "none")
    before = told("tenantry_admissions_total", outcome=outcome, limit=name)
    timed = told("tenantry_admission_seconds_count")
    metrics.count_admission(outcome, limit, seconds=0.0004)
    assert told("tenantry_admissions_total", outcome=outcome, limit=name) == before + 1
    assert told("tenantry_admission_seconds_count") == timed + 1


@pytest.mark.parametrize("step", list(Step))
def test_every_step_of_the_ladder_has_its_series(step: Step) -> None:
    before = told("tenantry_degraded_total", step=step.value)
    metrics.count_degraded(step)
    assert told("tenantry_degraded_total", step=step.value) == before + 1


def test_tokens_are_counted_by_direction() -> None:
    before = [told("tenantry_tokens_total", direction=each) for each in ("input", "output")]
    metrics.count_tokens(Tokens(7, 3))
    after = [told("tenantry_tokens_total", direction=each) for each in ("input", "output")]
    assert after == [before[0] + 7, before[1] + 3]


def test_the_queues_are_read_when_prometheus_asks() -> None:
    waiting = {"interactive": 1}
    ENDPOINTS.read_queues(lambda: [EndpointFigures("default", 8, 3, waiting)])
    assert told("tenantry_model_slots", endpoint="default") == 8
    waiting["batch"] = 5
    assert told("tenantry_model_calls_waiting", endpoint="default", priority="batch") == 5


def test_gauges_of_the_counters() -> None:
    metrics.tell_quota_local(away=True)
    metrics.tell_quota_drift(12)
    assert (told("tenantry_quota_local"), told("tenantry_quota_drift_tokens")) == (1, 12)
    metrics.tell_quota_local(away=False)
    metrics.tell_quota_drift(0)
    assert (told("tenantry_quota_local"), told("tenantry_quota_drift_tokens")) == (0, 0)
