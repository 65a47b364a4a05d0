"""What Prometheus reads. Never a tenant in a label: thousands of tenants, and nobody's business."""

from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.refusal import Kind

REGISTRY = CollectorRegistry()
REQUESTS = Counter(
    "tenantry_http_requests", "Requests answered.", ["method", "route", "status"], registry=REGISTRY
)
LATENCY = Histogram(
    "tenantry_http_request_seconds",
    "Time until the last byte of the answer.",
    ["route"],
    buckets=(0.005, 0.02, 0.1, 0.5, 2, 10, 60),
    registry=REGISTRY,
)
BREACHES = Counter(
    "tenantry_isolation_breaches",
    "Requests stopped because something of another tenant turned up. Wake somebody at 1.",
    ["boundary"],
    registry=REGISTRY,
)
AUTHENTICATION_FAILURES = Counter(
    "tenantry_authentication_failures",
    "Requests whose credential did not hold.",
    ["reason"],
    registry=REGISTRY,
)
for kind in Kind:
    AUTHENTICATION_FAILURES.labels(kind.value)  # there before the first, at 0


class MetricsMiddleware:
    """Counts each request under its route's path template."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and count its answer."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started, status = perf_counter(), 0

        async def send_counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            return await self.app(scope, receive, send_counted)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            REQUESTS.labels(scope["method"], route, status).inc()
            LATENCY.labels(route).observe(perf_counter() - started)
