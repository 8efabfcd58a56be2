"""The Service Bus namespace of the stand-in: listens, knows the shared access keys, starts and stops."""

import asyncio
import base64
import secrets
from typing import Any

from infra.local.standin.service_bus.amqp import Connection
from infra.local.standin.service_bus.broker import Broker
from infra.local.standin.service_bus.model import LOCK_DURATION, QueueSettings
from infra.local.standin.wire import World

_KEY_NAME = "RootManageSharedAccessKey"  # Azure's name for the rule that every namespace is born with
_KEYS = "service_bus/keys"
_PATIENCE = 1.0  # seconds that clients have to take what was sent to them before the service ends


class ServiceBus:
    """Service Bus over plain AMQP, as the SDK speaks it to the development emulator."""

    operations = frozenset({  # as the journal names them
        "put_token", "open_sender", "open_receiver", "open_management", "accept_session",
        "send", "schedule", "receive", "peek", "complete", "abandon", "dead_letter", "release",
        "renew_lock", "renew_session_lock",
    })  # fmt: skip

    def __init__(self, world: World) -> None:
        self._broker = Broker(world)
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._address = ("127.0.0.1", 0)
        self._lock_duration = LOCK_DURATION
        self._keys = dict(world.storage.load(_KEYS))
        if not self._keys:
            key = base64.b64encode(secrets.token_bytes(32)).decode()
            world.storage.put(_KEYS, _KEY_NAME, key)
            self._keys = {_KEY_NAME: key}
        for key in self._keys.values():
            world.secrets.add("service_bus_key", key)

    def create_queue(self, name: str, **settings: Any) -> None:
        """Declare a queue, with settings of QueueSettings; messages that the storage holds for it are in it again.

        Queues are declared anew at every start, so that their settings may change between two.
        """
        self._broker.create_queue(QueueSettings(name=name, **settings))

    @property
    def lock_duration(self) -> float:
        """Of the messages of every queue, in seconds, once it was set."""
        return self._lock_duration

    def set_lock_duration(self, seconds: float) -> None:
        """Of every queue, for messages that are received from now on: the queues are updated, as in the portal."""
        self._lock_duration = seconds
        self._broker.set_lock_duration(seconds)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen; gives the port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self._broker, self._keys, self._connections), host, port
        )
        self._address = self._server.sockets[0].getsockname()[:2]
        self._broker.start()
        return self._address[1]

    async def stop(self) -> None:
        """Close every connection and listen no longer."""
        self._broker.stop()
        if self._server is not None:
            self._server.close()
            for connection in list(self._connections):
                connection.close()
            try:
                await asyncio.wait_for(self._server.wait_closed(), _PATIENCE)
            except TimeoutError:  # a client that does not read
                self._server.abort_clients()
                await self._server.wait_closed()
            self._server = None

    def messages(self) -> list[tuple[str, str]]:
        """Every different message sent since the start, as far as remembered: its queue, its AMQP encoding as text."""
        return [(queue, payload.decode(errors="replace")) for queue, payload in dict.fromkeys(self._broker.seen)]

    @property
    def connection_string(self) -> str:
        """What the SDK's `from_connection_string` takes; valid once started."""
        host, port = self._address
        return (
            f"Endpoint=sb://{host}:{port};SharedAccessKeyName={_KEY_NAME};"
            f"SharedAccessKey={self._keys[_KEY_NAME]};UseDevelopmentEmulator=true;"
        )
