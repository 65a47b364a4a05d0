"""Everything Tenantry refuses or fails with.

TenantryError                        what the edges catch; nothing else is meant to escape a layer
├── Refusal                          the caller may not, or not now: nothing was done
│   ├── NotAuthenticated             401  no credential, or one that does not hold
│   ├── Forbidden                    403  a scope is missing
│   │   ├── TenantSuspended          403
│   │   └── TenantMismatch           403  a thread or token of another tenant
│   ├── NotFound                     404  never existed, or is someone else's: the same thing
│   ├── PayloadTooLarge              413
│   ├── UnsupportedMedia             415
│   ├── Invalid                      422  names the fields at fault
│   ├── Conflict                     409
│   │   ├── ThreadBusy               409  another run writes to the thread
│   │   └── ThreadQuarantined        409  a run on it met something foreign: an operator must look
│   └── QuotaExceeded                429  says which limit and when to come back
└── Failure                          it was allowed, and something broke
    ├── Unavailable                  503  Postgres or Redis is away
    │   └── Overloaded               503  no room at the model in time: nothing was done
    ├── ModelFailed                  502  the model endpoint answered nonsense or an error
    │   ├── ModelTimeout             504  the model endpoint was silent
    │   └── BreakerOpen              502  it kept failing for this tenant, and is left alone for now
    ├── IsolationBreach              500  something of another tenant turned up: the run was killed
    ├── LeaseLost                    500  another process took the thread over
    └── Misconfigured                 -   start-up stops with one line and exit 2
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import ClassVar


class TenantryError(Exception):
    """Something went wrong."""

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail or (type(self).__doc__ or "").strip())

    @property
    def detail(self) -> str:
        """The sentence a client may read: never a secret, never another tenant's name."""
        return str(self.args[0])


class Refusal(TenantryError):
    """The request was refused."""

    outcome: ClassVar[str] = "refused"


class Failure(TenantryError):
    """The request failed."""

    outcome: ClassVar[str] = "failed"


class NotAuthenticated(Refusal):
    """A valid bearer token or API key is required."""


class Forbidden(Refusal):
    """The credential does not grant what this request needs."""


class TenantSuspended(Forbidden):
    """The tenant is suspended."""


class TenantMismatch(Forbidden):
    """The thread belongs to another tenant."""


class NotFound(Refusal):
    """No such resource."""


class PayloadTooLarge(Refusal):
    """The request body is too large."""


class UnsupportedMedia(Refusal):
    """The media type is not supported."""


class Invalid(Refusal):
    """The request is not valid."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__("The request is not valid.")
        self.field = field
        self.message = message

    @property
    def sentence(self) -> str:
        """What is wrong, for who did not send the field just now."""
        return f"The {self.field} {self.message}."


class Conflict(Refusal):
    """The request conflicts with the current state."""


class ThreadBusy(Conflict):
    """Another run is writing to this thread."""

    def __init__(self, retry_after: timedelta = timedelta(seconds=1)) -> None:
        super().__init__()
        self.retry_after = retry_after


class ThreadQuarantined(Conflict):
    """The thread is quarantined until an operator has looked at it."""


class QuotaExceeded(Refusal):
    """A limit of the tenant's plan is reached."""

    def __init__(self, meter: str, retry_after: timedelta, detail: str | None = None) -> None:
        super().__init__(detail or f"The plan's limit on {meter} is reached.")
        self.meter = meter
        self.retry_after = retry_after


class Unavailable(Failure):
    """A store the service depends on is not reachable."""

    def __init__(
        self, detail: str | None = None, *, retry_after: timedelta = timedelta(seconds=2)
    ) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class Overloaded(Unavailable):
    """The model has no room now."""


class ModelFailed(Failure):
    """The model endpoint failed."""

    def __init__(
        self,
        detail: str | None = None,
        *,
        status: int | None = None,
        retry_after: timedelta | None = None,
        began: bool = False,
        received: int = 0,
    ) -> None:
        super().__init__(detail)
        self.status = status  # what the endpoint answered, where it answered
        self.retry_after = retry_after  # what it asked for
        self.began = began  # text of an answer had been passed on: it cannot be asked again
        self.received = received  # bytes of an answer that came, which the endpoint counts

    @property
    def at_fault(self) -> bool:
        """Whether the endpoint is to blame: a request it found wrong says nothing about it."""
        return self.status is None or self.status == 429 or self.status >= 500


class ModelTimeout(ModelFailed):
    """The model endpoint did not answer in time."""


class BreakerOpen(ModelFailed):
    """The model kept failing: it is left alone for a while."""

    def __init__(self, retry_after: timedelta) -> None:
        super().__init__(retry_after=retry_after)


class IsolationBreach(Failure):
    """The request was stopped: a check of isolation failed."""

    def __init__(self, boundary: str, foreign_tenant_id: str) -> None:
        super().__init__()
        self.boundary = boundary  # where it was met: a word of ours, fit for a metric's label
        self.foreign_tenant_id = foreign_tenant_id  # for the operator's log, never for a tenant


def require_own(tenant_id: str, found: Iterable[str], boundary: str) -> None:
    """Raise `IsolationBreach` at `boundary` unless all that was found belongs to `tenant_id`."""
    for owner in found:
        if owner != tenant_id:
            raise IsolationBreach(boundary, owner)


class LeaseLost(Failure):
    """Another process took the thread over while this run was working on it."""


class Misconfigured(Failure):
    """The deployment is not configured correctly."""
