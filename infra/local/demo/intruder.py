"""Azure's own SDKs in the hands of somebody who holds what Bulkhead holds for the length of one invocation."""

import os
import ssl
from typing import Any, Self

import aiohttp
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.core.pipeline.transport import AioHttpTransport
from azure.cosmos.aio import CosmosClient
from azure.identity.aio import CertificateCredential, ClientSecretCredential, ManagedIdentityCredential
from azure.keyvault.secrets.aio import SecretClient
from azure.mgmt.cosmosdb.aio import CosmosDBManagementClient

from infra.local.company import Company
from infra.local.endpoints import Endpoints


class Intruder:
    """Takes on daemons and managed identities, lists keys and uses them. Nothing here knows the stand-in.

    The process's environment becomes that of the app, so that the SDKs run under Azure's real host names.
    """

    def __init__(self, endpoints: Endpoints) -> None:
        os.environ.update(endpoints.env)
        context = ssl.create_default_context(cafile=endpoints.ca_bundle)
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), trust_env=True)
        self._transport = AioHttpTransport(session=self._session, session_owner=False)
        self._env = endpoints.env

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    def managed_identity(self, setting: str) -> ManagedIdentityCredential:
        """The service's identity whose client id is in this app setting."""
        return ManagedIdentityCredential(client_id=self._env[setting], transport=self._transport)

    async def daemon(self, company: Company) -> AsyncTokenCredential:
        """A tenant's daemon, its credential read from the vault as the service does it."""
        registered, directory = company.registered, self._env["BULKHEAD_PUBLISHER_DIRECTORY_ID"]
        identity = self.managed_identity("BULKHEAD_IDENTITY_CLIENT_ID")
        async with SecretClient(registered["vault"], identity, transport=self._transport) as vault:
            value = (await vault.get_secret(registered["credential_name"])).value or ""
        client_id = registered["daemon_client_id"]
        if registered["credential"] == "secret":
            return ClientSecretCredential(directory, client_id, value, transport=self._transport)
        return CertificateCredential(directory, client_id, certificate_data=value.encode(), transport=self._transport)

    async def list_keys(self, credential: AsyncTokenCredential, company: Company) -> dict[str, str]:
        """Steps 3 and 4 on a company's account. Raises HttpResponseError."""
        deployed = company.deployed
        async with CosmosDBManagementClient(
            credential, deployed["subscription_id"], transport=self._transport
        ) as management:
            keys = await management.database_accounts.list_keys(deployed["resource_group"], company.account)
        return {
            "primary": str(keys.primary_master_key),
            "secondary": str(keys.secondary_master_key),
            "primaryReadonly": str(keys.primary_readonly_master_key),
        }

    async def read_reports(self, company: Company, key: str) -> list[dict[str, Any]]:
        """Step 5 with a key on a company's account. Raises CosmosHttpResponseError, an HttpResponseError."""
        endpoint = f"https://{company.account}.documents.azure.com:443/"
        async with CosmosClient(endpoint, key, transport=self._transport, retry_total=0) as client:
            container = client.get_database_client("bulkhead").get_container_client("reports")
            return [item async for item in container.query_items("SELECT * FROM c")]


def refusal(error: HttpResponseError) -> str:
    """How Azure refused, in short."""
    code = getattr(getattr(error, "error", None), "code", "") or type(error).__name__
    status = error.status_code or ("401" if isinstance(error, ClientAuthenticationError) else "?")
    return f"{status} {code}"
