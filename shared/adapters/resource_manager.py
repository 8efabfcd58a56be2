"""Azure Resource Manager: steps 3 and 4, with the daemon's token."""

from typing import Any, cast

from azure.core.exceptions import AzureError
from azure.core.rest import AsyncHttpResponse, HttpRequest
from azure.mgmt.core import AsyncARMPipelineClient

from shared.access.failures import AccessError, Failure
from shared.access.models import Account
from shared.adapters.failure import access_error
from shared.adapters.http import PLAIN_POLICIES, SharedTransport
from shared.core.lease import KeyKind, Keyring
from shared.core.secret import Secret

HOST = "https://management.azure.com"
COSMOS_API_VERSION = "2024-11-15"
_FIELDS: dict[str, KeyKind] = {
    "primaryMasterKey": "primary",
    "secondaryMasterKey": "secondary",
    "primaryReadonlyMasterKey": "primary_readonly",
    "secondaryReadonlyMasterKey": "secondary_readonly",
}


class ResourceManager:
    """shared.access.ports.ResourceManager.

    A pipeline without a credential of its own: the token of each call is the daemon's, handed in for that call. The
    management client would be made anew for each of them (docs/adr/0003).
    """

    def __init__(self, transport: SharedTransport) -> None:
        self._client: AsyncARMPipelineClient[HttpRequest, AsyncHttpResponse] = AsyncARMPipelineClient(
            base_url=HOST,
            policies=PLAIN_POLICIES,
            transport=transport,
        )

    async def list_keys(self, account: Account, token: Secret) -> Keyring:
        """The account's four keys ("Database Accounts - List Keys"). Raises AccessError."""
        request = HttpRequest(
            "POST",
            f"{HOST}{account.resource_id}/listKeys",
            params={"api-version": COSMOS_API_VERSION},
            headers={"Authorization": f"Bearer {token.reveal()}", "Accept": "application/json"},
        )
        try:
            response = await self._client.send_request(request)
            response.raise_for_status()
        except AzureError as error:
            raise access_error(3, error) from error
        finally:
            request.headers.pop("Authorization", None)  # an error's traceback keeps the request, not the token
        keys = _listed(response)
        if not keys:
            raise AccessError(3, Failure.MISCONFIGURED)
        return Keyring(account.resource_id, keys)


def _listed(response: AsyncHttpResponse) -> list[tuple[KeyKind, Secret]]:
    """The keys of an answer; none when it is no answer. The parser's error quotes the text, so it goes no further."""
    try:
        answer = cast(dict[str, Any], response.json())
        return [(kind, Secret(answer[field])) for field, kind in _FIELDS.items() if answer.get(field)]
    except (ValueError, TypeError, AttributeError):
        return []
