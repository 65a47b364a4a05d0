"""Keeps a deployment in shape, round by round: vector indexes for the tenants that need one."""

import signal
import threading

import structlog

from server.logs import configure_logs
from server.stores import Stores
from storage.control import control
from storage.indexes import tend_indexes
from tenancy.errors import Unavailable
from tenancy.ids import TenantId

log = structlog.get_logger()

ROUND_SECONDS = 60


def run_worker(stores: Stores, *, once: bool) -> None:
    """Work until INT or TERM, or one round."""
    configure_logs()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    while True:
        try:
            _round(stores)
        except Unavailable as error:
            log.warning("worker_postponed", reason=error.detail)
        if once or stop.wait(ROUND_SECONDS):
            return


def _round(stores: Stores) -> None:
    with control(stores.owner()) as admin:
        tenants = [TenantId(row["tenant_id"]) for row in admin.tenants()]
    made, dropped = tend_indexes(stores.owner(), stores.app, tenants)
    log.info("worker_round", tenants=len(tenants), indexes_made=made, indexes_dropped=dropped)
