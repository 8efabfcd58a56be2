"""The Service Bus triggers of one host: which functions listen where."""

import asyncio
import ssl
from typing import Any

from azure.servicebus.aio import ServiceBusClient

from infra.local.host import bus_data
from infra.local.host.bus_listener import Listener
from infra.local.host.errors import StartError
from infra.local.host.host_file import ServiceBusOptions
from infra.local.host.invocation import API_REASON, Invoker
from infra.local.host.logs import HostLog
from infra.local.host.settings import Settings
from infra.local.host.worker import Function

# For receiving and settling alike, seconds. A namespace that stays away longer is reported and asked every second.
_RETRIES: dict[str, Any] = {"retry_total": 3, "retry_backoff_factor": 0.2, "retry_backoff_max": 2}
_SETTLING_LIMIT = 5.0  # seconds at the end for settlements
_CLOSING_LIMIT = 0.5  # seconds at the end for links to be detached and what they were sent meanwhile to be given back


class ServiceBusTriggers:
    """All Service Bus functions of one host."""

    def __init__(
        self,
        functions: list[Function],
        options: ServiceBusOptions,
        settings: Settings,
        invoker: Invoker,
        log: HostLog,
    ) -> None:
        """Resolve queues and connections. Raises StartError for what is missing or not supported."""
        self._invoker = invoker
        self._clients: dict[str, ServiceBusClient] = {}  # by connection string
        self._listeners: list[Listener] = []
        for function in functions:
            queue = str(function.trigger.get("queueName") or "")
            if not queue:
                raise StartError(f"Function '{function.name}': topics are not supported locally.")
            queue = settings.resolve(queue, function.name)
            connection = settings.connection(str(function.trigger.get("connection") or ""), function.name)
            try:
                client = self._clients.get(connection) or _connect(connection)
            except ValueError:
                raise StartError(
                    f"Function '{function.name}': the Service Bus connection string is malformed."
                ) from None
            self._clients[connection] = client
            self._listeners.append(Listener(function, queue, client, options, invoker, log))

    def start(self) -> None:
        """Begin to listen, in the background; the namespace need not be there yet."""
        for listener in self._listeners:
            listener.start()

    async def fire(self, function: Function, text: str) -> None:
        """Run a function by hand with a message of nothing but a body."""
        data, metadata = bus_data.typed_in(text)
        await self._invoker.run(function, data, metadata, API_REASON)

    def stop_receiving(self) -> None:
        """Take no more messages; what has come and not begun is given back."""
        for listener in self._listeners:
            listener.stop_receiving()

    async def stop(self) -> None:
        """Let settlements end and disconnect."""
        if links := [task for listener in self._listeners for task in listener.links]:
            await asyncio.wait(links, timeout=_SETTLING_LIMIT)
        if closings := [task for listener in self._listeners for task in listener.closings]:
            await asyncio.wait(closings, timeout=_CLOSING_LIMIT)


def _connect(connection: str) -> ServiceBusClient:
    # without a context of ours the SDK reads the system's certificates for every link
    return ServiceBusClient.from_connection_string(connection, ssl_context=ssl.create_default_context(), **_RETRIES)
