"""What the broker needs from outside, one protocol a step."""

from collections.abc import Sequence
from typing import Protocol

from shared.access.documents import Documents
from shared.access.models import Account, Credential, CredentialName, Daemon
from shared.core.lease import AccountKey
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

    async def list_keys(self, account: Account, token: Secret) -> Sequence[AccountKey]:
        """The account's four keys. Raises AccessError."""
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
