"""The broker: opens one tenant's account for one invocation, just in time, and forgets everything afterwards.

Steps, as in docs/architecture.md:
1. the managed identity reads the daemon's credential from Key Vault,
2. with it Entra ID issues a token of the daemon application,
3. with the token Resource Manager is asked for the account's keys,
4. and answers with them,
5. with one key, the invocation works on the account's data.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec

from shared.access import log
from shared.access.documents import Documents
from shared.access.failures import REACTIONS, AccessError, Failure, unavailable
from shared.access.models import Target
from shared.access.ports import AccountOpener, IdentityProvider, ResourceManager, Vault
from shared.core.audit import access_record
from shared.core.clock import Clock
from shared.core.ids import LeaseId, new_id
from shared.core.lease import AccountKey, KeyKind, Lease, Purpose

# The first kind is used unless the account has just refused it; then the other one is tried.
_WRITING: tuple[KeyKind, ...] = ("primary", "secondary")
_READING: tuple[KeyKind, ...] = ("primary_readonly", "secondary_readonly")
_LISTINGS = 3  # listed, regenerated, listed again; a third time for the other key


@dataclass(frozen=True, slots=True)
class Broker:
    """Gives leases. Holds no secret between two of them."""

    vault: Vault
    identity_provider: IdentityProvider
    resource_manager: ResourceManager
    accounts: AccountOpener
    clock: Clock
    max_age: float  # seconds that a lease signs without being renewed
    sleep: Callable[[float], "asyncio.Future[None]"] = asyncio.sleep  # type: ignore[assignment]

    @asynccontextmanager
    async def lease(self, target: Target, purpose: Purpose) -> AsyncIterator[Documents]:
        """Open the account of `target` for `purpose`; leaving the block ends it and forgets the key.

        Raises BulkheadError (unavailable) when a step fails for good.
        """
        holder = _Holder(self, target, purpose)
        try:
            await holder.renew(refused=False)
            yield self.accounts.open(target.account, holder)
        finally:
            holder.end()

    async def retrieve(self, target: Target) -> Sequence[AccountKey]:
        """Steps 1 to 4, tried again as the table of failures says. Raises BulkheadError (unavailable)."""
        attempt = 1
        while True:
            try:
                credential = await self.vault.read(target.daemon.credential)  # 1
                token = await self.identity_provider.take_on(target.daemon, credential)  # 2
                return await self.resource_manager.list_keys(target.account, token)  # 3, 4
            except AccessError as error:
                reaction = REACTIONS[error.failure]
                if attempt >= reaction.attempts:
                    raise unavailable(error) from error
                await self.sleep(reaction.pause * 2 ** (attempt - 1))
                attempt += 1


class _Holder:
    """One invocation's hold on one account: signs with its lease, and can fetch the key once more."""

    def __init__(self, broker: Broker, target: Target, purpose: Purpose) -> None:
        self._broker = broker
        self._target = target
        self._purpose = purpose
        self._lease_id = LeaseId(new_id("lea", broker.clock.now()))
        self._lease = self._new_lease()
        self._refused: set[str] = set()  # fingerprints of keys that the account no longer takes
        self._fingerprint = ""

    def sign(self, endpoint: str, verb: str, resource_type: str, resource_link: str, date: str) -> str:
        """See Lease.sign."""
        return self._lease.sign(endpoint, verb, resource_type, resource_link, date)

    def end(self) -> None:
        """End the lease."""
        self._lease.end()

    async def renew(self, *, refused: bool) -> None:
        """Steps 1 to 4, then the access record, and only then the key.

        Raises BulkheadError (unavailable) when a step fails, the record cannot be written, or no key is left that
        the account has not refused.
        """
        if refused:
            self._refused.add(self._fingerprint)
        for _ in range(_LISTINGS):
            keys = await self._broker.retrieve(self._target)
            writing = self._choose(keys, _WRITING)
            key = writing if self._purpose.writes else self._choose(keys, _READING)
            self._fingerprint = self._name(key)
            try:
                await self._record(key, writing)
            except _KeyRefusedError:
                self._refused.add(self._name(writing))  # regenerated since it was listed: list again
            else:
                self._lease.hold(key)
                return
        raise unavailable(AccessError(5, Failure.DENIED))

    def _name(self, key: AccountKey) -> str:
        return key.secret.fingerprint(self._target.account.resource_id)

    def _choose(self, keys: Sequence[AccountKey], kinds: tuple[KeyKind, ...]) -> AccountKey:
        for kind in kinds:
            for key in keys:
                if key.kind == kind and self._name(key) not in self._refused:
                    return key
        raise unavailable(AccessError(5, Failure.DENIED))

    async def _record(self, key: AccountKey, writing: AccountKey) -> None:
        """Write the access record. A key for reading is recorded with the one for writing, used for nothing else."""
        now = self._broker.clock.now()
        record = access_record(
            new_id("acc", now),
            now,
            self._target.tenant_id,
            self._lease_id,
            self._purpose,
            self._target.daemon.client_id,
            key.kind,
            self._fingerprint,
        )
        lease = self._new_lease()
        lease.hold(writing)
        try:
            documents = self._broker.accounts.open(self._target.account, _Once(lease))
            await documents.create(log.CONTAINER, msgspec.to_builtins(record))
        finally:
            lease.end()

    def _new_lease(self) -> Lease:
        return Lease(
            self._lease_id,
            self._target.tenant_id,
            self._target.account.endpoint,
            self._purpose,
            max_age=self._broker.max_age,
            monotonic=self._broker.clock.monotonic,
        )


@dataclass(frozen=True, slots=True)
class _Once:
    """Signs for the access record alone; a refused key is not fetched again from here."""

    lease: Lease

    def sign(self, endpoint: str, verb: str, resource_type: str, resource_link: str, date: str) -> str:
        return self.lease.sign(endpoint, verb, resource_type, resource_link, date)

    async def renew(self, *, refused: bool) -> None:  # noqa: ARG002 - the port's form
        raise _KeyRefusedError


class _KeyRefusedError(Exception):
    """The account refused the key with which the access record was to be written."""
