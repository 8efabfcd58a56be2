"""The running stand-in: world, services, ports and the file that tells clients where they are."""

import json
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from infra.local.processes import told_to_end, write_whole
from infra.local.standin import publisher
from infra.local.standin.azure import Azure
from infra.local.standin.certificates import ServerCertificate
from infra.local.standin.control import Control
from infra.local.standin.customers import Customers
from infra.local.standin.server import IDENTITY_PATH, LOOPBACK, Dispatcher, listening
from infra.local.standin.storage import Storage
from infra.local.standin.wire import World

READY_FILE = "standin.json"


@dataclass(slots=True, frozen=True)
class Endpoints:
    """Where a running stand-in is found. A process started with `env` reaches it under Azure's host names."""

    stand_in: str  # URL of the control API
    proxy: str
    ca_bundle: str
    service_bus_connection_string: str
    env: dict[str, str]


class StandIn:
    """One stand-in over a state directory: `start`, then `stop`. A new one over the same directory goes on."""

    def __init__(self, state: Path) -> None:
        self._certificate = ServerCertificate(state / "tls")
        self.world = World(Storage(state / "state.db"))
        self.azure = Azure(self.world)
        publisher.establish(self.azure)
        self.customers = Customers(self.azure)
        self._open = AsyncExitStack()

    async def start(self, base_port: int = 0) -> Endpoints:
        """Listen on `base_port` (control), the next (proxy) and the one after (Service Bus); 0: on free ports."""
        ports = (base_port, base_port + 1, base_port + 2) if base_port else (0, 0, 0)
        publisher.create_queues(self.azure)
        self.azure.service_bus.set_lock_duration(self.world.settings.lock_seconds)
        await self.azure.service_bus.start(ports[2])
        self.azure.regenerations.resume()
        dispatcher = Dispatcher(self.world, self.azure.hosts)
        control = Control(self.azure, self.customers, dispatcher).application()
        listeners = listening(dispatcher, self._certificate.context(), control, ports[0], ports[1])
        return self._endpoints(*await self._open.enter_async_context(listeners))

    async def stop(self) -> None:
        """Close every port and the state."""
        self.azure.regenerations.stop()
        await self._open.aclose()
        await self.azure.service_bus.stop()
        self.world.storage.close()

    def _endpoints(self, control_port: int, proxy_port: int) -> Endpoints:
        control, proxy = f"http://{LOOPBACK}:{control_port}", f"http://{LOOPBACK}:{proxy_port}"
        bundle = str(self._certificate.bundle.resolve())
        service_bus = self.azure.service_bus.connection_string
        env = {
            "BULKHEAD_PLANE": "all",
            "BULKHEAD_FEDERATED_DAEMONS": "on",
            "BULKHEAD_INSTANCES_AT_MOST": "1",
            "BULKHEAD_PUBLISHER_DIRECTORY_ID": publisher.DIRECTORY_ID,
            "BULKHEAD_API_AUDIENCE": publisher.API_CLIENT_ID,
            "BULKHEAD_FRONT_END_CLIENT_IDS": publisher.FRONT_END_CLIENT_ID,
            "BULKHEAD_REGISTRY_ENDPOINT": publisher.REGISTRY_ENDPOINT,
            "BULKHEAD_VAULT_URL": publisher.VAULT.url + "/",
            "BULKHEAD_IDENTITY_CLIENT_ID": publisher.DATA_IDENTITY.client_id,
            "BULKHEAD_CONTROL_IDENTITY_CLIENT_ID": publisher.CONTROL_IDENTITY.client_id,
            "ServiceBusConnection": service_bus,
            "HTTPS_PROXY": proxy,
            "NO_PROXY": "127.0.0.1,localhost",
            "SSL_CERT_FILE": bundle,
            "REQUESTS_CA_BUNDLE": bundle,
            "IDENTITY_ENDPOINT": f"{control}{IDENTITY_PATH}",
            "IDENTITY_HEADER": self.azure.managed_identity.header,
        }
        return Endpoints(control, proxy, bundle, service_bus, env)


async def run(state: Path, base_port: int, parent: int | None = None) -> None:
    """Run until SIGTERM, SIGINT or the end of process `parent`; the ready-file in `state` is there while it runs."""
    told = told_to_end(parent)
    ready = state / READY_FILE
    ready.unlink(missing_ok=True)  # one that a killed run left behind
    stand_in = StandIn(state)
    try:
        write_whole(ready, json.dumps(asdict(await stand_in.start(base_port)), indent=2))
        await told.wait()
    finally:
        ready.unlink(missing_ok=True)
        await stand_in.stop()
