"""Entra ID's token endpoint for applications, its discovery documents and its refusals.

Sources: learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow (requests and answers),
.../reference-error-codes (AADSTS codes).
"""

import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import parse_qsl

from infra.local.standin.assertions import HOST, Assertions
from infra.local.standin.budgets import Window
from infra.local.standin.cosmos.accounts import Accounts
from infra.local.standin.directories import Application, Directories
from infra.local.standin.jwt import SHARED_DIRECTORIES, TokenIssuer, v2_issuer
from infra.local.standin.refusals import Refused
from infra.local.standin.wire import Answer, Call, Handler, ServiceName, World, fault_message, retry_after_header

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
BUDGET_WINDOW = 60  # seconds
RETRY_AFTER = 60  # seconds that a throttled application is told to wait, whenever it asks
RESOURCES = frozenset({
    "https://management.azure.com", "https://management.core.windows.net", "https://vault.azure.net",
    "https://graph.microsoft.com", "https://cosmos.azure.com",
})  # fmt: skip
_NOT_KEPT = {"Cache-Control": "no-store, no-cache", "Pragma": "no-cache"}


class Entra:
    """Implements `HttpService` for login.microsoftonline.com."""

    name: ServiceName = "entra"
    operations = frozenset({"issue_token", "openid_configuration", "jwks"})

    def __init__(self, world: World, directories: Directories, accounts: Accounts, tokens: TokenIssuer) -> None:
        self._world = world
        self._directories = directories
        self._accounts = accounts
        self._tokens = tokens
        self._requests = Window(BUDGET_WINDOW)
        self._assertions = Assertions(world, tokens)

    def route(self, call: Call) -> Handler | None:
        """Token endpoint, openid-configuration and keys."""
        directory_id, _, rest = call.path.lstrip("/").partition("/")
        directory_id = directory_id.lower()
        call.target = directory_id
        match call.method, rest:
            case "POST", "oauth2/v2.0/token":
                call.operation = "issue_token"
                form = dict(parse_qsl(call.body.decode(errors="replace")))
                call.target = f"{directory_id}/{form.get('client_id', '')}"
                return lambda: self._token(call, directory_id, form)
            case "GET", "v2.0/.well-known/openid-configuration":
                call.operation, published = "openid_configuration", self._openid_configuration
            case "GET", "discovery/v2.0/keys":
                call.operation, published = "jwks", self._tokens.jwks
            case _:
                return None
        return lambda: self._publish(call, directory_id, published)

    def error(self, status: int, retry_after: float | None) -> Answer:
        """Entra's error body for an injected fault or an unimplemented call."""
        if status == 429:
            return _throttled(retry_after)
        error = "temporarily_unavailable" if status >= 500 else "invalid_request"
        code, error = (90036, "not_implemented") if status == 501 else (90033, error)
        answer = self._error_answer("", status, code, error, fault_message(status))
        answer.headers |= retry_after_header(retry_after)
        return answer

    def _error_answer(self, correlation_id: str, status: int, code: int, error: str, text: str) -> Answer:
        moment = datetime.fromtimestamp(self._world.now(), UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        trace_id, correlation_id = str(uuid.uuid4()), correlation_id or str(uuid.uuid4())
        body = {
            "error": error,
            "error_description": f"AADSTS{code}: {text} Trace ID: {trace_id} Correlation ID: {correlation_id} "
            f"Timestamp: {moment}",
            "error_codes": [code],
            "timestamp": moment,
            "trace_id": trace_id,
            "correlation_id": correlation_id,
            "error_uri": f"https://{HOST}/error?code={code}",
        }
        return Answer(status, body, dict(_NOT_KEPT))

    def _token(self, call: Call, directory_id: str, form: Mapping[str, str]) -> Answer:
        try:
            application, acr = self._authenticate(directory_id, form)
            call.principal = f"app:{application.client_id}"
            if self._exceeds(application):
                return _throttled(RETRY_AFTER)
            resource = self._resource(directory_id, form)
        except Refused as refused:
            return self._error_answer(call.correlation_id, refused.status, refused.code, refused.error, refused.text)
        token, lifetime = self._tokens.app_token(
            directory_id, resource, client_id=application.client_id, object_id=application.principal_id, acr=acr
        )
        body = {"token_type": "Bearer", "expires_in": lifetime, "ext_expires_in": lifetime, "access_token": token}
        return Answer(200, body, dict(_NOT_KEPT))

    def _exceeds(self, application: Application) -> bool:
        most = self._world.settings.entra_budget
        return most is not None and self._requests.spend(application.client_id, most, self._world.now()) > 0

    def _authenticate(self, directory_id: str, form: Mapping[str, str]) -> tuple[Application, Literal["1", "2"]]:
        """The application that the form proves to come from, and how it did: "1" by secret, "2" by certificate."""
        if not self._directories.exists(directory_id):
            raise Refused(90002, directory=directory_id)
        if _required(form, "grant_type") != "client_credentials":
            raise Refused(70003, grant_type=form["grant_type"])
        client_id = _required(form, "client_id")
        application = self._directories.known_application(client_id)
        if application is None or application.directory_id != directory_id:
            raise Refused(700016, application=client_id, directory=directory_id)
        if "client_secret" in form:
            secret = application.secret(form["client_secret"])
            if secret is None or secret.expires <= self._world.now():
                raise Refused(7000222 if secret else 7000215, application=client_id)
            return application, "1"
        if "client_assertion" not in form:
            raise Refused(7000218)
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            raise Refused(50027, "The 'client_assertion_type' parameter is not supported.")
        self._assertions.check(application, form["client_assertion"])
        return application, "2"

    def _resource(self, directory_id: str, form: Mapping[str, str]) -> str:
        """The resource that the scope names; it becomes the token's audience as it was written."""
        scopes = _required(form, "scope").split()
        if len(scopes) != 1 or not scopes[0].endswith("/.default"):
            raise Refused(1002012, scope=" ".join(scopes))
        resource = scopes[0].removesuffix("/.default")
        if not self._known_resource(resource):
            raise Refused(500011, resource=resource, directory=directory_id)
        return resource

    def _known_resource(self, resource: str) -> bool:
        resource = resource.rstrip("/")
        account = resource.removeprefix("https://").removesuffix(".documents.azure.com")
        return resource in RESOURCES or (
            resource == f"https://{account}.documents.azure.com" and self._accounts.get(account) is not None
        )

    def _publish(self, call: Call, directory_id: str, published: Callable[[str], dict[str, Any]]) -> Answer:
        if directory_id not in SHARED_DIRECTORIES and not self._directories.exists(directory_id):
            unknown = Refused(90002, directory=directory_id)
            return self._error_answer(call.correlation_id, 400, unknown.code, "invalid_tenant", unknown.text)
        return Answer(200, published(directory_id), {"Cache-Control": "max-age=86400, private"})

    def _openid_configuration(self, directory_id: str) -> dict[str, Any]:
        """Discovery as v2.0 publishes it. Source: learn.microsoft.com/entra/identity-platform/v2-protocols-oidc."""
        base = f"https://{HOST}/{directory_id}"
        return {
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
            "jwks_uri": f"{base}/discovery/v2.0/keys",
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "issuer": v2_issuer(directory_id),
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "cloud_instance_name": "microsoftonline.com",
        }


def _throttled(retry_after: float | None) -> Answer:
    """Throttled at the door, before anything can make JSON of it.

    Source: github.com/AzureAD/microsoft-authentication-library-for-dotnet/issues/2855.
    """
    return Answer(429, "Too Many Requests", retry_after_header(retry_after))


def _required(form: Mapping[str, str], name: str) -> str:
    if not form.get(name):
        raise Refused(900144, parameter=name)
    return form[name]
