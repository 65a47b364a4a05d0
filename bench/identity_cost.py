"""What identity and isolation cost a request in CPU: who calls, the seals, the token of the run.

    python -m bench.identity_cost [--rounds 2000]

A request with a token of each algorithm, or with an API key; keys and tenants are cached, as they
are in steady use. The database's share is `bench/seal_cost.py`, a tool call's `component_cost.py`.
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from uuid import uuid4

from server import api_keys
from server.auth import Authenticator
from server.components import Components
from storage.seal import AppDatabase, SealKey, new_key
from tenancy.component import parse_deployment
from tenancy.credentials import ApiKey, Issuer
from tenancy.ids import PlanId, RunId, SubjectId, TenantId
from tenancy.plan import new_plan
from tenancy.principal import Principal, Role
from tenancy.tenant import Tenant, TenantStatus
from tests.idp import ACME, NOW, Idp

ALGORITHMS = ("ES256", "RS256", "EdDSA")
ENTRIES = 4  # statements of a turn that enter its tenant
MINTED = api_keys.mint()
KEY = ApiKey(MINTED.key_id, ACME, SubjectId("robot"), Role.MEMBER, (), datetime.now(UTC), None)


class Known:
    """A directory whose records are all cached."""

    def __init__(self, idp: Idp) -> None:
        self._issuer = idp.issuer()
        plan = new_plan(PlanId("bench"), {})
        self._tenant = Tenant(ACME, "Acme", TenantStatus.ACTIVE, plan, "first")

    async def issuer(self, url: str) -> Issuer | None:
        """The one issuer."""
        return self._issuer

    async def api_key(self, digest: bytes) -> ApiKey | None:
        """The one key."""
        return KEY

    async def tenant(self, tenant_id: TenantId) -> Tenant | None:
        """The one tenant."""
        return self._tenant


async def microseconds(work: Callable[[], Awaitable[object]], rounds: int) -> float:
    """CPU time of one call."""
    for _ in range(rounds // 10):
        await work()
    began = time.process_time()
    for _ in range(rounds):
        await work()
    return (time.process_time() - began) / rounds * 1e6


async def measure(rounds: int) -> dict[str, float]:
    """Microseconds, by credential; each with the seals and the run's token."""
    components = Components.of(parse_deployment("bench.example"))
    database = AppDatabase("", SealKey(new_key()))
    figures = {}
    for alg in (*ALGORITHMS, "an API key"):
        idp = Idp(f"https://{alg}.example/".replace(" ", "-"), "ES256" if " " in alg else alg)
        door = Authenticator(Known(idp), clock=lambda: NOW)
        text = MINTED.text if " " in alg else idp.token()
        headers = [(b"authorization", f"Bearer {text}".encode())]

        async def request(
            door: Authenticator = door, headers: list[tuple[bytes, bytes]] = headers
        ) -> Principal:
            caller = await door.authenticate(headers)
            components.begin(caller, RunId(uuid4()))
            for _ in range(ENTRIES):
                database.entry(caller.tenant_id)
            return caller

        figures[alg] = await microseconds(request, rounds)
    return figures


def main() -> None:
    """Print a line for each credential."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2000)
    for alg, figure in asyncio.run(measure(parser.parse_args().rounds)).items():
        print(f"{alg:<12} {figure:5.0f} µs a request")


if __name__ == "__main__":
    main()
