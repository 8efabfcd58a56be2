"""Figure `list_keys_per_5_min`, on a simulated clock: what many instances together spend of one account's budget.

Each instance is a broker with its own share; requests of one tenant come in at random and go to any of them. The fake
Resource Manager refuses as Azure does, so a broker that spends too much also fails its requests.
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from shared.access.broker import Broker
from shared.access.documents import Document, Json, Query
from shared.access.failures import AccessError, Failure
from shared.access.models import Account, Credential, CredentialName, Daemon, Target
from shared.access.ports import Signer
from shared.access.retrieval import Steps
from shared.core.audit import Head
from shared.core.caller import ClientId
from shared.core.errors import BulkheadError
from shared.core.ids import DirectoryId, RequestId, TenantId
from shared.core.lease import Keyring, LeaseLimits, Purpose
from shared.core.secret import Secret
from tests.virtual_time import VirtualTimeLoop

RATES = (0.5, 1.0, 1.67, 2.0, 5.0, 10.0, 20.0)  # requests a second of the one tenant
INSTANCES = (1, 4, 40)
_WINDOW = 300.0  # seconds
_AZURES_LIMIT = 500  # listKeys in a window ("Azure Cosmos DB service quotas")
_WORK = 0.03  # seconds that an invocation works on the account
_LIMITS = LeaseLimits(max_age=60, keep_key=120, keep_token=300, patience=20)  # settings.py's defaults
_TARGET = Target(
    tenant_id=TenantId("ten_simulated"),
    daemon=Daemon(
        directory_id=DirectoryId("publisher"),
        client_id=ClientId("daemon"),
        credential=CredentialName(kind="secret", vault="https://vault", name="daemon"),
    ),
    account=Account(resource_id="/account", endpoint="https://account/"),
)
_PURPOSE = Purpose("benchmark", "simulate", "object", RequestId("req_simulated"), writes=True)


@dataclass(slots=True)
class _Azure:
    """All services behind the brokers' ports, with their latencies, on the loop's time."""

    loop: VirtualTimeLoop
    listed: list[float] = field(default_factory=list)
    sources: Counter[str] = field(default_factory=Counter)
    _window: deque[float] = field(default_factory=deque)

    async def read(self, _name: CredentialName) -> Credential:
        await asyncio.sleep(0.015)
        return Credential(form="secret", value=Secret("credential"))

    async def take_on(self, _daemon: Daemon, _credential: Credential) -> Secret:
        await asyncio.sleep(0.06)
        return Secret("token")

    async def list_keys(self, account: Account, _token: Secret) -> Keyring:
        await asyncio.sleep(0.12)
        now = self.loop.time()
        while self._window and self._window[0] <= now - _WINDOW:
            self._window.popleft()
        if len(self._window) >= _AZURES_LIMIT:
            raise AccessError(3, Failure.THROTTLED, status=429, retry_after=self._window[0] + _WINDOW - now)
        self._window.append(now)
        self.listed.append(now)
        keys: Iterable[Any] = (("primary", Secret("key-1")), ("secondary", Secret("key-2")))
        return Keyring(account.resource_id, keys)

    def open(self, _account: Account, _signer: Signer) -> "_Documents":
        return _Documents(self)

    async def confirm(self, _tenant_id: TenantId) -> None:
        await asyncio.sleep(0.005)

    async def keep(self, _tenant_id: TenantId, _head: Head) -> None:
        await asyncio.sleep(0.005)

    async def of(self, _tenant_id: TenantId) -> list[Head]:
        return []


@dataclass(frozen=True, slots=True)
class _Documents:
    """The account: takes access records, and counts how each key was come by."""

    azure: _Azure

    async def write_together(self, _container: str, _partition: str, create: list[Json], upsert: list[Json]) -> None:
        await asyncio.sleep(0.005)
        assert upsert
        self.azure.sources.update(str(record["key_source"]) for record in create)

    async def read(self, container: str, partition: str, document_id: str) -> Document | None:
        raise NotImplementedError

    async def create(self, container: str, body: Json) -> Document:
        raise NotImplementedError

    async def replace(self, container: str, body: Json, etag: str) -> Document:
        raise NotImplementedError

    async def delete(self, container: str, partition: str, document_id: str) -> None:
        raise NotImplementedError

    async def query(self, query: Query) -> list[Document]:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Outcome:
    """One simulated run."""

    rate: float
    instances: int
    requests: int
    failed: int
    worst_window: int
    sources: dict[str, int]  # how often a key was come by in which way

    def __str__(self) -> str:
        ways = ", ".join(f"{name} {count / self.requests:.1%}" for name, count in sorted(self.sources.items()))
        return (
            f"{self.rate:5.2f}/s on {self.instances:2} instances: at most {self.worst_window:3} listKeys in 5 minutes, "
            f"{self.failed} of {self.requests} failed; {ways}"
        )


def simulate(rate: float, instances: int, minutes: float, seed: int = 1) -> Outcome:
    """Requests of one tenant come in at `rate` a second for so many minutes."""
    loop = VirtualTimeLoop()
    try:
        return loop.run_until_complete(_simulate(loop, rate, instances, minutes * 60, random.Random(seed)))  # noqa: S311 - arrivals
    finally:
        loop.close()


async def _simulate(
    loop: VirtualTimeLoop, rate: float, instances: int, seconds: float, chance: random.Random
) -> Outcome:
    azure = _Azure(loop)
    brokers = [_broker(azure, instances) for _ in range(instances)]
    failed = 0

    async def request(broker: Broker) -> None:
        nonlocal failed
        try:
            async with broker.lease(_TARGET, _PURPOSE):
                await asyncio.sleep(_WORK)
        except BulkheadError:
            failed += 1

    requests = 0
    async with asyncio.TaskGroup() as group:
        while loop.time() < seconds:
            await asyncio.sleep(chance.expovariate(rate))
            group.create_task(request(chance.choice(brokers)))
            requests += 1
    await asyncio.sleep(_LIMITS.keep_token + 1)  # until nothing is kept any more
    return Outcome(rate, instances, requests, failed, _worst(azure.listed), dict(azure.sources))


def _broker(azure: _Azure, instances: int) -> Broker:
    return Broker(
        Steps(azure, azure, azure, azure.loop),
        azure,
        azure,
        azure,
        azure.loop,
        lambda _name, /, **_fields: None,
        _LIMITS,
        share=True,
        instances=instances,
    )


def _worst(listed: list[float]) -> int:
    """The most listings in any window of 5 minutes."""
    worst, first = 0, 0
    for last, moment in enumerate(listed):
        while listed[first] <= moment - _WINDOW:
            first += 1
        worst = max(worst, last - first + 1)
    return worst


def figures(minutes: float) -> dict[str, Any]:
    """The worst window over all rates and numbers of instances; a failed request spoils the figure."""
    outcomes = [simulate(rate, instances, minutes) for instances in INSTANCES for rate in RATES]
    return {
        "list_keys_per_5_min": max(outcome.worst_window for outcome in outcomes),
        "list_keys_failed_requests": sum(outcome.failed for outcome in outcomes),
        "list_keys_runs": [str(outcome) for outcome in outcomes],
    }
