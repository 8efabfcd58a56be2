"""Step 1: the daemon's credential out of Key Vault, with the service's managed identity.

Or, for a federated daemon, a token of the managed identity itself, which Entra takes as the daemon's assertion.
"""

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError
from azure.keyvault.secrets.aio import SecretClient

from shared.access.failures import AccessError, Failure
from shared.access.models import Credential, CredentialName
from shared.adapters.failure import access_error
from shared.adapters.http import SharedTransport
from shared.core.secret import Secret

_EXCHANGE_SCOPE = "api://AzureADTokenExchange/.default"


class KeyVault:
    """shared.access.ports.Vault. One client per vault; the vaults are few, the tenants many."""

    def __init__(self, transport: SharedTransport, identity: AsyncTokenCredential) -> None:
        self._transport = transport
        self._identity = identity
        self._clients: dict[str, SecretClient] = {}

    async def read(self, name: CredentialName) -> Credential:
        """The newest version of the credential. Raises AccessError."""
        if name.kind == "federated":
            return await self._assertion()
        client = self._clients.get(name.vault)
        if client is None:
            client = SecretClient(name.vault, self._identity, transport=self._transport, retry_total=0)
            self._clients[name.vault] = client
        try:
            secret = await client.get_secret(name.name)
        except AzureError as error:
            raise access_error(1, error) from error
        if not secret.value:
            raise AccessError(1, Failure.MISCONFIGURED)
        return Credential(kind=name.kind, content_type=secret.properties.content_type or "", value=Secret(secret.value))

    async def _assertion(self) -> Credential:
        """The managed identity's token for the exchange ("Configure an application to trust a managed identity")."""
        try:
            token = await self._identity.get_token(_EXCHANGE_SCOPE)
        except AzureError as error:
            raise access_error(1, error) from error
        return Credential(kind="federated", content_type="", value=Secret(token.token))
