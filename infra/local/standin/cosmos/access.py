"""Who may do what on the data plane: account keys, and Entra tokens with data-plane roles.

Sources: learn.microsoft.com/azure/cosmos-db/reference-data-plane-security (actions and built-in roles),
.../troubleshoot-forbidden (5300, 5301), .../troubleshoot-unauthorized (read-only keys fail with 401 on writes).
"""

from enum import StrEnum

from infra.local.standin.cosmos import signature
from infra.local.standin.cosmos.accounts import READ_WRITE_KEYS
from infra.local.standin.cosmos.errors import CosmosError
from infra.local.standin.cosmos.request import Request
from infra.local.standin.jwt import TokenIssuer, TokenRejected, principal_name
from infra.local.standin.wire import World

_ANY_ACCOUNT = "https://cosmos.azure.com"
_ITEMS = "sqlDatabases/containers/items"


class Action(StrEnum):
    """The data actions of Azure's role-based access control, below Microsoft.DocumentDB/databaseAccounts."""

    METADATA = "readMetadata"
    QUERY = "sqlDatabases/containers/executeQuery"
    READ = f"{_ITEMS}/read"
    CREATE = f"{_ITEMS}/create"
    UPSERT = f"{_ITEMS}/upsert"
    REPLACE = f"{_ITEMS}/replace"
    DELETE = f"{_ITEMS}/delete"
    MANAGE = "sqlDatabases/write"  # no data action: databases and containers are for keys


_READING = {Action.METADATA, Action.QUERY, Action.READ}


class Gate:
    """Admits calls, or refuses them as Azure does."""

    def __init__(self, world: World, tokens: TokenIssuer) -> None:
        self._world = world
        self._tokens = tokens

    def admit(self, request: Request, action: Action) -> None:
        """Verify the call's authorization and set its principal. Raises CosmosError 401 or 403."""
        kind, proof = signature.parse_authorization(request.call.headers.get("authorization"))
        match kind:
            case "master":
                self._admit_key(request, action, proof)
            case "aad":
                self._admit_token(request, action, proof)
            case _:
                raise CosmosError(401, "The input authorization token can't serve the request.")

    def _admit_key(self, request: Request, action: Action, proof: str) -> None:
        account, call, link = request.account, request.call, request.link
        if account.local_auth_disabled:
            raise CosmosError(
                401, "Local Authorization is disabled. Use an AAD token to authorize all requests.", substatus=5202
            )
        date = call.headers.get("x-ms-date", "")
        text = signature.string_to_sign(call.method, link, date)
        kind = signature.verify_signature(account, proof, text, date, self._world.now())
        call.principal = f"key:{kind}"
        if action not in _READING and kind not in READ_WRITE_KEYS:
            # For a write the service tries the read-write keys only, so the refusal is that of a wrong key.
            raise signature.wrong_key(text)
        if action == Action.MANAGE and account.key_metadata_writes_disabled:
            raise CosmosError(
                403,
                f"Operation '{call.method}' on resource '{link.resource_type}' is not allowed through Azure Cosmos DB "
                "endpoint. Please switch on such operations for your account, or perform this operation through "
                "Azure Resource Manager, Azure Portal, Azure CLI or Azure Powershell",
            )

    def _admit_token(self, request: Request, action: Action, token: str) -> None:
        account, call = request.account, request.call
        try:
            claims = self._tokens.verify(token, f"https://{account.name}.documents.azure.com", _ANY_ACCOUNT)
        except TokenRejected as rejected:
            raise CosmosError(401, f"Provided AAD token is not valid: {rejected.reason}.") from rejected
        call.principal = principal_name(claims)
        if claims.directory_id.lower() != account.directory_id.lower():
            raise CosmosError(
                401,
                f"Provided AAD token was issued by the authority [{claims.directory_id}] which is not trusted.",
            )
        blocked = f"Request blocked by Auth {account.name} :"
        learn_more = "Learn more: https://aka.ms/cosmos-native-rbac."
        if action == Action.MANAGE:
            raise CosmosError(
                403,
                f"{blocked} The given request [{call.method} {call.path}] cannot be authorized by AAD token in data "
                f"plane. {learn_more}",
                substatus=5300,
            )
        if claims.object_id not in account.contributors:
            raise CosmosError(
                403,
                f"{blocked} Request is blocked because principal [{claims.object_id}] does not have required RBAC "
                f"permissions to perform action [Microsoft.DocumentDB/databaseAccounts/{action}] on any scope. "
                f"{learn_more}",
                substatus=5301,
            )
