"""Hand-written fakes of what the application needs from outside: documents, time, queues, accounts, tokens."""

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa

from shared.access.documents import Document, DocumentChangedError, DocumentExistsError, Json, Query
from shared.access.models import Account, CredentialName, Daemon, Target
from shared.core import token
from shared.core.caller import ClientId
from shared.core.errors import BulkheadError, Kind
from shared.core.ids import DirectoryId, TenantId
from shared.core.lease import Purpose
from shared.screening.models import ScreeningJob
from shared.tenants.models import Tenant
from shared.tenants.ports import ManagedApplication

START = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)

PUBLISHER = DirectoryId("0f000000-0000-4000-8000-000000000001")
AUDIENCE = "0f000000-0000-4000-8000-0000000000a1"
FRONT_END = ClientId("0f000000-0000-4000-8000-0000000000f1")
CONTOSO = DirectoryId("c0000000-0000-4000-8000-000000000001")
FABRIKAM = DirectoryId("fa000000-0000-4000-8000-000000000001")

TENANT_CONTAINERS = {
    "candidates": "candidate_id",
    "reports": "report_id",
    "settings": "kind",
    "idempotency": "id",
    "access_log": "month",
}
"""The partition field of each container of a tenant's account (infra/managed_app)."""

REGISTRY_CONTAINERS = {"tenants": "kind", "anchors": "tenant_id", "idempotency": "id"}


class ManualClock:
    """shared.core.clock.Clock that only moves when told to."""

    def __init__(self, start: datetime = START) -> None:
        self._now = start
        self._monotonic = 1_000.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds


class InMemoryDocuments:
    """shared.access.documents.Documents with ETags. Bodies are copied in and out, as a wire does.

    `partitions` gives each container's partition field, `unique` fields whose value is unique in a partition.
    `calls` lists what was asked, as (operation, container, id). `failures` are raised by the next calls in turn, before
    they have an effect (None: that call succeeds); one in `failures_after` by the next write, after it took effect.
    While `steals` is above 0, somebody else changes each document just before it is replaced.
    """

    def __init__(self, partitions: Mapping[str, str], unique: Mapping[str, Sequence[str]] | None = None) -> None:
        self._partitions = partitions
        self._unique = unique or {}
        self._stored: dict[tuple[str, str, str], Document] = {}
        self._etags = count(1)
        self.calls: list[tuple[str, str, str]] = []
        self.failures: list[Exception | None] = []
        self.failures_after: list[Exception] = []
        self.steals = 0

    async def read(self, container: str, partition: str, document_id: str) -> Document | None:
        await self._enter("read", container, document_id)
        found = self._stored.get((container, partition, document_id))
        return copy.deepcopy(found)

    async def create(self, container: str, body: Json) -> Document:
        await self._enter("create", container, body["id"])
        self._require_absent(container, body)
        kept = self._keep(container, body)
        self._answer()
        return kept

    async def replace(self, container: str, body: Json, etag: str) -> Document:
        await self._enter("replace", container, body["id"])
        current = self._stored.get(self._key(container, body))
        self.steals -= 1
        if current is None or self.steals >= 0 or etag not in ("*", current.etag):
            raise DocumentChangedError
        kept = self._keep(container, body)
        self._answer()
        return kept

    async def write_together(
        self, container: str, partition: str, create: Sequence[Json], upsert: Sequence[Json]
    ) -> None:
        await self._enter("write_together", container, partition)
        assert len(create) + len(upsert) <= 100
        for body in create:
            self._require_absent(container, body)
        for body in (*create, *upsert):
            assert body[self._partitions[container]] == partition
            self._keep(container, body)
        self._answer()

    async def delete(self, container: str, partition: str, document_id: str) -> None:
        await self._enter("delete", container, document_id)
        self._stored.pop((container, partition, document_id), None)

    async def query(self, query: Query) -> Sequence[Document]:
        await self._enter("query", query.container, "")
        found = [
            document
            for (container, partition, document_id), document in self._stored.items()
            if container == query.container
            and query.partition in (None, partition)
            and all(_equal(document.body.get(field), value) for field, value in query.where.items())
            and (query.after is None or (document_id < query.after if query.descending else document_id > query.after))
        ]
        found.sort(key=lambda document: str(document.body["id"]), reverse=query.descending)
        return copy.deepcopy(found[: query.limit])

    # --- for tests ---

    def all(self, container: str) -> list[Json]:
        """The bodies in `container`, ordered by id."""
        bodies = [document.body for (name, _, _), document in self._stored.items() if name == container]
        return sorted(bodies, key=lambda body: str(body["id"]))

    def put(self, container: str, body: Json) -> None:
        """Store `body` whatever is there."""
        self._keep(container, body)

    def damage(self, container: str, document_id: str, changes: Json) -> None:
        """Change fields of a stored document where it lies, whatever they mean."""
        for (name, _, stored_id), document in self._stored.items():
            if (name, stored_id) == (container, document_id):
                document.body.update(changes)

    async def _enter(self, operation: str, container: str, document_id: str) -> None:
        self.calls.append((operation, container, document_id))
        assert container in self._partitions, container
        await asyncio.sleep(0)  # others get their turn, as at a real account
        if self.failures and (failure := self.failures.pop(0)) is not None:
            raise failure

    def _answer(self) -> None:
        if self.failures_after:
            raise self.failures_after.pop(0)

    def _key(self, container: str, body: Json) -> tuple[str, str, str]:
        return container, body[self._partitions[container]], body["id"]

    def _require_absent(self, container: str, body: Json) -> None:
        key = self._key(container, body)
        if key in self._stored:
            raise DocumentExistsError
        for (name, partition, _), other in self._stored.items():
            if (name, partition) == key[:2] and any(
                other.body.get(field) == body.get(field) for field in self._unique.get(container, ())
            ):
                raise DocumentExistsError

    def _keep(self, container: str, body: Json) -> Document:
        document = Document(copy.deepcopy(body), f'"etag-{next(self._etags)}"')
        self._stored[self._key(container, body)] = document
        return copy.deepcopy(document)


def _equal(one: object, other: object) -> bool:
    """As Cosmos DB compares: true is not 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def tenant_documents() -> InMemoryDocuments:
    """An empty account of a tenant."""
    return InMemoryDocuments(TENANT_CONTAINERS)


def registry_documents() -> InMemoryDocuments:
    """An empty registry."""
    return InMemoryDocuments(REGISTRY_CONTAINERS, {"tenants": ("application_id",)})


class FakeBroker:
    """Opens in-memory accounts by their endpoint, and notes each lease. `failures` are raised by the next leases."""

    def __init__(self, accounts: Mapping[str, InMemoryDocuments]) -> None:
        self._accounts = accounts
        self.leases: list[tuple[Target, Purpose]] = []
        self.watched: list[bool] = []  # of each lease
        self.failures: list[BulkheadError] = []

    @asynccontextmanager
    async def lease(
        self, target: Target, purpose: Purpose, *, watched: bool = True
    ) -> AsyncIterator[InMemoryDocuments]:
        self.leases.append((target, purpose))
        self.watched.append(watched)
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop(0)
        yield self._accounts[target.account.endpoint]


class RecordingScreenings:
    """shared.screening.ports.ScreeningQueue. `failures` are raised by the next calls."""

    def __init__(self) -> None:
        self.jobs: list[ScreeningJob] = []
        self.delays: list[float] = []
        self.failures: list[BulkheadError] = []

    async def enqueue(self, jobs: list[ScreeningJob], delay: float) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.jobs += jobs
        self.delays += [delay] * len(jobs)


class RecordingRequests:
    """shared.screening.ports.RequestQueue. `failures` are raised by the next calls of `retry`."""

    def __init__(self) -> None:
        self.rejected: list[tuple[bytes, str]] = []
        self.retried: list[tuple[bytes, int, float]] = []
        self.failures: list[BulkheadError] = []

    async def reject(self, message: bytes, reason: str) -> None:
        self.rejected.append((message, reason))

    async def retry(self, message: bytes, attempt: int, delay: float) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.retried.append((message, attempt, delay))


class FakeApplications:
    """shared.tenants.ports.Applications: what Resource Manager would tell."""

    def __init__(self, applications: Iterable[ManagedApplication] = ()) -> None:
        self._applications = {one.application_id: one for one in applications}

    async def describe(self, application_id: str) -> ManagedApplication:
        try:
            return self._applications[application_id]
        except KeyError:
            raise BulkheadError(Kind.UNPROCESSABLE, "application_unusable", "No such application.") from None


def rsa_key(name: str = "entra") -> rsa.RSAPrivateKey:
    """A throw-away key; the same name gives the same key within a process."""
    return _rsa_keys(name)


@cache
def _rsa_keys(_: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class TokenFactory:
    """Signs tokens as Entra ID would for Bulkhead's API."""

    ISSUER = "https://login.microsoftonline.com/{tenantid}/v2.0"

    def __init__(self, clock: ManualClock, kid: str = "entra-1") -> None:
        self._clock = clock
        self.kid = kid

    @property
    def key(self) -> token.SigningKey:
        """The public key, as Entra publishes it."""
        return token.SigningKey(self.kid, rsa_key().public_key(), self.ISSUER)

    def claims(self, directory: str = CONTOSO, *roles: str, **changes: Any) -> dict[str, Any]:
        """Claims of a good token; a change to None removes the claim."""
        now = int(self._clock.now().timestamp())
        claims = {
            "aud": AUDIENCE,
            "iss": self.ISSUER.replace("{tenantid}", directory),
            "tid": directory,
            "oid": "0d000000-0000-4000-8000-000000000001",
            "azp": FRONT_END,
            "roles": list(roles),
            "ver": "2.0",
            "iat": now,
            "nbf": now,
            "exp": now + 3600,
        }
        return {name: value for name, value in (claims | changes).items() if value is not None}

    def token(self, directory: str = CONTOSO, *roles: str, **changes: Any) -> str:
        """A signed token."""
        return self.sign(self.claims(directory, *roles, **changes))

    def sign(self, claims: Mapping[str, Any], *, kid: str | None = None, key: Any = None) -> str:
        """A token with exactly these claims."""
        payload = json.dumps(dict(claims)).encode()  # as it is: jwt.encode refuses claims that a forger would not
        return jwt.PyJWS().encode(payload, key or rsa_key(), algorithm="RS256", headers={"kid": kid or self.kid})


class FakeSigningKeys:
    """In place of shared.adapters.entra.SigningKeys: knows one key."""

    def __init__(self, key: token.SigningKey) -> None:
        self._key = key

    async def get(self, kid: str) -> token.SigningKey:
        if kid != self._key.kid:
            raise BulkheadError(Kind.UNAUTHENTICATED, "invalid_token", "The token's key is unknown.")
        return self._key


@dataclass(frozen=True)
class Names:
    """What belongs together of one made-up tenant."""

    name: str
    directory_id: DirectoryId
    number: int = 1

    @property
    def tenant_id(self) -> TenantId:
        return TenantId("ten_" + f"{self.name}{self.number}".translate(str.maketrans("ilou", "vvvv")).ljust(26, "0"))

    @property
    def account(self) -> Account:
        return Account(
            resource_id=f"/subscriptions/5{self.directory_id[1:]}/resourceGroups/{self.name}{self.number}"
            f"/providers/Microsoft.DocumentDB/databaseAccounts/{self.name}{self.number}",
            endpoint=f"https://{self.name}{self.number}.documents.azure.com:443/",
        )

    @property
    def application_id(self) -> str:
        return (
            f"/subscriptions/5{self.directory_id[1:]}/resourcegroups/apps/providers"
            f"/microsoft.solutions/applications/{self.name}{self.number}"
        )

    def tenant(self, **changes: Any) -> Tenant:
        """The registry's entry."""
        stamp = "2026-11-01T00:00:00.000Z"
        made = Tenant(
            id=self.tenant_id,
            name=self.name.title(),
            directory_id=self.directory_id,
            application_id=self.application_id,
            account=self.account,
            daemon=Daemon(
                directory_id=PUBLISHER,
                client_id=ClientId("da000000-0000-4000-8000-000000000001"),
                credential=CredentialName(
                    kind="secret", vault="https://bulkhead-kv.vault.azure.net", name=f"daemon-{self.name}"
                ),
            ),
            status="active",
            created_at=stamp,
            updated_at=stamp,
        )
        return msgspec.structs.replace(made, **changes)


CONTOSO_HR = Names("contoso", CONTOSO)
CONTOSO_RETAIL = Names("contoso", CONTOSO, 2)
FABRIKAM_HR = Names("fabrikam", FABRIKAM)
