"""Who may do what on the data plane: account keys, and Entra tokens with data-plane roles.

Sources: learn.microsoft.com/azure/cosmos-db/reference-data-plane-security (actions and built-in roles),
.../troubleshoot-forbidden (5300, 5301), .../troubleshoot-unauthorized (read-only keys fail with 401 on writes).
"""

from dataclasses import dataclass
from typing import Literal

from infra.local.standin.cosmos import signature
from infra.local.standin.cosmos.accounts import READ_WRITE_KEYS, Account
from infra.local.standin.cosmos.errors import CosmosError
from infra.local.standin.cosmos.links import Link
from infra.local.standin.jwt import TokenIssuer, TokenRejected, principal_name
from infra.local.standin.wire import Call, World

type Level = Literal["metadata", "read", "write", "management"]

_LOCAL_AUTH_DISABLED = 5202
_NOT_AUTHORIZED_BY_TOKEN = 5300
_NO_PERMISSION = 5301
_ANY_ACCOUNT = "https://cosmos.azure.com"
_ROOT = "Microsoft.DocumentDB/databaseAccounts"
_ITEMS = f"{_ROOT}/sqlDatabases/containers/items"


@dataclass(slots=True, frozen=True)
class Operation:
    """What one operation needs: `action` is the data action of Azure's role-based access control."""

    level: Level
    action: str


OPERATIONS: dict[str, Operation] = {
    "read_account": Operation("metadata", f"{_ROOT}/readMetadata"),
    "read_database": Operation("metadata", f"{_ROOT}/readMetadata"),
    "read_collection": Operation("metadata", f"{_ROOT}/readMetadata"),
    "list_pk_ranges": Operation("metadata", f"{_ROOT}/readMetadata"),
    "create_database": Operation("management", f"{_ROOT}/sqlDatabases/write"),
    "create_collection": Operation("management", f"{_ROOT}/sqlDatabases/containers/write"),
    "read_item": Operation("read", f"{_ITEMS}/read"),
    "query": Operation("read", f"{_ROOT}/sqlDatabases/containers/executeQuery"),
    "query_plan": Operation("read", f"{_ROOT}/sqlDatabases/containers/executeQuery"),
    "create_item": Operation("write", f"{_ITEMS}/create"),
    "upsert_item": Operation("write", f"{_ITEMS}/upsert"),
    "replace_item": Operation("write", f"{_ITEMS}/replace"),
    "patch_item": Operation("write", f"{_ITEMS}/replace"),
    "delete_item": Operation("write", f"{_ITEMS}/delete"),
    "batch": Operation("write", f"{_ITEMS}/create"),
}


class Gate:
    """Admits calls, or refuses them as Azure does."""

    def __init__(self, world: World, tokens: TokenIssuer) -> None:
        self._world = world
        self._tokens = tokens

    def admit(self, account: Account, call: Call, link: Link) -> None:
        """Verify the call's authorization and set its principal. Raises CosmosError 401 or 403."""
        authorization = signature.parse_authorization(call.headers.get("authorization"))
        match authorization.kind:
            case "master":
                self._admit_key(account, authorization, call, link)
            case "aad":
                self._admit_token(account, authorization.signature, call)
            case _:
                raise CosmosError(401, "The input authorization token can't serve the request.")

    def _admit_key(self, account: Account, authorization: signature.Authorization, call: Call, link: Link) -> None:
        if account.local_auth_disabled:
            raise CosmosError(
                401,
                "Local Authorization is disabled. Use an AAD token to authorize all requests.",
                substatus=_LOCAL_AUTH_DISABLED,
            )
        kind = signature.verify_signature(account, authorization, call.method, link, call.headers, self._world.now())
        call.principal = f"key:{kind}"
        level = OPERATIONS[call.operation].level
        if level in ("write", "management") and kind not in READ_WRITE_KEYS:
            # For a write the service tries the read-write keys only, so the refusal is that of a wrong key.
            raise signature.wrong_key(signature.string_to_sign(call.method, link, call.headers.get("x-ms-date", "")))
        if level == "management" and account.key_metadata_writes_disabled:
            raise CosmosError(
                403,
                f"Operation '{call.method}' on resource '{link.resource_type}' is not allowed through Azure Cosmos DB "
                "endpoint. Please switch on such operations for your account, or perform this operation through "
                "Azure Resource Manager, Azure Portal, Azure CLI or Azure Powershell",
            )

    def _admit_token(self, account: Account, token: str, call: Call) -> None:
        try:
            claims = self._tokens.verify(token, f"https://{account.name}.documents.azure.com")
        except TokenRejected as rejected:
            if rejected.reason != "audience":
                raise CosmosError(401, f"Provided AAD token is not valid: {rejected.reason}.") from rejected
            try:
                claims = self._tokens.verify(token, _ANY_ACCOUNT)
            except TokenRejected as second:
                raise CosmosError(401, f"Provided AAD token is not valid: {second.reason}.") from second
        call.principal = principal_name(claims)
        if claims.directory_id.lower() != account.directory_id.lower():
            raise CosmosError(
                401,
                f"Provided AAD token was issued by the authority [{claims.directory_id}] which is not trusted.",
            )
        operation = OPERATIONS[call.operation]
        if operation.level == "management":
            raise CosmosError(
                403,
                f"Request blocked by Auth {account.name} : The given request [{call.method} {call.path}] cannot be "
                "authorized by AAD token in data plane. Learn more: https://aka.ms/cosmos-native-rbac.",
                substatus=_NOT_AUTHORIZED_BY_TOKEN,
            )
        if claims.object_id not in account.contributors:
            raise CosmosError(
                403,
                f"Request blocked by Auth {account.name} : Request is blocked because principal "
                f"[{claims.object_id}] does not have required RBAC permissions to perform action "
                f"[{operation.action}] on any scope. Learn more: https://aka.ms/cosmos-native-rbac.",
                substatus=_NO_PERMISSION,
            )
