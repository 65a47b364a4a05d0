"""Why a credential was refused: a reason for operators, one sentence for every client."""

from tenancy.errors import NotAuthenticated


class BadCredential(NotAuthenticated):
    """A valid bearer token or API key is required."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason  # logged; never sent, never holds a token's text
