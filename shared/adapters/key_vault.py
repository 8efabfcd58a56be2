"""Step 1: the daemon's credential out of Key Vault, with the service's managed identity.

Or, for a federated daemon, a token of the managed identity itself, which Entra takes as the daemon's assertion.
"""

from typing import Any, cast

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError
from azure.core.pipeline.policies import AsyncBearerTokenCredentialPolicy
from azure.core.rest import AsyncHttpResponse, HttpRequest
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

    def __init__(self, transport: SharedTransport, identity: AsyncTokenCredential, *, federated: bool) -> None:
        """`federated` allows daemons that trust the identity; else no token for them is asked for."""
        self._transport = transport
        self._identity = identity
        self._federated = federated
        self._clients: dict[str, SecretClient] = {}

    async def read(self, name: CredentialName) -> Credential:
        """The newest version of the credential. Raises AccessError."""
        if name.kind == "federated":
            if not self._federated:
                raise AccessError(1, Failure.MISCONFIGURED)
            return await self._assertion()
        client = self._clients.get(name.vault)
        if client is None:
            # The audience is fixed, so the vault need not be asked for it by a request that it challenges.
            policies = (*PLAIN_POLICIES, AsyncBearerTokenCredentialPolicy(self._identity, _SCOPE))
            client = SecretClient(name.vault, self._identity, transport=self._transport, policies=policies)
            self._clients[name.vault] = client
        try:
            # Not get_secret: the models that it makes of the answer cost more than all that we do with it.
            response = await client.send_request(HttpRequest("GET", f"secrets/{name.name}"))
            response.raise_for_status()
        except AzureError as error:
            raise access_error(1, error) from error
        return _credential(response, name.kind)

    async def _assertion(self) -> Credential:
        """The managed identity's token for the exchange ("Configure an application to trust a managed identity")."""
        try:
            token = await self._identity.get_token(_EXCHANGE_SCOPE)
        except AzureError as error:
            raise access_error(1, error) from error
        return Credential(form="assertion", value=Secret(token.token))


def _credential(response: AsyncHttpResponse, kind: str) -> Credential:
    """The credential in an answer of "Get Secret". Raises AccessError without the parser's, which quotes the text."""
    try:
        secret = cast(dict[str, Any], response.json())
        form = _FORMS.get((secret.get("contentType") or kind).lower())
        if form is not None and secret.get("value"):
            return Credential(form=form, value=Secret(secret["value"]))
    except (ValueError, TypeError, AttributeError):
        pass
    raise AccessError(1, Failure.MISCONFIGURED)
