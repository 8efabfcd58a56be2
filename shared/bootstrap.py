"""From settings to a running application. The only place that constructs adapters."""

from collections.abc import Mapping
from dataclasses import dataclass

from azure.identity.aio import ManagedIdentityCredential

from shared import telemetry
from shared.access.broker import Broker
from shared.access.retrieval import Steps
from shared.adapters import service_bus
from shared.adapters.applications import ResourceManagerApplications
from shared.adapters.clock import SystemClock
from shared.adapters.cosmos import TenantAccounts, registry_documents
from shared.adapters.entra import Entra, SigningKeys
from shared.adapters.http import SharedTransport, open_session
from shared.adapters.key_vault import KeyVault
from shared.adapters.resource_manager import ResourceManager
from shared.core.clock import Clock
from shared.screening.engines import Engine, SsnTrace, WatchlistEngine, load_sample
from shared.screening.models import ScreeningType
from shared.screening.ports import RequestQueue, ScreeningQueue
from shared.settings import Settings
from shared.tenants.anchors import RegistryAnchors
from shared.tenants.life_cycle import LifeCycle
from shared.tenants.registry import Registry
from shared.tenants.settings import TenantSettings


@dataclass(frozen=True, slots=True)
class App:
    """What the entry points work with."""

    settings: Settings
    clock: Clock
    signing_keys: SigningKeys
    registry: Registry
    broker: Broker
    screenings: ScreeningQueue
    check_requests: RequestQueue
    engines: Mapping[ScreeningType, Engine]
    tenant_settings: TenantSettings
    life_cycle: LifeCycle | None  # of the control plane


def build(settings: Settings) -> App:
    """Construct the application. Must be called inside the running event loop, whose connections it uses."""
    telemetry.quieten_sdks()
    clock = SystemClock()
    transport = SharedTransport(open_session(), settings.proxy)
    identity = ManagedIdentityCredential(client_id=settings.identity_client_id, transport=transport)
    documents = registry_documents(transport, settings.registry_endpoint, identity)
    registry = Registry(documents, clock)
    anchors = RegistryAnchors(documents)
    broker = Broker(
        Steps(KeyVault(transport, identity), Entra(transport), ResourceManager(transport), clock),
        TenantAccounts(settings.proxy),
        registry,
        anchors,
        clock,
        telemetry.event,
        settings.lease_limits,
        share=settings.share_leases,
        instances=settings.instances,
    )
    queues = service_bus.Queues(
        service_bus.connect(settings.service_bus_connection_string, settings.service_bus_namespace, identity), clock
    )
    life_cycle = None
    if settings.control_identity_client_id is not None:
        control = ManagedIdentityCredential(client_id=settings.control_identity_client_id, transport=transport)
        life_cycle = LifeCycle(
            registry,
            ResourceManagerApplications(transport, control),
            broker,
            clock,
            publisher_directory_id=settings.publisher_directory_id,
            vault=settings.vault_url,
            federated=settings.federated_daemons,
        )
    return App(
        settings=settings,
        clock=clock,
        signing_keys=SigningKeys(transport, clock),
        registry=registry,
        broker=broker,
        screenings=service_bus.Screenings(queues),
        check_requests=service_bus.CheckRequests(queues),
        engines={
            "watchlist": WatchlistEngine(load_sample(), list_name="sample", list_version="1"),
            "ssn_trace": SsnTrace(),
        },
        tenant_settings=TenantSettings(registry),
        life_cycle=life_cycle,
    )


_app: App | None = None


def app() -> App:
    """The application of this process, built at the first invocation, inside the worker's event loop."""
    global _app  # noqa: PLW0603 - one process, one application
    if _app is None:
        _app = build(Settings.from_env())
    return _app
