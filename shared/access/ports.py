"""What the broker needs from outside: one protocol a step, and who watches."""

from collections.abc import Sequence
from typing import Protocol

from shared.access.documents import Documents
from shared.access.models import Account, Credential, CredentialName, Daemon
from shared.core.audit import Head
from shared.core.ids import TenantId
from shared.core.lease import Keyring
from shared.core.secret import Secret


class Vault(Protocol):
    """Step 1: Key Vault, opened with the service's managed identity."""

    async def read(self, name: CredentialName) -> Credential:
        """The newest version of a daemon's credential. Raises AccessError."""
        ...


class IdentityProvider(Protocol):
    """Step 2: Entra ID."""

    async def take_on(self, daemon: Daemon, credential: Credential) -> Secret:
        """An access token for Resource Manager with the daemon's identity. Raises AccessError."""
        ...


class ResourceManager(Protocol):
    """Steps 3 and 4: Azure Resource Manager."""

    async def list_keys(self, account: Account, token: Secret) -> Keyring:
        """The account's keys. Raises AccessError."""
        ...


class Signer(Protocol):
    """Signs the requests of step 5, so that nobody else needs the key."""

    def sign(self, endpoint: str, verb: str, resource_type: str, resource_link: str, date: str) -> str:
        """The Authorization header of one request. Raises LeaseEndedError."""
        ...

    async def renew(self, *, refused: bool) -> None:
        """Fetch a key anew: the account `refused` the last one, or the lease is too old. Raises BulkheadError."""
        ...


class AccountOpener(Protocol):
    """Step 5: Cosmos DB."""

    def open(self, account: Account, signer: Signer) -> Documents:
        """The documents of the account, every request signed by `signer`."""
        ...


class Standing(Protocol):
    """Whether a tenant may be served at all. The registry knows."""

    async def confirm(self, tenant_id: TenantId) -> None:
        """Ask now, from no cache. Raises BulkheadError unless the tenant is there and active: unknown means no."""
        ...


class Anchors(Protocol):
    """Where the heads of access logs are kept besides the tenant's own account: with the publisher."""

    async def keep(self, tenant_id: TenantId, head: Head) -> None:
        """Remember that the writer's chain has reached `head`. Raises BulkheadError."""
        ...

    async def of(self, tenant_id: TenantId) -> Sequence[Head]:
        """The newest anchor of each writer. Raises BulkheadError."""
        ...


class Watcher(Protocol):
    """Is told what the broker does, for metrics and logs. Fields are codes, ids and numbers."""

    def __call__(self, name: str, /, **fields: str | float | None) -> None:
        """Note one event."""
        ...
