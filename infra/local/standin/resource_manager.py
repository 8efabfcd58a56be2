"""Resource Manager: who calls, whether that directory and that principal may, and the operation.

Sources: learn.microsoft.com/rest/api/resources, .../rest/api/managedapplications/applications (bodies),
learn.microsoft.com/azure/role-based-access-control/troubleshooting (AuthorizationFailed),
.../deny-assignments (DenyAssignmentAuthorizationFailed).
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime

from infra.local.standin.account_operations import AccountOperations
from infra.local.standin.arm import ArmError, ArmRequest, not_found
from infra.local.standin.authorization import Authorization, DenyAssignment
from infra.local.standin.budgets import Buckets
from infra.local.standin.directories import Directories
from infra.local.standin.jwt import Claims, TokenIssuer, TokenRejected, v1_issuer
from infra.local.standin.locks import Locks
from infra.local.standin.resources import LOCATION, Resources
from infra.local.standin.role_operations import RoleOperations
from infra.local.standin.wire import Answer, Call, Handler, ServiceName, World, fault_message, retry_after_header

AUDIENCES = ("https://management.core.windows.net/", "https://management.azure.com/")

_SUBSCRIPTION = r"/subscriptions/(?P<subscription>[^/]+)"
_GROUP = _SUBSCRIPTION + r"/resourceGroups/(?P<group>[^/]+)"
_APPLICATION = _GROUP + r"/providers/Microsoft\.Solutions/applications/(?P<name>[^/]+)"
_ACCOUNTS = r"/providers/Microsoft\.DocumentDB/databaseAccounts"
_ACCOUNT = rf"(?P<id>{_GROUP}{_ACCOUNTS}/(?P<name>[^/]+))"
_LOCATION = rf"(?P<id>{_SUBSCRIPTION}/providers/Microsoft\.DocumentDB/locations/[^/]+"
_SCOPE = rf"(?P<scope>{_SUBSCRIPTION}(?:/.*?)?)"
_ROLE = rf"(?P<id>{_SCOPE}/providers/Microsoft\.Authorization/roleAssignments/(?P<assignment>[^/]+))"
_DOCUMENTDB = "Microsoft.DocumentDB/databaseAccounts"
# The versions by provider that Bulkhead and its SDKs send. What a version does not know Azure refuses or leaves out.
_VERSIONS = {
    "microsoft.resources": ("2022-12-01",),
    "microsoft.solutions": ("2021-07-01",),
    "microsoft.documentdb": ("2024-11-15", "2026-03-15"),
    "microsoft.authorization": ("2022-04-01",),
}


type _Act = Callable[[ArmRequest], Answer]


class ResourceManager:
    """Implements `HttpService` for management.azure.com."""

    name: ServiceName = "resource_manager"

    def __init__(
        self,
        world: World,
        resources: Resources,
        directories: Directories,
        authorization: Authorization,
        accounts: AccountOperations,
        locks: Locks,
        tokens: TokenIssuer,
    ) -> None:
        self._world = world
        self._resources = resources
        self._directories = directories
        self._authorization = authorization
        self._tokens = tokens
        self._locks = locks
        self._buckets = Buckets()
        roles = RoleOperations(authorization, directories)
        table = (
            ("GET", rf"(?P<id>{_SUBSCRIPTION})", "get_subscription", "Microsoft.Resources/subscriptions/read",
             self._subscription),
            ("GET", rf"(?P<id>{_APPLICATION})", "get_application", "Microsoft.Solutions/applications/read",
             self._application),
            ("GET", rf"(?P<id>{_GROUP}){_ACCOUNTS}", "list_accounts", f"{_DOCUMENTDB}/read", accounts.list_in_group),
            ("GET", _ACCOUNT, "get_account", f"{_DOCUMENTDB}/read", accounts.get),
            ("POST", f"{_ACCOUNT}/listKeys", "list_keys", f"{_DOCUMENTDB}/listKeys/action", accounts.list_keys),
            ("POST", f"{_ACCOUNT}/readonlykeys", "read_only_keys", f"{_DOCUMENTDB}/readonlykeys/action",
             accounts.read_only_keys),
            ("GET", f"{_ACCOUNT}/readonlykeys", "read_only_keys", f"{_DOCUMENTDB}/readonlykeys/read",
             accounts.read_only_keys),
            ("POST", f"{_ACCOUNT}/regenerateKey", "regenerate_key", f"{_DOCUMENTDB}/regenerateKey/action",
             accounts.regenerate_key),
            ("GET", rf"{_LOCATION}/operationsStatus/(?P<operation>[^/]+))", "get_operation", "",
             accounts.operation_status),
            ("GET", rf"{_LOCATION}/operationResults/(?P<operation>[^/]+))", "get_operation", "",
             accounts.operation_result),
            ("PUT", _ROLE, "put_role_assignment", "Microsoft.Authorization/roleAssignments/write", roles.put),
            ("GET", _ROLE, "get_role_assignment", "Microsoft.Authorization/roleAssignments/read", roles.get),
            ("DELETE", _ROLE, "delete_role_assignment", "Microsoft.Authorization/roleAssignments/delete",
             roles.delete),
        )  # fmt: skip
        self._routes = [
            (method, re.compile(pattern, re.IGNORECASE), name, action, act)
            for method, pattern, name, action, act in table
        ]
        self.operations = frozenset(name for _, _, name, _, _ in table)

    def route(self, call: Call) -> Handler | None:
        """Find the operation by method and path; paths ignore case."""
        call.target = call.path
        for method, pattern, name, action, act in self._routes:
            if method == call.method and (match := pattern.fullmatch(call.path.rstrip("/"))):
                parts = match.groupdict()
                call.operation, call.target = name, parts["id"]
                return lambda: self._guarded(call, parts, action, act)
        return None

    def error(self, status: int, retry_after: float | None) -> Answer:
        """Resource Manager's error body for an injected fault or an unimplemented call."""
        codes = {429: "TooManyRequests", 500: "InternalServerError", 501: "NotImplemented", 503: "ServerUnavailable"}
        headers = retry_after_header(retry_after)
        return ArmError(status, codes.get(status, "Error"), fault_message(status), headers).answer()

    def _guarded(self, call: Call, parts: dict[str, str], action: str, act: _Act) -> Answer:
        left: dict[str, str] = {}
        try:
            request = self._admit(call, self._claims(call), parts, action)
            left = self._spend(request)
            self._authorize(request)
            self._locks.check(call.method, request.resource_id)  # 5. The locks
            answer = act(request)
        except ArmError as error:
            answer = error.answer()
        answer.headers |= left
        return answer

    def _claims(self, call: Call) -> Claims:
        """1. The token: signature, time, audience."""
        try:
            return self._tokens.bearer(call, *AUDIENCES)
        except TokenRejected as rejected:
            match rejected.reason:
                case "missing":
                    code, text = "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing."
                case "expired":
                    moment = datetime.fromtimestamp(self._world.now(), UTC).strftime("%m/%d/%Y %I:%M:%S %p")
                    code = "ExpiredAuthenticationToken"
                    text = f"The access token expiry UTC time is earlier than current UTC time '{moment}'."
                case "audience":
                    code = "InvalidAuthenticationTokenAudience"
                    text = (
                        f"The access token has been obtained for wrong audience or resource ({rejected.detail}). It "
                        f"should exactly match with one of the allowed audiences {', '.join(map(repr, AUDIENCES))}."
                    )
                case _:
                    code, text = "InvalidAuthenticationToken", "The access token is invalid."
            raise _unauthorized(code, text) from None

    def _admit(self, call: Call, claims: Claims, parts: dict[str, str], action: str) -> ArmRequest:
        """2. The subscription: its directory must be the token's, or have let the token's in as a publisher."""
        if "api-version" not in call.query:
            raise ArmError(
                400,
                "MissingApiVersionParameter",
                "The api-version query parameter (?api-version=) is required for all requests.",
            )
        _, _, below = call.path.lower().rpartition("/providers/")
        versions = _VERSIONS.get(below.partition("/")[0], _VERSIONS["microsoft.resources"])
        if call.query["api-version"] not in versions:
            text = f"The stand-in for Azure plays this in api-version {' and '.join(versions)} only."
            raise ArmError(501, "NotImplemented", text)
        subscription = self._resources.subscription(parts["subscription"])
        if subscription is None:
            text = f"The subscription '{parts['subscription']}' could not be found."
            raise ArmError(404, "SubscriptionNotFound", text)
        if not self._resources.admits(subscription, claims.directory_id):
            raise _unauthorized(
                "InvalidAuthenticationTokenTenant",
                f"The access token is from the wrong issuer '{v1_issuer(claims.directory_id)}'. It must match the "
                f"tenant '{v1_issuer(subscription.directory_id)}' associated with this subscription. Please use the "
                f"authority (URL) 'https://login.windows.net/{subscription.directory_id}' to get the token.",
            )
        return ArmRequest(call, claims, parts, subscription, action)

    def _spend(self, request: ArmRequest) -> dict[str, str]:
        """3. The budget, if it is switched on; gives the header that tells what is left of it.

        Source of the refusal's words: github.com/velero-io/velero/issues/9171.
        """
        if not self._world.settings.resource_manager_budgets:
            return {}
        subscription, actor = request.subscription.id, request.claims.object_id
        kind = self._buckets.kind(request.call.method)
        left, wait = self._buckets.take(subscription, actor, kind, self._world.now())
        headers = {f"x-ms-ratelimit-remaining-subscription-{kind}s": str(left)}
        if wait:
            raise ArmError(
                429,
                "SubscriptionRequestsThrottled",
                f"Number of '{kind}' requests for subscription '{subscription}' actor '{actor}' exceeded. Please try "
                f"again after '{wait}' seconds after additional tokens are available. Refer to "
                "https://aka.ms/arm-throttling for additional information.",
                headers | {"Retry-After": str(wait)},
            )
        return headers

    def _authorize(self, request: ArmRequest) -> None:
        """4. The right. To follow a long-running operation needs none, but only its starter finds it."""
        if not request.action:
            return
        claims, operation = request.claims, request.call.operation
        principals = self._directories.principals(claims.object_id)
        scope = request.parts.get("scope", request.resource_id)
        # The publisher's principals of the definition's authorizations see the application itself too.
        if operation == "get_application" and principals & self._resources.granted(scope):
            return
        # Whoever has a role anywhere in a subscription can see the subscription itself (inferred: it is in their
        # list of subscriptions; to be confirmed on a real one).
        if operation == "get_subscription" and self._authorization.has_role_within(principals, scope):
            return
        decision = self._authorization.decide(principals, request.action, scope)
        who = f"The client '{claims.client_id}' with object id '{claims.object_id}'"
        if isinstance(decision, DenyAssignment):
            raise ArmError(
                403,
                "DenyAssignmentAuthorizationFailed",
                f"{who} has permission to perform action '{request.action}' on scope '{scope}'; however, the access is "
                f"denied because of the deny assignment with name '{decision.name}' and Id '{decision.id}' at "
                f"scope '{decision.scope}'.",
            )
        if decision != "allowed":
            raise ArmError(
                403,
                "AuthorizationFailed",
                f"{who} does not have authorization to perform action '{request.action}' over scope '{scope}' or the "
                "scope is invalid. If access was recently granted, please refresh your credentials.",
            )

    def _subscription(self, request: ArmRequest) -> Answer:
        subscription = request.subscription
        body = {
            "id": subscription.scope,
            "subscriptionId": subscription.id,
            "tenantId": subscription.directory_id,
            "displayName": subscription.name,
            "state": "Enabled",
            "authorizationSource": "RoleBased",
        }
        return Answer(200, body)

    def _application(self, request: ArmRequest) -> Answer:
        application = self._resources.application(request.resource_id)
        if application is None:
            raise not_found("Microsoft.Solutions/applications", request.resource_id)
        body = {
            "id": application.id,
            "name": application.id.rpartition("/")[2],
            "type": "Microsoft.Solutions/applications",
            "kind": "MarketPlace",
            "location": LOCATION,
            "plan": {"name": "standard", "product": "bulkhead", "publisher": "bulkhead", "version": "1.0.0"},
            "properties": {
                "managedResourceGroupId": application.managed_resource_group_id,
                "provisioningState": "Succeeded",
                "managementMode": "Managed",
                "publisherTenantId": application.publisher_directory_id,
                "authorizations": [
                    {"principalId": grant.principal_id, "roleDefinitionId": grant.role_id}
                    for grant in application.authorizations
                ],
                "outputs": {name: {"type": "String", "value": value} for name, value in application.outputs.items()},
            },
            "systemData": {"createdAt": application.created},
        }
        return Answer(200, body)


def _unauthorized(code: str, message: str) -> ArmError:
    challenge = (
        'Bearer authorization_uri="https://login.windows.net/", error="invalid_token", '
        f'error_description="{message.replace(chr(34), "")}"'
    )
    return ArmError(401, code, message, {"WWW-Authenticate": challenge})
