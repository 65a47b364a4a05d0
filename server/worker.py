"""Keeps a deployment in shape, round by round: what searches use, and counters that agree."""

import asyncio
import signal
import threading
from itertools import count

import structlog

from server.logs import configure_logs
from server.reconciler import reconcile_all
from server.reembedding import reembed
from server.settings import Settings
from server.stores import Stores
from storage.control import control
from storage.indexes import tend_indexes
from storage.next_indexes import settle_next
from storage.word_lists import tend_word_lists
from tenancy.errors import Unavailable
from tenancy.ids import TenantId

log = structlog.get_logger()

ROUND_SECONDS = 60
BUSY_SECONDS = 1  # while passages are embedded anew
RECONCILED_EVERY = 10  # rounds: a run that died with nobody to come after it is billed by then


def run_worker(stores: Stores, settings: Settings, *, once: bool) -> None:
    """Work until INT or TERM, or one round."""
    configure_logs()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    for turn in count():
        left = 0
        try:
            left = _round(stores, settings, reconciles=turn % RECONCILED_EVERY == 0)
        except Unavailable as error:
            log.warning("worker_postponed", reason=error.detail)
        if once or stop.wait(BUSY_SECONDS if left else ROUND_SECONDS):
            return


def _round(stores: Stores, settings: Settings, *, reconciles: bool) -> int:
    """Do what is due; how many tenants there is more to do for."""
    with control(stores.owner()) as admin:
        tenants = [TenantId(row["tenant_id"]) for row in admin.tenants()]
        wishes = admin.wishes()
    left = asyncio.run(reembed(stores, settings, tenants, wishes))
    made, dropped = tend_indexes(stores.owner(), stores.app, tenants, wishes)
    settle_next(stores.owner(), stores.app, tenants, wishes)
    listed = tend_word_lists(stores.app, tenants, wishes)
    log.info(
        "worker_round",
        tenants=len(tenants),
        indexes_made=made,
        indexes_dropped=dropped,
        words_listed=listed,
        former_embeddings=left,
    )
    if reconciles:
        found, failed = asyncio.run(reconcile_all(stores, tenants))
        drift = sum(row.drift for row in found)
        log.info("worker_reconciled", drift=drift, postponed=len(failed))
    return left
