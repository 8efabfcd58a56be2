"""The Service Bus namespace of the stand-in: its queues and shared access keys; it listens, starts and stops."""

import asyncio
import base64
import secrets
from typing import Any

from infra.local.standin.service_bus.amqp import Connection
from infra.local.standin.service_bus.entities import Entity
from infra.local.standin.service_bus.errors import Refusal
from infra.local.standin.service_bus.model import DEAD_LETTER_SUFFIX, QueueSettings
from infra.local.standin.service_bus.persistence import QueueStore
from infra.local.standin.service_bus.queues import Queue
from infra.local.standin.wire import World

_HOST = "127.0.0.1"
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
        self.world = world
        self.connections: set[Connection] = set()
        self._store = QueueStore(world.storage)
        self._entities: dict[str, Entity] = {}  # by lower-case path: names are case-insensitive
        self._server: asyncio.Server | None = None
        self._port = 0
        self._key = world.storage.kept(_KEYS, _KEY_NAME, lambda: base64.b64encode(secrets.token_bytes(32)).decode())
        self.keys = {_KEY_NAME: self._key}
        world.secrets.add("service_bus_key", self._key)

    # ---- queues

    def create_queue(self, name: str, **settings: Any) -> None:
        """Declare a queue, with settings of QueueSettings; messages that the storage holds for it are in it again.

        Queues are declared anew at every start, so that their settings may change between two.
        """
        graves = Queue(QueueSettings(name=name + DEAD_LETTER_SUFFIX), self._store)
        queue = Queue(QueueSettings(name=name, **settings), self._store, graves)
        graves.settings.lock_duration = queue.settings.lock_duration
        dead_letters = Entity(graves, self.world.now)
        self._entities[graves.path.lower()] = dead_letters
        self._entities[queue.path.lower()] = Entity(queue, self.world.now, dead_letters)

    def set_lock_duration(self, seconds: float) -> None:
        """Of every queue, for messages that are received from now on: the queues are updated, as in the portal."""
        for entity in self._entities.values():
            entity.queue.settings.lock_duration = seconds

    def entity(self, path: str) -> Entity:
        """The queue or sub-queue at `path`. Raises Refusal when there is none."""
        entity = self._entities.get(path.lower())
        if entity is None:
            raise Refusal(404, f"The messaging entity '{path}' could not be found.")
        return entity

    def messages(self) -> list[tuple[str, str]]:
        """Every different message sent since the start, as far as remembered: its queue, its AMQP encoding as text."""
        return [(queue, payload.decode(errors="replace")) for queue, payload in dict.fromkeys(self._store.seen)]

    # ---- the server

    async def start(self, port: int = 0) -> None:
        """Listen on `port` or a free one, and let happen what fell due meanwhile."""
        self._server = await asyncio.get_running_loop().create_server(lambda: Connection(self), _HOST, port)
        self._port = self._server.sockets[0].getsockname()[1]
        for entity in self._entities.values():
            entity.pump()

    async def stop(self) -> None:
        """Close every connection and listen no longer."""
        if self._server is not None:
            self._server.close()
            for connection in list(self.connections):
                connection.close()
            try:
                await asyncio.wait_for(self._server.wait_closed(), _PATIENCE)
            except TimeoutError:  # a client that does not read
                self._server.abort_clients()
                await self._server.wait_closed()
            self._server = None
        for entity in self._entities.values():  # last: a session that ends with its link sets the alarm
            entity.stop()

    @property
    def connection_string(self) -> str:
        """What the SDK's `from_connection_string` takes; valid once started."""
        return (
            f"Endpoint=sb://{_HOST}:{self._port};SharedAccessKeyName={_KEY_NAME};"
            f"SharedAccessKey={self._key};UseDevelopmentEmulator=true;"
        )
