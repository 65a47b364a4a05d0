"""Everything a request may reach, as one object that wiring makes and the app holds."""

from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from graph.agent import Agent
from knowledge.ingest import Library
from knowledge.memories import Memories
from knowledge.search import Search
from server.auth import Authenticator, Directory
from server.components import Components
from server.in_hand import InHand
from server.ingestion import Ingestor
from server.key_uses import KeyUses
from server.models import DeploymentModels
from server.orchestrator import Orchestrator
from server.personalities import Personalities
from server.quota_watch import QuotaWatch
from server.reconciler import Reconciliations
from server.reranking import Reranker
from server.run_store import RunStore
from server.runs import Runner
from server.site_pages import SitePages
from server.sites import Sites
from server.strangers import Strangers
from server.turns import RunTurns
from server.web import Web
from storage.cell_numbers import CellNumbers
from storage.cells import Cells
from storage.corpora import PostgresCorpora
from storage.directory import Directory as ControlDirectory
from storage.documents import PostgresDocuments
from storage.kept import PostgresKept
from storage.keys import PostgresKeys
from storage.ledger import PostgresLedger
from storage.limits import PostgresLimits
from storage.memories import PostgresMemories
from storage.platform import Platform
from storage.threads import PostgresThreads
from tenancy.audit import AuditEvent, Outcome
from tenancy.errors import NotAuthenticated, NotFound
from tenancy.ids import TenantId
from tenancy.principal import Principal
from tenancy.tenant import Tenant
from tools.catalogue import Catalogue
from tools.toolbox import Toolboxes


@dataclass(frozen=True, slots=True)
class Services:
    """The rooms of the house that routes may enter."""

    cells: Cells
    control: ControlDirectory
    directory: Directory
    authenticator: Authenticator
    runner: Runner
    agent: Agent
    store: RunStore
    turns: RunTurns
    models: DeploymentModels
    threads: PostgresThreads
    documents: PostgresDocuments
    corpora: PostgresCorpora
    library: Library
    ingestor: Ingestor
    in_hand: InHand
    web: Web
    sites: Sites
    site_pages: SitePages
    search: Search
    reranker: Reranker
    memories: Memories
    remembered: PostgresMemories
    kept: PostgresKept
    ledger: PostgresLedger
    keys: PostgresKeys
    key_uses: KeyUses
    strangers: Strangers
    orchestrator: Orchestrator
    watch: QuotaWatch
    reconciliations: Reconciliations
    catalogue: Catalogue
    toolboxes: Toolboxes
    platform: Platform
    limits: PostgresLimits
    personalities: Personalities
    audience: str
    currency: str
    components: Components

    async def open(self) -> None:
        """Open the stores' pools; nothing waits for a store that is away."""
        await self.cells.first.open()
        await self.platform.open()

    def beside(self) -> list[Coroutine[Any, Any, None]]:
        """What goes on beside the requests, in every process that serves runs."""
        first = self.cells.first
        return [
            self.control.watch(),
            self.watch.keep(),
            self.reconciliations.keep(),
            self.ingestor.keep(),
            self.site_pages.keep(),
            self.orchestrator.alerts.keep(),
            self.orchestrator.slots.share(CellNumbers(first.redis, first.cell_id)),
        ]

    async def close(self) -> None:
        """Close everything that was opened; what is known of keys is written."""
        await self.orchestrator.alerts.aclose()
        await self.key_uses.flush()
        await self.strangers.ended_keys.flush()
        await self.authenticator.aclose()
        await self.models.aclose()
        await self.platform.close()
        await self.cells.first.close()

    async def tenant(self, principal: Principal) -> Tenant:
        """The principal's tenant, active."""
        tenant = await self.directory.tenant(principal.tenant_id)
        if tenant is None:
            raise NotAuthenticated
        tenant.require_served(principal)
        return tenant

    async def owner(self, principal: Principal, corpus_id: str | None) -> TenantId:
        """Whose documents a caller reads: its tenant's, or a corpus's; raises `NotFound`."""
        if corpus_id is None:
            return principal.tenant_id
        for subscribed in await self.control.subscribed(principal.tenant_id):
            if subscribed == corpus_id:
                return subscribed
        raise NotFound

    def event(
        self,
        principal: Principal,
        action: str,
        resource: str,
        outcome: Outcome = Outcome.ALLOWED,
        **attributes: str | int,
    ) -> AuditEvent:
        """An audit event of something that is no run."""
        return AuditEvent(
            event_id=uuid4(),
            actor=str(self.components.at_server(principal)),
            subject_id=principal.subject_id,
            action=action,
            resource=resource,
            outcome=outcome,
            created_at=datetime.now(UTC),
            attributes=attributes,
        )
