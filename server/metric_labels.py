"""What the labels of our metrics may say: a bounded number of series, whatever happens."""

from collections.abc import Iterable, Iterator

from tenancy.plan import Step

OTHER = "other"
NONE = "none"
MOST_ENDPOINTS = 32  # more than anybody has; a series each


class Label:
    """The values that one label may have: whatever else is said is told as `other`."""

    def __init__(self, *known: str, most: int = 0) -> None:
        self._known = set(known)
        self._most = max(most, len(known))

    def learn(self, values: Iterable[str]) -> None:
        """Know more values, as long as there is room."""
        for value in values:
            if len(self._known) < self._most:
                self._known.add(value)

    def of(self, value: str) -> str:
        """The value to tell."""
        return value if value in self._known else OTHER

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._known))


CAPS = (
    "requests",
    "concurrent_runs",
    "tokens_per_minute",
    "tokens_per_day",
    "tokens_per_month",
    "money_per_day",
    "money_per_month",
)
OF_A_RUN = ("tokens_per_run", "tool_calls_per_run", "steps_per_run")
OF_DOCUMENTS = ("documents", "document_bytes", "pages_per_document")
LIMIT = Label(NONE, "queue", *OF_DOCUMENTS, *CAPS, *(f"user_{cap}" for cap in CAPS), *OF_A_RUN)
ADMISSION = Label("admitted", "refused", "unavailable")
ENDPOINT = Label("default", "offline", most=MOST_ENDPOINTS)
CALL = Label("answered", "failed", "timed_out", "pressed", "cancelled", "skipped")
PRIORITY = Label("interactive", "background", "batch")
STEP = Label(*Step, "fallback")
DIRECTION = Label("input", "output")
THRESHOLD = Label("80", "100")
DELIVERY = Label("delivered", "failed", "dropped")
