"""From settings to a running application. The only place that constructs adapters."""
# ruff: noqa: PLC0415 - see App

from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import cached_property
from typing import TYPE_CHECKING

from azure.identity.aio import ManagedIdentityCredential

from shared import telemetry
from shared.access.broker import Broker
from shared.access.documents import Documents
from shared.access.ports import Anchors
from shared.access.retrieval import Steps
from shared.adapters.clock import SystemClock
from shared.adapters.cosmos import TenantAccounts, registry_documents
from shared.adapters.entra import Entra, SigningKeys
from shared.adapters.http import SharedTransport, open_session
from shared.adapters.key_vault import KeyVault
from shared.adapters.resource_manager import ResourceManager
from shared.core.clock import Clock
from shared.screening.engines.base import Engine
from shared.screening.models import ScreeningType
from shared.screening.ports import RequestQueue, ScreeningQueue
from shared.settings import Settings
from shared.tenants.anchors import RegistryAnchors
from shared.tenants.life_cycle import LifeCycle
from shared.tenants.registry import Registry
from shared.tenants.settings import TenantSettings

if TYPE_CHECKING:
    from azure.servicebus.aio import ServiceBusClient

    from shared.adapters.service_bus import Queues
    from shared.adapters.waiting_messages import WaitingMessages


class App:
    """What the entry points and operators' commands work with.

    What a tenant's request needs is made at once. Queues, engines and the control plane's part are made, and their
    libraries imported, when they are first asked for: a process that answers soon after its start does not wait for
    them. Must be made inside the running event loop, whose connections it uses.
    """

    def __init__(self, settings: Settings) -> None:
        telemetry.quieten_sdks()
        self._connections = AsyncExitStack()
        session = open_session()
        self._connections.push_async_callback(session.close)
        self._transport = SharedTransport(session, settings.proxy)
        self._identity = self._managed_identity(settings.identity_client_id)
        documents = registry_documents(self._transport, settings.registry_endpoint, self._identity)
        accounts = TenantAccounts(settings.proxy, settings.accounts)
        self._connections.push_async_callback(accounts.close)
        self.settings = settings
        self.clock: Clock = SystemClock()
        self.signing_keys = SigningKeys(self._transport, self.clock)
        self.registry_documents: Documents = documents
        self.registry = Registry(documents, self.clock)
        self.tenant_settings = TenantSettings(self.registry)
        self.anchors: Anchors = RegistryAnchors(documents)
        self.broker = Broker(
            Steps(
                KeyVault(self._transport, self._identity, federated=settings.federated_daemons),
                Entra(self._transport),
                ResourceManager(self._transport),
                self.clock,
            ),
            accounts,
            self.registry,
            self.anchors,
            self.clock,
            telemetry.event,
            settings.lease_limits,
            share=settings.share_leases,
            instances=settings.instances,
        )

    @cached_property
    def screenings(self) -> ScreeningQueue:
        """The queue of screenings to run."""
        from shared.adapters.service_bus import Screenings

        return Screenings(self._queues)

    @cached_property
    def check_requests(self) -> RequestQueue:
        """The queue of tenants' signed orders."""
        from shared.adapters.service_bus import CheckRequests

        return CheckRequests(self._queues)

    @cached_property
    def waiting_messages(self) -> "WaitingMessages":
        """Messages that wait for a person."""
        from shared.adapters.waiting_messages import WaitingMessages

        return WaitingMessages(self._bus)

    @cached_property
    def engines(self) -> Mapping[ScreeningType, Engine]:
        """What carries out each type of screening."""
        from shared.screening.engines.ssn_trace import SsnTrace
        from shared.screening.engines.watchlist import WatchlistEngine, load_sample

        return {
            "watchlist": WatchlistEngine(load_sample(), list_name="sample", list_version="1"),
            "ssn_trace": SsnTrace(),
        }

    @cached_property
    def life_cycle(self) -> LifeCycle | None:
        """Onboarding of tenants; None in a deployment that has no identity of the control plane."""
        from shared.adapters.applications import ResourceManagerApplications

        settings = self.settings
        if settings.control_identity_client_id is None:
            return None
        identity = self._managed_identity(settings.control_identity_client_id)
        return LifeCycle(
            self.registry,
            ResourceManagerApplications(self._transport, identity),
            self.broker,
            self.clock,
            publisher_directory_id=settings.publisher_directory_id,
            vault=settings.vault_url,
            federated=settings.federated_daemons,
        )

    async def close(self) -> None:
        """Close all connections: for commands. A worker keeps its own until its process ends."""
        await self._connections.aclose()

    def _managed_identity(self, client_id: str) -> ManagedIdentityCredential:
        # The default would retry for longer than a request is worth waiting for.
        return ManagedIdentityCredential(
            client_id=client_id, transport=self._transport, retry_total=2, retry_backoff_max=2
        )

    @cached_property
    def _queues(self) -> "Queues":
        from shared.adapters.service_bus import Queues

        return Queues(self._bus, self.clock)

    @cached_property
    def _bus(self) -> "ServiceBusClient":
        from shared.adapters.service_bus import connect

        settings = self.settings
        bus = connect(settings.service_bus_connection_string, settings.service_bus_namespace, self._identity)
        self._connections.push_async_callback(bus.close)
        return bus


_app: App | None = None


def app() -> App:
    """The application of this process, made at the first invocation, inside the worker's event loop."""
    global _app  # noqa: PLW0603 - one process, one application
    if _app is None:
        _app = App(Settings.from_env())
    return _app
