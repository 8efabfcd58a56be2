"""The managed-identity endpoint of App Service and Azure Functions.

Source: learn.microsoft.com/azure/app-service/overview-managed-identity (REST endpoint reference), and how
azure-identity and MSAL read its answers.
"""

import secrets
import uuid
from typing import Any

from infra.local.standin.directories import Directories
from infra.local.standin.entra import RESOURCES
from infra.local.standin.jwt import EXCHANGE, TokenIssuer
from infra.local.standin.wire import Answer, Call, Handler, ServiceName, World, fault_message, retry_after_header

API_VERSION = "2019-08-01"


class ManagedIdentity:
    """Implements `HttpService` for IDENTITY_ENDPOINT."""

    name: ServiceName = "managed_identity"
    operations = frozenset({"issue_token"})

    def __init__(self, world: World, directories: Directories, tokens: TokenIssuer) -> None:
        self._world = world
        self._directories = directories
        self._tokens = tokens
        self.header = world.storage.kept("managed_identity", "header", lambda: secrets.token_hex(16).upper())
        world.secrets.add("identity_header", self.header)

    def route(self, call: Call) -> Handler | None:
        """The endpoint has one call."""
        if call.method != "GET":
            return None
        call.operation = "issue_token"
        call.target = call.query.get("resource", "")
        return lambda: self._token(call)

    def error(self, status: int, retry_after: float | None) -> Answer:
        """The endpoint's error body."""
        return _refusal(status, fault_message(status), retry_after_header(retry_after))

    def _token(self, call: Call) -> Answer:
        if not secrets.compare_digest(call.headers.get("X-IDENTITY-HEADER", ""), self.header):
            return _refusal(401, "The X-IDENTITY-HEADER header is missing or does not match.")
        if call.query.get("api-version") != API_VERSION:
            return _refusal(400, f"The api-version is missing or not supported; the stand-in knows {API_VERSION}.")
        resource = call.query.get("resource", "")
        if resource.rstrip("/") not in RESOURCES | {EXCHANGE} and not resource.endswith(".documents.azure.com"):
            return _refusal(400, f"The resource principal named '{resource}' was not found in the tenant.")
        identity = self._directories.identity(call.query.get("client_id", ""))
        if identity is None:
            # Without an id the endpoint means the system-assigned identity, which the publisher's apps do not have.
            return _refusal(
                400,
                "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId.",
            )
        call.principal = f"identity:{identity.name}"
        token, lifetime = self._tokens.app_token(
            identity.directory_id,
            resource,
            client_id=identity.client_id,
            object_id=identity.principal_id,
            acr="2",
            resource_id=identity.resource_id,
        )
        body = {
            "access_token": token,
            "expires_on": str(int(self._world.now()) + lifetime),
            "resource": resource,
            "token_type": "Bearer",
            "client_id": identity.client_id.upper(),
        }
        return Answer(200, body)


def _refusal(status: int, message: str, headers: dict[str, str] | None = None) -> Answer:
    body: dict[str, Any] = {"statusCode": status, "message": message, "correlationId": str(uuid.uuid4())}
    return Answer(status, body, headers or {})
