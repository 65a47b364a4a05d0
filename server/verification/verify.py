"""The verification, from the first check to the last, and what it found."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from server.settings import Settings
from server.stores import Stores
from server.verification.http_checks import (
    check_doors,
    check_ids,
    check_repeats,
    check_tools,
    check_traffic,
    plant,
)
from server.verification.rivals import Finding
from server.verification.storage_checks import (
    check_catalogue,
    check_pool,
    check_redis,
    check_seal,
    check_tables,
)
from server.verification.world import World, world
from tenancy.errors import TenantryError

Check = Callable[[World], Awaitable[int]]  # how many probes it made
CHECKS: dict[str, Check] = {
    "canaries": plant,
    "catalogue": check_catalogue,
    "routes": check_doors,
    "ids": check_ids,
    "traffic": check_traffic,
    "idempotency": check_repeats,
    "tools": check_tools,
    "tables": check_tables,
    "seal": check_seal,
    "pool": check_pool,
    "redis": check_redis,
}
BROKEN = (TenantryError, OSError, ValueError, LookupError, TypeError)


@dataclass(slots=True)
class Verdict:
    """What was tried, by check, and what was found."""

    probes: dict[str, int] = field(default_factory=dict)
    findings: list[tuple[str, Finding]] = field(default_factory=list)
    tools: list[dict[str, str]] = field(default_factory=list)
    observations: int = 0
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def isolated(self) -> bool:
        """Whether nothing was found that should not have been."""
        return not self.findings


async def verify(settings: Settings, stores: Stores, *, to_the_end: bool = True) -> Verdict:
    """Try whether tenants are kept apart here; raises what making the tenants raises.

    Not `to_the_end`: until a check has found something.
    """
    verdict = Verdict()
    async with world(settings, stores) as here:
        specs = here.services.catalogue.specs()
        verdict.tools = [{"name": spec.name, "source": spec.source} for spec in specs]
        for name, check in CHECKS.items():
            await _run(here, verdict, name, check)
            if verdict.findings and not to_the_end:
                break
        verdict.observations = here.observer.observations
    return verdict


async def _run(here: World, verdict: Verdict, name: str, check: Check) -> None:
    """One check; one that breaks is a finding, and the next goes on."""
    known = len(here.observer.findings)
    try:
        verdict.probes[name] = await check(here)
    except BROKEN as error:
        here.observer.found(name, f"the check broke: {type(error).__name__}: {error}")
        verdict.probes[name] = 0
    verdict.findings += [(name, finding) for finding in here.observer.findings[known:]]
