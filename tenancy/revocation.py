"""Which of a tenant's credentials no longer hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tenancy.ids import SubjectId
from tenancy.principal import Principal


@dataclass(frozen=True, slots=True)
class Revocations:
    """What was revoked. Times are seconds since 1970; a credential from then or before is refused.

    A token says its time in whole seconds: one issued in the second of its revocation is refused.
    `credentials` are as a principal names them; `tokens` are (credential of the issuer, jti).
    """

    everyone: float | None = None
    subjects: Mapping[SubjectId, float] = field(default_factory=dict)
    credentials: frozenset[str] = frozenset()
    tokens: frozenset[tuple[str, str]] = frozenset()

    def cover(self, principal: Principal) -> bool:
        """Whether the credential behind `principal` is revoked."""
        if principal.credential in self.credentials:
            return True
        if principal.token_id and (principal.credential, principal.token_id) in self.tokens:
            return True
        epochs = (self.everyone, self.subjects.get(principal.subject_id))
        return any(epoch is not None and _from_before(principal, epoch) for epoch in epochs)


def _from_before(principal: Principal, epoch: float) -> bool:
    return principal.issued_at is None or principal.issued_at <= epoch


NOTHING_REVOKED = Revocations()
