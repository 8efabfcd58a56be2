"""Resource Manager's operations on Cosmos DB accounts: read, keys, regeneration.

Sources: learn.microsoft.com/rest/api/cosmos-db-resource-provider/database-accounts (paths, bodies),
learn.microsoft.com/azure/azure-resource-manager/management/async-operations (long-running operations),
learn.microsoft.com/azure/cosmos-db/concepts-limits (control-plane limits).
"""

from typing import Any

import msgspec

from infra.local.standin.arm import HOST, ArmError, ArmRequest, body_of, not_found
from infra.local.standin.budgets import Window
from infra.local.standin.cosmos.accounts import KEY_KINDS, Account, Accounts, KeyKind
from infra.local.standin.regenerations import Regeneration, Regenerations
from infra.local.standin.resources import LOCATION
from infra.local.standin.scopes import covers
from infra.local.standin.wire import Answer, World

KIND = "Microsoft.DocumentDB/databaseAccounts"
BUDGET_WINDOW = 300  # seconds; 500 readings of keys in it per account are Azure's limit
_FIELDS: dict[KeyKind, str] = {kind: f"{kind}MasterKey" for kind in KEY_KINDS}


class _Regeneration(msgspec.Struct, rename="camel"):
    """What is sent to regenerate a key."""

    key_kind: str


class AccountOperations:
    """The operations; access is checked by the caller."""

    def __init__(self, world: World, accounts: Accounts, regenerations: Regenerations) -> None:
        self._world = world
        self._accounts = accounts
        self._regenerations = regenerations
        self._readings = Window(BUDGET_WINDOW)

    def get(self, request: ArmRequest) -> Answer:
        """One account."""
        return Answer(200, self._body(self._account(request)))

    def list_in_group(self, request: ArmRequest) -> Answer:
        """The accounts of a resource group."""
        scope = request.resource_id
        inside = [account for account in self._accounts.all() if covers(scope, account.resource_id)]
        return Answer(200, {"value": [self._body(account) for account in inside]})

    def list_keys(self, request: ArmRequest) -> Answer:
        """All four keys."""
        return self._keys(request, KEY_KINDS)

    def read_only_keys(self, request: ArmRequest) -> Answer:
        """The two read-only keys; the same answer by GET and by POST, which are two different actions."""
        return self._keys(request, ("primaryReadonly", "secondaryReadonly"))

    def regenerate_key(self, request: ArmRequest) -> Answer:
        """Start to regenerate one key: 202 with both headers by which its end can be awaited."""
        account = self._account(request)
        wanted = body_of(request.call, _Regeneration).key_kind
        kind = next((kind for kind in KEY_KINDS if kind == wanted), None)
        if kind is None:
            raise ArmError(400, "BadRequest", f"The value of 'keyKind' is not one of {', '.join(KEY_KINDS)}.")
        if self._regenerations.running(account.name):
            raise ArmError(
                412,
                "PreconditionFailed",
                "There is already an operation in progress which requires exclusive lock on this service "
                f"{account.name}. Please retry the operation after sometime.",
            )
        operation = self._regenerations.begin(account.name, kind, request.subscription.id, request.claims.object_id)
        return Answer(202, {"status": "Enqueued"}, _polling_headers(operation, request))

    def operation_status(self, request: ArmRequest) -> Answer:
        """What the Azure-AsyncOperation header leads to: 200 with the status in the body."""
        operation = self._operation(request)
        ended = self._regenerations.ended(operation)
        status = "Succeeded" if ended else "InProgress"
        body = {"id": request.resource_id, "name": operation.id, "status": status}
        return Answer(200, body, {} if ended else {"Retry-After": "1"})

    def operation_result(self, request: ArmRequest) -> Answer:
        """What the Location header leads to: 202 until the end, then 200."""
        operation = self._operation(request)
        if self._regenerations.ended(operation):
            return Answer(200)
        return Answer(202, headers=_polling_headers(operation, request))

    def _operation(self, request: ArmRequest) -> Regeneration:
        operation = self._regenerations.get(request.parts["operation"])
        asked_by = (request.subscription.id, request.claims.object_id)
        if operation is None or (operation.subscription_id, operation.started_by) != asked_by:
            raise ArmError(404, "NotFound", f"The operation {request.parts['operation']} was not found.")
        return operation

    def _account(self, request: ArmRequest) -> Account:
        account = self._accounts.by_resource_id(request.resource_id)
        if account is None:
            raise not_found(KIND, request.resource_id)
        return account

    def _keys(self, request: ArmRequest, kinds: tuple[KeyKind, ...]) -> Answer:
        account = self._account(request)
        self._spend(account, request.action)
        return Answer(200, {_FIELDS[kind]: account.keys[kind] for kind in kinds})

    def _spend(self, account: Account, action: str) -> None:
        """Count against the budget, whichever keys are read. Source of the words: github.com/Azure/azqr/issues/34."""
        most = self._world.settings.list_keys_budget
        if most is not None and (wait := self._readings.spend(account.name, most, self._world.now())):
            raise ArmError(
                429,
                "ResourceRequestsThrottled",
                f"Number of requests for action '{action}' exceeded the limit of '{most}' for time interval "
                f"'00:05:00'. Please try again after '{wait}' seconds.",
                {"Retry-After": str(wait)},
            )

    def _body(self, account: Account) -> dict[str, Any]:
        location = {
            "id": f"{account.name}-{LOCATION}",
            "locationName": "West Europe",
            "documentEndpoint": f"https://{account.name}-{LOCATION}.documents.azure.com:443/",
            "provisioningState": "Succeeded",
            "failoverPriority": 0,
        }
        # Azure leaves out a key that was not regenerated since mid-2022.
        generated = {kind: moment for kind, moment in account.generated.items() if moment is not None}
        metadata = {_FIELDS[kind]: {"generationTime": moment} for kind, moment in generated.items()}
        return {
            "id": account.resource_id,
            "name": account.name,
            "location": "West Europe",
            "type": KIND,
            "kind": "GlobalDocumentDB",
            "tags": {},
            "properties": {
                "provisioningState": "Updating" if self._regenerations.running(account.name) else "Succeeded",
                "documentEndpoint": f"https://{account.name}.documents.azure.com:443/",
                "disableLocalAuth": account.local_auth_disabled,
                "disableKeyBasedMetadataWriteAccess": account.key_metadata_writes_disabled,
                "databaseAccountOfferType": "Standard",
                "minimalTlsVersion": "Tls12",
                "consistencyPolicy": {"defaultConsistencyLevel": "Session"},
                "locations": [location],
                "capabilities": [{"name": "EnableServerless"}],
                "keysMetadata": metadata,
            },
        }


def _polling_headers(operation: Regeneration, request: ArmRequest) -> dict[str, str]:
    """Both ways to follow the operation. Without Retry-After azure-core's poller would wait 30 s between looks."""
    base = f"https://{HOST}{request.subscription.scope}/providers/Microsoft.DocumentDB/locations/{LOCATION}"
    version = request.call.query["api-version"]
    return {
        "Azure-AsyncOperation": f"{base}/operationsStatus/{operation.id}?api-version={version}",
        "Location": f"{base}/operationResults/{operation.id}?api-version={version}",
        "Retry-After": "1",
    }
