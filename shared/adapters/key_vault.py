"""Step 1: the daemon's credential out of Key Vault, with the service's managed identity.

Or, for a federated daemon, a token of the managed identity itself, which Entra takes as the daemon's assertion.
"""

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError
from azure.core.pipeline.policies import AsyncBearerTokenCredentialPolicy
from azure.keyvault.secrets.aio import SecretClient

from shared.access.failures import AccessError, Failure
from shared.access.models import Credential, CredentialForm, CredentialName
from shared.adapters.failure import access_error
from shared.adapters.http import PLAIN_POLICIES, SharedTransport
from shared.core.secret import Secret

_SCOPE = "https://vault.azure.net/.default"
_EXCHANGE_SCOPE = "api://AzureADTokenExchange/.default"

# By content type ("About Azure Key Vault certificates", composition of a certificate). Secrets made by hand often have
# none: they are what they were registered as. A certificate without its content type could be either form: refused.
_FORMS: dict[str, CredentialForm] = {
    "secret": "client_secret",
    "text/plain": "client_secret",
    "application/x-pem-file": "pem",
    "application/x-pkcs12": "pkcs12",
}


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
            # The audience is fixed, so the vault need not be asked for it by a request that it challenges.
            policies = (*PLAIN_POLICIES, AsyncBearerTokenCredentialPolicy(self._identity, _SCOPE))
            client = SecretClient(name.vault, self._identity, transport=self._transport, policies=policies)
            self._clients[name.vault] = client
        try:
            secret = await client.get_secret(name.name)
        except AzureError as error:
            raise access_error(1, error) from error
        form = _FORMS.get((secret.properties.content_type or name.kind).lower())
        if not secret.value or form is None:
            raise AccessError(1, Failure.MISCONFIGURED)
        return Credential(form=form, value=Secret(secret.value))

    async def _assertion(self) -> Credential:
        """The managed identity's token for the exchange ("Configure an application to trust a managed identity")."""
        try:
            token = await self._identity.get_token(_EXCHANGE_SCOPE)
        except AzureError as error:
            raise access_error(1, error) from error
        return Credential(form="assertion", value=Secret(token.token))
