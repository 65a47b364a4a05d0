"""What Prometheus reads of files that wait to be read."""

from prometheus_client import Gauge

from server.metrics import REGISTRY
from storage.ingestion import Figures

_INGESTIONS = Gauge(
    "tenantry_ingestions",
    "Files of all tenants that are read in the background, by state.",
    ["state"],
    registry=REGISTRY,
)
_OLDEST_SECONDS = Gauge(
    "tenantry_ingestion_oldest_seconds",
    "How long ago the oldest of them was sent.",
    registry=REGISTRY,
)
_PAGES = Gauge(
    "tenantry_pages_to_fetch",
    "Pages of sitemaps of all tenants that are not fetched yet.",
    registry=REGISTRY,
)


def tell_pages(pages: int) -> None:
    """How many pages wait for their turn."""
    _PAGES.set(pages)


def tell_ingestions(figures: Figures) -> None:
    """How the queue stands."""
    _INGESTIONS.labels("waiting").set(figures.waiting)
    _INGESTIONS.labels("working").set(figures.working)
    _INGESTIONS.labels("postponed").set(figures.postponed)
    _OLDEST_SECONDS.set(figures.oldest_seconds)
