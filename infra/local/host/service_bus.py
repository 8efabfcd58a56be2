"""The Service Bus triggers of one host: which functions listen where."""

import asyncio
import functools

from infra.local.host import bus_data
from infra.local.host.amqp import AmqpClient
from infra.local.host.bus_connection import Namespace
from infra.local.host.bus_listeners import Listener, make_listener
from infra.local.host.bus_processing import Processor
from infra.local.host.errors import StartError
from infra.local.host.host_file import ServiceBusOptions
from infra.local.host.invocation import API_REASON, Invoker
from infra.local.host.logs import HostLog, log_failure
from infra.local.host.settings import Connection, Settings
from infra.local.host.worker import Function

_SETTLING_LIMIT = 5.0  # seconds at the end for settlements


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
        self._log = log
        self._listeners: dict[Connection, list[Listener]] = {}
        self._namespaces: dict[Connection, Namespace] = {}
        self._tasks: list[asyncio.Task[None]] = []
        for function in functions:
            queue = str(function.trigger.get("queueName") or "")
            if not queue:
                raise StartError(f"Function '{function.name}': topics are not supported locally.")
            queue = settings.resolve(queue, function.name)
            connection = settings.connection(str(function.trigger.get("connection") or ""), function.name)
            if connection not in self._namespaces:
                self._namespaces[connection] = Namespace(connection, log, function.name)
            listener = make_listener(Processor(function, queue, options, invoker, log))
            self._listeners.setdefault(connection, []).append(listener)

    def start(self) -> None:
        """Begin to listen, in the background; the namespace need not be there yet."""
        for connection, listeners in self._listeners.items():
            task = asyncio.create_task(_serve(self._namespaces[connection], listeners))
            task.add_done_callback(functools.partial(log_failure, self._log))
            self._tasks.append(task)

    async def fire(self, function: Function, text: str) -> None:
        """Run a function by hand with a message of nothing but a body."""
        data, metadata = bus_data.typed_in(text)
        await self._invoker.run(function, data, metadata, API_REASON)

    async def stop_receiving(self) -> None:
        """Take no more messages; give back those that have come and not begun."""
        await asyncio.gather(*(one.stop_receiving() for some in self._listeners.values() for one in some))

    async def stop(self) -> None:
        """Let settlements end and disconnect."""
        if tasks := [task for some in self._listeners.values() for one in some for task in one.tasks]:
            await asyncio.wait(tasks, timeout=_SETTLING_LIMIT)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for namespace in self._namespaces.values():
            await namespace.close()


async def _serve(namespace: Namespace, listeners: list[Listener]) -> None:
    async def listen(client: AmqpClient) -> None:
        async with asyncio.TaskGroup() as group:
            for listener in listeners:
                group.create_task(listener.listen(client))

    await namespace.serve(sorted({listener.processor.queue for listener in listeners}), listen)
