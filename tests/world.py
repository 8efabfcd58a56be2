"""The whole application on fakes, called through its functions as the Functions host calls them."""

import json
import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, unquote

import azure.functions as func
from azure.functions.servicebus import ServiceBusMessage

from shared.entrypoints import http_candidates, http_public, http_reports, http_tenants, http_unknown, jobs
from shared.entrypoints.serving import OPERATIONS
from shared.settings import Settings
from shared.tenants.anchors import RegistryAnchors
from shared.tenants.life_cycle import LifeCycle
from shared.tenants.ports import ManagedApplication
from shared.tenants.registry import Registry
from shared.tenants.settings import TenantSettings
from tests.fakes import (
    AUDIENCE,
    CONTOSO,
    CONTOSO_HR,
    CONTOSO_RETAIL,
    FABRIKAM_HR,
    FRONT_END,
    PUBLISHER,
    FakeApplications,
    FakeBroker,
    FakeSigningKeys,
    ManualClock,
    RecordingRequests,
    RecordingScreenings,
    TokenFactory,
    registry_documents,
    tenant_documents,
)
from tests.stage import CLEAR, FakeEngine

ENV: dict[str, str] = {
    "BULKHEAD_PLANE": "all",
    "BULKHEAD_PUBLISHER_DIRECTORY_ID": PUBLISHER,
    "BULKHEAD_API_AUDIENCE": AUDIENCE,
    "BULKHEAD_FRONT_END_CLIENT_IDS": FRONT_END,
    "BULKHEAD_REGISTRY_ENDPOINT": "https://bulkhead-registry.documents.azure.com:443/",
    "BULKHEAD_VAULT_URL": "https://bulkhead-kv.vault.azure.net/",
    "BULKHEAD_IDENTITY_CLIENT_ID": "1d000000-0000-4000-8000-000000000001",
    "BULKHEAD_CONTROL_IDENTITY_CLIENT_ID": "1d000000-0000-4000-8000-000000000002",
    "ServiceBusConnection__fullyQualifiedNamespace": "bulkhead.servicebus.windows.net",
}
"""A complete environment of the application."""

ADMIN = "Tenant.Admin"
OPERATE = "Publisher.Operate"
NAMES = (CONTOSO_HR, CONTOSO_RETAIL, FABRIKAM_HR)
_BLUEPRINTS = (
    http_public.blueprint,
    http_candidates.blueprint,
    http_reports.blueprint,
    http_tenants.tenant_blueprint,
    http_tenants.publisher_blueprint,
    http_unknown.blueprint,
)


def _routes() -> list[tuple[str, re.Pattern[str], Any]]:
    """(method or "" for any, pattern of the path, function), in the order of the functions' names as Azure's host."""
    routes = []
    for blueprint in _BLUEPRINTS:
        for builder in blueprint._function_builders:
            trigger = builder._function.get_trigger()
            pattern = trigger.route.replace(".", r"\.")
            pattern = re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", re.sub(r"{\*(\w+)}", r"(?P<\1>.*)", pattern))
            methods = [str(method.value) for method in trigger.methods or ()] or [""]
            routes += [(method, re.compile(pattern), builder) for method in methods]
    return sorted(routes, key=lambda route: str(route[2]._function.get_function_name()))


ROUTES = _routes()


def _hold_to_document(function: str, answered: "Response") -> None:
    """No answer has a header that the OpenAPI document does not tell."""
    for operation in OPERATIONS:
        if operation.name == function and answered.status in operation.status:
            told = {"x-request-id", "cache-control", "content-type", *(name.lower() for name in operation.headers)}
            assert {name.lower() for name in dict(answered.headers)} <= told, function


class Response:
    """An answer, read."""

    def __init__(self, answer: func.HttpResponse) -> None:
        self.status = answer.status_code
        self.headers: Mapping[str, str] = answer.headers
        self.media_type = answer.mimetype
        self.text = answer.get_body().decode()

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def code(self) -> str:
        """The code of a problem document."""
        return str(self.json["type"]).rpartition(":")[2]


class World:
    """Two customers with three tenants, a publisher, and the application that serves them."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.tokens = TokenFactory(self.clock)
        self.accounts = {names.account.endpoint: tenant_documents() for names in NAMES}
        self.registry_documents = registry_documents()
        self.registry = Registry(self.registry_documents, self.clock)
        self.broker = FakeBroker(self.accounts)
        self.screenings = RecordingScreenings()
        self.requests = RecordingRequests()
        self.engines = {"ssn_trace": FakeEngine(CLEAR), "watchlist": FakeEngine(CLEAR)}
        applications = FakeApplications(
            ManagedApplication(
                application_id=names.application_id, directory_id=names.directory_id, account=names.account
            )
            for names in NAMES
        )
        settings = Settings.from_env(ENV)
        self.app = SimpleNamespace(  # in place of shared.bootstrap.App
            settings=settings,
            clock=self.clock,
            signing_keys=FakeSigningKeys(self.tokens.key),
            registry=self.registry,
            registry_documents=self.registry_documents,
            broker=self.broker,
            anchors=RegistryAnchors(self.registry_documents),
            screenings=self.screenings,
            check_requests=self.requests,
            engines=self.engines,
            tenant_settings=TenantSettings(self.registry),
            life_cycle=LifeCycle(
                self.registry, applications, self.broker, self.clock,
                publisher_directory_id=PUBLISHER, vault=settings.vault_url, federated=False,
            ),
        )  # fmt: skip

    async def add(self, *tenants: Any) -> None:
        """Put tenants into the registry."""
        for tenant in tenants:
            await self.registry.add(tenant)

    def account(self, names: Any) -> Any:
        """The documents of a tenant."""
        return self.accounts[names.account.endpoint]

    async def call(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, roles: str = ADMIN,
        directory: str = CONTOSO, raw: bytes | None = None, **headers: str,
    ) -> Response:  # fmt: skip
        """Send a request as a user of `directory` with `roles`, or with `token` ("" sends none)."""
        token = self.tokens.token(directory, *roles.split()) if token is None else token
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            sent["Authorization"] = f"Bearer {token}"
        content = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        if content:
            sent.setdefault("Content-Type", "application/json")
        route, _, query = path.partition("?")
        params: dict[str, str] = {}
        for name, value in parse_qsl(query):  # several values joined, empty ones left out, as the host does it
            params[name] = f"{params[name]},{value}" if name in params else value
        for allowed, pattern, function in ROUTES:
            if allowed in (method, "") and (found := pattern.fullmatch(route)):
                request = func.HttpRequest(
                    method, f"https://bulkhead.example/api/{path}", headers=sent, params=params,
                    route_params={name: unquote(value) for name, value in found.groupdict().items()}, body=content,
                )  # fmt: skip
                answered = Response(await function(request))
                _hold_to_document(function._function.get_function_name(), answered)
                return answered
        raise LookupError(f"no route {method} {route}")

    async def deliver(self, function: str, body: bytes | str, **properties: Any) -> None:
        """Deliver a queue message to `function`."""
        content = body.encode() if isinstance(body, str) else body
        message = ServiceBusMessage(
            body=content, message_id="1", application_properties=properties, user_properties=properties
        )
        (builder,) = (one for one in jobs.blueprint._function_builders if one._function.get_function_name() == function)
        await builder(message)
