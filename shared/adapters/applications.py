"""Resource Manager, read with the control plane's managed identity: what registering a tenant has to know."""

import asyncio
from typing import Any, cast

import msgspec
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError
from azure.core.pipeline.policies import AsyncRetryPolicy, ContentDecodePolicy, UserAgentPolicy
from azure.core.rest import AsyncHttpResponse, HttpRequest
from azure.mgmt.core import AsyncARMPipelineClient
from azure.mgmt.core.policies import AsyncARMChallengeAuthenticationPolicy
from azure.mgmt.cosmosdb.aio import CosmosDBManagementClient

from shared.access.models import Account
from shared.adapters.http import SharedTransport
from shared.adapters.resource_manager import HOST
from shared.core.errors import BulkheadError, FieldError, Kind
from shared.core.ids import DirectoryId
from shared.tenants.ports import ManagedApplication

_SCOPE = f"{HOST}/.default"
_WITHIN = 60.0  # seconds: the SDKs alone would wait as long as a Retry-After says


class ResourceManagerApplications:
    """shared.tenants.ports.Applications."""

    def __init__(self, transport: SharedTransport, identity: AsyncTokenCredential, *, within: float = _WITHIN) -> None:
        self._transport = transport
        self._within = within
        self._identity = identity
        self._client: AsyncARMPipelineClient[HttpRequest, AsyncHttpResponse] = AsyncARMPipelineClient(
            base_url=HOST,
            policies=[
                UserAgentPolicy("bulkhead"),
                AsyncRetryPolicy(retry_total=2, retry_backoff_max=5),
                AsyncARMChallengeAuthenticationPolicy(identity, _SCOPE),
                ContentDecodePolicy(),
            ],
            transport=transport,
        )

    async def describe(self, application_id: str) -> ManagedApplication:
        """Read the application, its subscription's directory and its one account. Raises BulkheadError."""
        try:
            async with asyncio.timeout(self._within):
                return await self._describe(application_id)
        except (ResourceNotFoundError, KeyError) as error:
            raise _unusable("There is no such managed application.") from error
        except HttpResponseError as error:
            if error.status_code == 403:
                raise _unusable("Resource Manager does not show this application to Bulkhead.") from error
            raise _unavailable() from error
        except (AzureError, TimeoutError) as error:
            raise _unavailable() from error

    async def _describe(self, application_id: str) -> ManagedApplication:
        application = await self._get(application_id, "2021-07-01")
        subscription_id = application_id.split("/")[2]
        subscription = await self._get(f"/subscriptions/{subscription_id}", "2022-12-01")
        directory_id = DirectoryId(str(subscription["tenantId"]).lower())
        group = str(application["properties"]["managedResourceGroupId"]).rsplit("/", 1)[-1]
        async with CosmosDBManagementClient(
            self._identity, subscription_id, transport=self._transport, retry_total=2
        ) as cosmos:
            accounts = [one async for one in cosmos.database_accounts.list_by_resource_group(group)]
        if len(accounts) != 1:
            raise _unusable("The application's resource group does not hold exactly one Cosmos DB account.")
        found = {"resource_id": accounts[0].id, "endpoint": accounts[0].document_endpoint}
        try:
            account = msgspec.convert(found, Account)
        except msgspec.ValidationError as error:
            raise _unusable("The application's Cosmos DB account has no address that Bulkhead knows.") from error
        return ManagedApplication(application_id=application_id, directory_id=directory_id, account=account)

    async def _get(self, resource_id: str, api_version: str) -> dict[str, Any]:
        response = await self._client.send_request(
            HttpRequest("GET", f"{HOST}{resource_id}", params={"api-version": api_version})
        )
        if response.status_code == 404:
            raise ResourceNotFoundError(response=response)
        response.raise_for_status()
        return cast(dict[str, Any], response.json())


def _unusable(detail: str) -> BulkheadError:
    return BulkheadError(
        Kind.UNPROCESSABLE, "application_unusable", detail, fields=(FieldError("/application_id", detail),)
    )


def _unavailable() -> BulkheadError:
    return BulkheadError(
        Kind.UNAVAILABLE, "resource_manager_unavailable", "Resource Manager does not answer.", retry_after=10
    )
