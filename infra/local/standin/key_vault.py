"""Key Vault's data plane for secrets: challenge, token, access by role.

Sources: learn.microsoft.com/azure/key-vault/general/authentication-requests-and-responses (challenge, 401),
.../rbac-guide (data actions).
"""

import re
from collections.abc import Callable

from infra.local.standin.authorization import Authorization
from infra.local.standin.directories import Directories
from infra.local.standin.jwt import Claims, TokenIssuer, TokenRejected, v1_issuer
from infra.local.standin.resources import LOCATION
from infra.local.standin.vault_secrets import Refused, SecretOperations
from infra.local.standin.vaults import Vault, Vaults
from infra.local.standin.wire import Answer, Call, Handler, ServiceName, World, fault_message, retry_after_header

AUDIENCE = "https://vault.azure.net"
_NO_TOKEN = "AKV10000: Request is missing a Bearer or PoP token."
_NAME = re.compile(r"[0-9a-zA-Z-]{1,127}")

type _Operation = Callable[[SecretOperations, Call, Vault, str, str], Answer]

_COLLECTIONS = ("versions", "recover")
# (method, shape of the path) -> (operation, data action of the built-in role Key Vault Secrets Officer, method)
_OPERATIONS: dict[tuple[str, str], tuple[str, str, _Operation]] = {
    ("GET", "secrets"): ("list_secrets", "readMetadata/action", SecretOperations.list),
    ("GET", "secrets/*"): ("get_secret", "getSecret/action", SecretOperations.get),
    ("GET", "secrets/*/*"): ("get_secret", "getSecret/action", SecretOperations.get),
    ("GET", "secrets/*/versions"): ("list_secret_versions", "readMetadata/action", SecretOperations.list_versions),
    ("PUT", "secrets/*"): ("set_secret", "setSecret/action", SecretOperations.set),
    ("PATCH", "secrets/*"): ("update_secret", "update/action", SecretOperations.update),
    ("PATCH", "secrets/*/*"): ("update_secret", "update/action", SecretOperations.update),
    ("DELETE", "secrets/*"): ("delete_secret", "delete", SecretOperations.delete),
    ("GET", "deletedsecrets"): ("list_deleted_secrets", "readMetadata/action", SecretOperations.list_deleted),
    ("GET", "deletedsecrets/*"): ("get_deleted_secret", "readMetadata/action", SecretOperations.get_deleted),
    ("DELETE", "deletedsecrets/*"): ("purge_secret", "purge/action", SecretOperations.purge),
    ("POST", "deletedsecrets/*/recover"): ("recover_secret", "recover/action", SecretOperations.recover),
}


class KeyVault:
    """Implements `HttpService` for *.vault.azure.net."""

    name: ServiceName = "key_vault"
    operations = frozenset({"challenge", "unknown_vault", *(name for name, _, _ in _OPERATIONS.values())})

    def __init__(
        self, world: World, vaults: Vaults, directories: Directories, authorization: Authorization, tokens: TokenIssuer
    ) -> None:
        self._world = world
        self._vaults = vaults
        self._directories = directories
        self._authorization = authorization
        self._tokens = tokens
        self._operations = SecretOperations(world, vaults)

    def route(self, call: Call) -> Handler | None:
        """Secrets and deleted secrets. Without a token every path answers with the challenge."""
        vault_name = call.host.partition(".")[0]
        kind, name, rest = [*call.path.strip("/").split("/", 2), "", ""][:3]
        call.target = f"{vault_name}/{name}" if name else vault_name
        vault = self._vaults.get(vault_name)
        if vault is None:
            call.operation = "unknown_vault"
            return Refused(404, f"The vault {vault_name} does not exist.", code="VaultNotFound").answer
        if "Authorization" not in call.headers:
            call.operation = "challenge"
            return _unauthorized(vault, _NO_TOKEN).answer
        shape = "/".join([kind, *(["*"] if name else []), *([rest if rest in _COLLECTIONS else "*"] if rest else [])])
        if (call.method, shape) not in _OPERATIONS:
            return None
        call.operation, action, act = _OPERATIONS[call.method, shape]
        return lambda: self._guarded(call, vault, f"Microsoft.KeyVault/vaults/secrets/{action}", name, rest, act)

    def error(self, status: int, retry_after: float | None) -> Answer:
        """Key Vault's error body for an injected fault or an unimplemented call."""
        return Refused(status, fault_message(status), headers=retry_after_header(retry_after)).answer()

    def _guarded(self, call: Call, vault: Vault, action: str, name: str, rest: str, act: _Operation) -> Answer:
        """Token, access, then the operation itself. `nbf` and `exp` are informational and refuse nothing."""
        try:
            claims = self._claims(call, vault)
            self._authorize(vault, claims, action, name)
            _check_form(call, name)
            return act(self._operations, call, vault, name, rest)
        except Refused as refused:
            return refused.answer()

    def _claims(self, call: Call, vault: Vault) -> Claims:
        try:
            claims = self._tokens.bearer(call, AUDIENCE)
        except TokenRejected as rejected:
            match rejected.reason:
                case "missing":
                    text = _NO_TOKEN
                case "audience":
                    text = f"AKV10022: Invalid audience. Expected {AUDIENCE}, found: {rejected.detail}."
                case _:
                    text = f"[BearerReadAccessTokenFailed] Error validating token: {rejected}."
            raise _unauthorized(vault, text) from None
        if claims.directory_id != vault.directory_id:
            expected, found = v1_issuer(vault.directory_id), v1_issuer(claims.directory_id)
            raise _unauthorized(vault, f"AKV10032: Invalid issuer. Expected one of {expected}, found {found}.")
        return claims

    def _authorize(self, vault: Vault, claims: Claims, action: str, name: str) -> None:
        scope = f"{vault.resource_id}/secrets/{name}" if name else vault.resource_id
        principals = self._directories.principals(claims.object_id)
        if self._authorization.decide(principals, action, scope, data=True) != "allowed":
            raise Refused(
                403,
                "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or "
                "role definitions were changed recently, please observe propagation time.\r\n"
                f"Caller: appid={claims.client_id};oid={claims.object_id};iss={claims.raw['iss']}\r\n"
                f"Action: '{action}'\r\nResource: '{scope.lower()}'\r\nAssignment: (not found)\r\n"
                f"DenyAssignmentId: null\r\nDecisionReason: 'DeniedWithNoValidRBAC' \r\n"
                f"Vault: {vault.name};location={LOCATION}\r\n",
                "ForbiddenByRbac",
            )


def _unauthorized(vault: Vault, message: str) -> Refused:
    """401 with the challenge, which tells where a token is to be had and for what."""
    authority = f"https://login.microsoftonline.com/{vault.directory_id}"
    challenge = f'Bearer authorization="{authority}", resource="{AUDIENCE}"'
    return Refused(401, message, headers={"WWW-Authenticate": challenge})


def _check_form(call: Call, name: str) -> None:
    if name and not _NAME.fullmatch(name):
        raise Refused(400, f"The request URI contains an invalid name: {name}")
    if "api-version" not in call.query:
        raise Refused(400, "api-version must be specified")
