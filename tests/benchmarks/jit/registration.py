"""Deploying and registering the benchmark's tenants. As a module it is the process that registers them."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from shared import bootstrap
from shared.access.models import Account, CredentialName, Daemon
from shared.core.caller import ClientId
from shared.core.clock import rfc3339
from shared.core.ids import DirectoryId, TenantId, new_id
from shared.core.lease import Purpose
from shared.screening import candidates
from shared.screening.models import CandidateData, CandidateId
from shared.screening.store import ScreeningStore
from shared.settings import Settings
from shared.tenants.models import Tenant
from tests.benchmarks.harness.process import process, serve
from tests.benchmarks.harness.stack import ROOT, Azure
from tests.benchmarks.jit.tenants import BenchTenant

_SAMPLES = ROOT / "infra" / "local" / "samples" / "candidates.json"


def deploy(azure: Azure, count: int, *, with_candidate: bool = True) -> list[BenchTenant]:
    """Deploy and register `count` tenants."""
    assert __spec__ is not None
    with process(__spec__.name, env=azure.env) as registering:
        deployed = []
        for number in range(count):
            tenant = azure.control("POST", "/tenants", {"name": f"tenant-{number}"})
            daemon = azure.control("POST", "/daemons", {"name": f"tenant-{number}", "credential": "secret"})
            deployed.append(
                registering.ask("register", deployment=tenant, daemon=daemon, with_candidate=with_candidate)
            )
    return msgspec.convert(deployed, list[BenchTenant])


class _Registering:
    def __init__(self) -> None:
        self._app: bootstrap.App | None = None

    async def register(self, deployment: dict[str, str], daemon: dict[str, str], *, with_candidate: bool) -> Any:
        if self._app is None:
            self._app = bootstrap.App(Settings.from_env())
        app, now = self._app, datetime.now(UTC)
        group = f"/subscriptions/{deployment['subscription_id']}/resourceGroups/{deployment['resource_group']}"
        account = deployment["cosmos_account"]
        endpoint = f"https://{account}.documents.azure.com:443/"
        tenant = Tenant(
            id=TenantId(new_id("ten", now)),
            name=deployment["name"],
            directory_id=DirectoryId(deployment["directory_id"]),
            application_id=deployment["application_id"].lower(),
            account=Account(
                resource_id=f"{group}/providers/Microsoft.DocumentDB/databaseAccounts/{account}", endpoint=endpoint
            ),
            daemon=Daemon(
                directory_id=app.settings.publisher_directory_id,
                client_id=ClientId(daemon["client_id"]),
                credential=CredentialName(
                    kind="secret", vault=daemon["vault"].rstrip("/"), name=daemon["credential_name"]
                ),
            ),
            status="active",
            created_at=rfc3339(now),
            updated_at=rfc3339(now),
        )
        await app.registry.add(tenant)
        candidate_id = CandidateId(new_id("cand", now))
        if with_candidate:
            purpose = Purpose("benchmark", "prepare", candidate_id, new_id("req", now), writes=True)
            async with app.broker.lease(tenant.target, purpose) as documents:
                sample = msgspec.json.decode(_SAMPLES.read_bytes())[0]["candidate"]
                data = msgspec.convert(sample, CandidateData)
                await candidates.create(ScreeningStore(documents), data, candidate_id, now)
        return msgspec.to_builtins(
            BenchTenant(
                name=deployment["name"],
                entry=msgspec.to_builtins(tenant),
                subscription_id=deployment["subscription_id"],
                resource_group=deployment["resource_group"],
                account=account,
                endpoint=endpoint,
                directory_id=tenant.daemon.directory_id,
                client_id=tenant.daemon.client_id,
                vault=tenant.daemon.credential.vault,
                secret=tenant.daemon.credential.name,
                candidate_id=candidate_id,
            )
        )


async def _end() -> None:
    """Nothing to close that the end of the process does not."""


if __name__ == "__main__":
    serve({"register": _Registering().register}, _end)
