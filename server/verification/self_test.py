"""Whether the verification finds what it must: every leak, seeded one at a time."""

from collections.abc import Collection
from dataclasses import dataclass

from server.settings import Settings
from server.stores import Stores
from server.verification.leaks import LEAKS
from server.verification.verify import verify


@dataclass(frozen=True, slots=True)
class Trial:
    """A leak, and what was found of it: nothing, or the first finding."""

    leak: str
    check: str = ""
    finding: str = ""

    @property
    def found(self) -> bool:
        """Whether the verification noticed."""
        return bool(self.check)


async def self_test(
    settings: Settings, stores: Stores, leaks: Collection[str] = tuple(LEAKS)
) -> list[Trial]:
    """Try each of `leaks` in `stores`, which must be made for this and hold nothing else."""
    return [await _try(settings, stores, leak) for leak in leaks]


async def _try(settings: Settings, stores: Stores, leak: str) -> Trial:
    with LEAKS[leak](stores):
        verdict = await verify(settings, stores, to_the_end=False)
    if not verdict.findings:
        return Trial(leak)
    check, finding = verdict.findings[0]
    return Trial(leak, check, f"{finding.where}: {finding.what}")
