"""Figure `rss_mib_10k_tenants`: resident memory of a process that opens the accounts of very many tenants, once each.

As a module it is that process. It goes the way of a queued job: registry, broker, one read in the account.
"""

import asyncio
from pathlib import Path
from typing import Any

from shared import bootstrap
from shared.core.ids import RequestId, TenantId
from shared.core.lease import Purpose
from shared.settings import Settings
from tests.benchmarks.harness.process import process, serve
from tests.benchmarks.harness.stack import Azure
from tests.benchmarks.jit.competitors import CONTAINER
from tests.benchmarks.jit.tenants import BenchTenant

_AT_ONCE = 8
_STEPS = 5


def figures(azure: Azure, tenants: list[BenchTenant]) -> dict[str, Any]:
    """Resident memory after all `tenants`, and on the way there."""
    assert __spec__ is not None
    rss: dict[str, float] = {}
    step = max(1, len(tenants) // _STEPS)
    with process(__spec__.name, env=azure.env) as touching:
        for first in range(0, len(tenants), step):
            part = tenants[first : first + step]
            touching.ask("touch", tenants=[(tenant.entry["id"], tenant.candidate_id) for tenant in part])
            rss[str(first + len(part))] = round(_rss_mib(touching.pid), 1)
    return {"rss_mib_10k_tenants": list(rss.values())[-1], "rss_mib_by_tenants": rss}


def _rss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("this system does not tell a process's resident memory")


class _Touching:
    def __init__(self) -> None:
        self._app: bootstrap.App | None = None

    async def touch(self, tenants: list[tuple[str, str]]) -> None:
        if self._app is None:
            self._app = bootstrap.App(Settings.from_env())
        app, left = self._app, iter(tenants)

        async def lane() -> None:
            for tenant_id, candidate_id in left:
                tenant = await app.registry.get(TenantId(tenant_id))
                purpose = Purpose("benchmark", "touch", candidate_id, RequestId("req_bench"), writes=False)
                async with app.broker.lease(tenant.target, purpose) as documents:
                    await documents.read(CONTAINER, candidate_id, candidate_id)

        await asyncio.gather(*(lane() for _ in range(_AT_ONCE)))


async def _end() -> None:
    """Nothing to close that the end of the process does not."""


if __name__ == "__main__":
    serve({"touch": _Touching().touch}, _end)
