"""What stands in front of the model endpoints, read when Prometheus asks for it."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from server.metric_labels import ENDPOINT, PRIORITY
from server.metrics import REGISTRY
from server.model_slots import ModelSlots
from server.models import DeploymentModels
from tenancy.fairness import Priority


@dataclass(frozen=True, slots=True)
class EndpointFigures:
    """How it stands in front of one endpoint, here and now; `waiting` is by priority."""

    endpoint: str
    slots: int
    in_flight: int
    waiting: Mapping[Priority, int]


class EndpointCollector(Collector):
    """Reads the queues and breakers when Prometheus asks: nothing is counted beside a call."""

    def __init__(self) -> None:
        self._queues: Callable[[], Iterable[EndpointFigures]] = tuple
        self._breakers: Callable[[], Mapping[str, int]] = dict

    def read_queues(self, read: Callable[[], Iterable[EndpointFigures]]) -> None:
        """Ask `read` from now on for what stands in front of the endpoints."""
        self._queues = read

    def read_breakers(self, read: Callable[[], Mapping[str, int]]) -> None:
        """Ask `read` from now on how many tenants' breakers are open, by endpoint."""
        self._breakers = read

    def collect(self) -> Iterable[Metric]:
        """The gauges; what is told under one label is added up."""
        queues = [*self._queues()]
        yield _gauge(
            "tenantry_model_slots",
            "Model calls that may be in flight from this process.",
            ["endpoint"],
            (((ENDPOINT.of(each.endpoint),), each.slots) for each in queues),
        )
        yield _gauge(
            "tenantry_model_calls_in_flight",
            "Model calls in flight from this process.",
            ["endpoint"],
            (((ENDPOINT.of(each.endpoint),), each.in_flight) for each in queues),
        )
        yield _gauge(
            "tenantry_model_calls_waiting",
            "Model calls that wait for their tenant's turn in this process.",
            ["endpoint", "priority"],
            chain.from_iterable(_waiting(each) for each in queues),
        )
        yield _gauge(
            "tenantry_breakers_open",
            "Breakers of tenants that are open in this process.",
            ["endpoint"],
            (((ENDPOINT.of(name),), count) for name, count in self._breakers().items()),
        )


def _waiting(figures: EndpointFigures) -> Iterator[tuple[tuple[str, ...], int]]:
    for priority, count in figures.waiting.items():
        yield (ENDPOINT.of(figures.endpoint), PRIORITY.of(priority)), count


def _gauge(
    name: str, about: str, labels: list[str], told: Iterable[tuple[tuple[str, ...], int]]
) -> GaugeMetricFamily:
    sums: dict[tuple[str, ...], int] = {}
    for values, number in told:
        sums[values] = sums.get(values, 0) + number
    family = GaugeMetricFamily(name, about, labels=labels)
    for values, number in sums.items():
        family.add_metric(values, number)
    return family


ENDPOINTS = EndpointCollector()
REGISTRY.register(ENDPOINTS)


def tell_of(slots: ModelSlots, models: DeploymentModels) -> None:
    """Have Prometheus read these queues and breakers from now on."""
    ENDPOINT.learn(models.endpoint_names)
    ENDPOINTS.read_queues(
        lambda: [
            EndpointFigures(name, each.limit, each.in_flight, each.waiting)
            for name, each in slots.figures().endpoints.items()
        ]
    )
    ENDPOINTS.read_breakers(lambda: _breakers_open(models))


def _breakers_open(models: DeploymentModels) -> Mapping[str, int]:
    count: Counter[str] = Counter()
    for model, tenants in models.breakers.open().items():
        count[models.endpoint_of(model)] += tenants
    return count
