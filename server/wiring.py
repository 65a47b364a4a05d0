"""The composition root: the only place that knows the whole house. Building opens nothing."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from graph.agent import Ports, build_agent
from knowledge.embedders import Embedders
from knowledge.ingest import Library
from knowledge.memories import Memories
from knowledge.search import Search
from server.admission_queue import AdmissionQueue
from server.alerts import Alerts
from server.asides import Asides
from server.auth import Authenticator, Directory
from server.client_address import ClientAddresses
from server.components import Components
from server.dev_issuer import DevIssuer, load_or_create
from server.ended_keys import EndedKeys
from server.endpoint_metrics import tell_of
from server.entrance import Entrance
from server.in_hand import InHand
from server.ingestion import Ingestor
from server.key_uses import KeyUses
from server.memory import Keeper
from server.model_slots import ModelSlots
from server.models import DeploymentModels
from server.orchestrator import Orchestrator
from server.personalities import Personalities
from server.quota_fallback import LocalQuota
from server.quota_watch import QuotaWatch
from server.quotas import Quotas
from server.reconciler import Reconciliations, reconciler_for
from server.reranking import Reranker
from server.run_store import RunStore
from server.runs import Runner
from server.services import Services
from server.settings import Environment, Settings
from server.site_pages import LEASE_SECONDS, SitePages
from server.sites import Sites
from server.strangers import Strangers
from server.summaries import Summaries
from server.titles import Titles
from server.turns import RunTurns
from server.web import Web
from server.webhook import Webhook
from storage import redis_client
from storage.assistants import PostgresAssistants
from storage.cells import Cell, Cells
from storage.checkpointer import TenantPostgresSaver
from storage.corpora import PostgresCorpora
from storage.directory import Directory as ControlDirectory
from storage.documents import PostgresDocuments
from storage.hot import HotThreads
from storage.ingestion import PostgresIngestion
from storage.kept import PostgresKept
from storage.keys import PostgresKeys
from storage.ledger import PostgresLedger
from storage.limits import PostgresLimits
from storage.memories import PostgresMemories
from storage.platform import Platform
from storage.postgres import Pool
from storage.quota import RedisQuota
from storage.seal import AppDatabase
from storage.site_pages import PostgresSitePages
from storage.threads import PostgresThreads
from tenancy.component import parse_deployment
from tenancy.credentials import ApiKey, Issuer
from tenancy.ids import TenantId
from tenancy.placement import FIRST_CELL
from tenancy.tenant import Tenant
from tools.builtin import built_ins
from tools.catalogue import Catalogue
from tools.gate import Gate
from tools.toolbox import Toolboxes


@dataclass(frozen=True, slots=True)
class DevelopmentDirectory:
    """The control directory with the development issuer beside the registered ones."""

    control: ControlDirectory
    dev_issuer: DevIssuer

    async def issuer(self, url: str) -> Issuer | None:
        """A registered issuer, or our own."""
        own = self.dev_issuer.issuer
        return own if url == own.url else await self.control.issuer(url)

    async def api_key(self, digest: bytes) -> ApiKey | None:
        """The key with this digest."""
        return await self.control.api_key(digest)

    async def tenant(self, tenant_id: TenantId) -> Tenant | None:
        """The tenant."""
        return await self.control.tenant(tenant_id)


def build_services(
    settings: Settings,
    database: AppDatabase,
    redis_url: str,
    operator_url: str | None = None,
    *,
    models: DeploymentModels | None = None,
) -> Services:
    """Every part of the server, put together. Raises `Misconfigured`."""
    redis = redis_client.connect(redis_url)
    cells = Cells(Cell(FIRST_CELL, Pool(database), redis))
    control = ControlDirectory(cells.first.pool)
    directory = _directory(settings, control)
    slots = ModelSlots(most=settings.model_slots)
    models = models or DeploymentModels(settings, pressure=slots.pressed, observed=slots.observed)
    documents, ledger = PostgresDocuments(cells), PostgresLedger(cells)
    embedders = Embedders(models.embedder, models.former, documents)
    library = Library(embedders, documents)
    search = Search(embedders, documents, control)
    remembered = PostgresMemories(cells)
    memory_embedders = Embedders(models.embedder, models.former, remembered)
    memories = Memories(memory_embedders, remembered)
    components = Components.of(parse_deployment(settings.deployment), settings.component_keys)
    keeper = Keeper(memories, directory, components)
    catalogue = Catalogue.discover(built_ins(search, keeper))
    toolboxes = Toolboxes(catalogue)
    saver = TenantPostgresSaver(cells, HotThreads(on=settings.hot_context))
    threads = PostgresThreads(cells, saver)
    keys = PostgresKeys(cells)
    key_uses = KeyUses(keys.note_uses)
    watch = QuotaWatch(redis)
    reconciliations = Reconciliations(reconciler_for(cells))
    orchestrator = Orchestrator(
        quotas=Quotas(
            RedisQuota(redis, spent=ledger.spent),
            LocalQuota(ledger.spent, replicas=lambda: slots.replicas, outage=lambda: watch.outage),
            watch,
            reconcile=reconciliations.soon,
        ),
        slots=slots,
        line=AdmissionQueue(),
        alerts=_alerts(settings, ledger),
        prices=control.prices,
        endpoint_of=models.endpoint_of,
        reconcile=reconciliations.soon,
    )
    personalities = Personalities(control, PostgresAssistants(cells))
    turns = RunTurns(directory, orchestrator, components, personalities)
    asides = Asides(turns, ledger)
    tell_of(slots, models)
    web = Web(off=not settings.fetch)
    entrance = Entrance(turns, remembered)
    sites = Sites(web)
    pages_for = _limit_of(control, "pages_per_document")
    ingestor = Ingestor(PostgresIngestion(cells), library, pages_for=pages_for)
    agent = build_agent(Ports(entrance, toolboxes, Gate(components), search, models, memories))
    store = RunStore(entrance, cells, memory_embedders, components)
    return Services(
        cells=cells,
        control=control,
        directory=directory,
        authenticator=Authenticator(directory, mark=key_uses.mark),
        runner=Runner(
            agent.compile(name="tenantry", store=store),
            saver=saver,
            threads=threads,
            ledger=ledger,
            turns=turns,
            components=components,
            asides=asides,
            titles=Titles(asides, threads, models),
            summaries=Summaries(asides, threads, models),
        ),
        agent=agent,
        store=store,
        turns=turns,
        models=models,
        threads=threads,
        documents=documents,
        corpora=PostgresCorpora(cells),
        library=library,
        ingestor=ingestor,
        in_hand=InHand(),
        web=web,
        sites=sites,
        site_pages=SitePages(
            PostgresSitePages(cells, lease_seconds=LEASE_SECONDS),
            sites,
            library,
            bytes_for=_limit_of(control, "document_bytes"),
            fetched=ingestor.wake,
        ),
        search=search,
        reranker=Reranker(asides, models),
        memories=memories,
        remembered=remembered,
        kept=PostgresKept(cells),
        ledger=ledger,
        keys=keys,
        key_uses=key_uses,
        strangers=Strangers(EndedKeys(ledger), ClientAddresses(settings.trusted_proxies)),
        orchestrator=orchestrator,
        watch=watch,
        reconciliations=reconciliations,
        catalogue=catalogue,
        toolboxes=toolboxes,
        platform=Platform(operator_url),
        limits=PostgresLimits(cells),
        personalities=personalities,
        audience=settings.audience,
        currency=settings.currency,
        components=components,
    )


def _limit_of(control: ControlDirectory, name: str) -> Callable[[TenantId], Awaitable[int]]:
    """A limit on a tenant's documents, by its plan of now."""

    async def limit(tenant_id: TenantId) -> int:
        tenant = await control.tenant(tenant_id)
        return 0 if tenant is None else int(getattr(tenant.plan, name))

    return limit


def _alerts(settings: Settings, ledger: PostgresLedger) -> Alerts:
    receiver = settings.alert_receiver
    return Alerts(ledger, Webhook(*receiver) if receiver else None)


def _directory(settings: Settings, control: ControlDirectory) -> Directory:
    if settings.environment is Environment.PRODUCTION:
        return control
    return DevelopmentDirectory(control, load_or_create(settings.data_dir, settings.audience))
