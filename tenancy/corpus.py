"""A shared corpus: documents that tenants subscribe to beside their own."""

from dataclasses import dataclass

from tenancy.ids import TenantId

MAX_SUBSCRIPTIONS = 5  # of one tenant: each is searched with every question
MAX_TITLE_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Corpus:
    """A corpus as one tenant sees it. Its id is that of the tenant whose documents it has."""

    corpus_id: TenantId
    title: str
    subscribed: bool
