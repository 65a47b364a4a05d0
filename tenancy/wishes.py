"""What a client asks of one run: how urgent it is, and limits of its own. It can only narrow."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tenancy.fairness import Priority
from tenancy.plan import UNLIMITED, Plan, change_plan


@dataclass(frozen=True, slots=True)
class Wishes:
    """`budget` names what the run may take: tokens, tool calls, steps."""

    priority: Priority = Priority.INTERACTIVE
    budget: Mapping[str, int] = field(default_factory=dict)

    def narrowed(self, plan: Plan) -> Plan:
        """The plan for this run."""
        said = {name: str(self._narrower(plan, name)) for name in self.budget}
        return change_plan(plan, said) if said else plan

    def _narrower(self, plan: Plan, name: str) -> int:
        most: int = getattr(plan, name)
        return self.budget[name] if most == UNLIMITED else min(most, self.budget[name])


NO_WISHES = Wishes()
