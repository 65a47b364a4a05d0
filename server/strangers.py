"""What becomes of who shows no credential that holds: counted, logged, and answered in a while."""

from dataclasses import dataclass, field

import structlog
from starlette.types import Scope

from server.client_address import ClientAddresses
from server.ended_keys import EndedKeys
from server.metrics import AUTHENTICATION_FAILURES
from server.refusal import BadCredential
from server.slowdown import Slowdown

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Strangers:
    """Acts on failed authentications alone: a credential that holds never comes here."""

    ended_keys: EndedKeys
    addresses: ClientAddresses = field(default_factory=ClientAddresses)
    slowdown: Slowdown = field(default_factory=Slowdown)

    async def turn_away(self, scope: Scope, error: BadCredential) -> None:
        """Note a failed authentication; returns when it may be answered."""
        address = self.addresses.of(scope)
        AUTHENTICATION_FAILURES.labels(error.kind.value).inc()
        log.info(
            "request_refused",
            error=type(error).__name__,
            kind=error.kind.value,
            reason=error.reason,
            address=address,
        )
        if error.key is not None:
            self.ended_keys.mark(error.key, error.kind)
        await self.slowdown.hold(address)
