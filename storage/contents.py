"""Which files a tenant has, for a command that must not pay for the whole house."""

import psycopg

from storage.postgres import translated
from storage.queries import query
from storage.seal import AppDatabase
from tenancy.ids import TenantId


def contents(database: AppDatabase, tenant_id: TenantId) -> set[bytes]:
    """The SHA-256 of each document of the tenant; raises `Unavailable`."""
    params = database.entry(tenant_id)
    with translated(), psycopg.connect(database.url, connect_timeout=5) as conn:
        conn.execute(query("enter").sql, params)
        return {bytes(row[0]) for row in conn.execute(query("list_contents").sql, params)}
