"""Running a function for received messages: renew their locks meanwhile, settle them by the outcome.

Source: MessageProcessor and ServiceBusListener of Azure/azure-sdk-for-net: complete when the function succeeds and
autoCompleteMessages is on, abandon whenever it fails. Renewal as "maxAutoLockRenewalDuration" of host.json says.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from proton import UNDESCRIBED, Array, Data, Disposition, uint

from infra.local.host import bus_data
from infra.local.host.amqp import AmqpClient, AmqpError, Received, Receiver
from infra.local.host.host_file import ServiceBusOptions
from infra.local.host.invocation import Invoker
from infra.local.host.logs import HostLog
from infra.local.host.worker import Function

_MARGIN = 10.0  # seconds before a lock ends that it is renewed, at most half of what remains
_RECONNECT_LIMIT = 10.0  # seconds to wait for a new connection with a renewal or settlement
_STATUS = {Disposition.ACCEPTED: "completed", Disposition.MODIFIED: "abandoned"}
_SERVER_TIMEOUT = uint(30_000)  # milliseconds


class Processor:
    """One function and the queue that triggers it."""

    def __init__(
        self, function: Function, queue: str, options: ServiceBusOptions, invoker: Invoker, log: HostLog
    ) -> None:
        trigger = function.trigger
        self.function = function
        self.queue = queue
        self.options = options
        self.log = log
        self.sessions = bool(trigger.get("isSessionsEnabled"))
        self.many = str(trigger.get("cardinality", "")).lower() == "many"
        self._binary = str(trigger.get("dataType", "")).lower() == "binary"
        self._invoker = invoker
        self._client: AmqpClient | None = None
        self._connected = asyncio.Event()

    def use(self, client: AmqpClient) -> None:
        """From now on `client` is the connection for renewals, and for settling what came over a lost one."""
        self._client = client
        self._connected.set()
        client.closed.add_done_callback(lambda _: self._connected.clear())

    async def process(self, receiver: Receiver, batch: list[Received]) -> None:
        """Run the function for a message, or for a batch where its cardinality is many, and settle.

        Cancelling the task cancels the function and abandons the messages.
        """
        renewal = None if self.sessions else asyncio.ensure_future(self._renew_messages(receiver, batch))
        try:
            succeeded = await self._run(batch)
        except asyncio.CancelledError:
            succeeded = False
        finally:
            if renewal is not None:
                renewal.cancel()
        if not succeeded:
            await self.settle(receiver, batch, Disposition.MODIFIED)
        elif self.options.auto_complete_messages:
            await self.settle(receiver, batch, Disposition.ACCEPTED)

    async def settle(self, receiver: Receiver, batch: list[Received], outcome: int) -> None:
        """Settle messages; a refusal is logged, the service delivers such a message again."""
        results = await asyncio.gather(
            *(self._settle(receiver, received, outcome) for received in batch), return_exceptions=True
        )
        for error in results:
            if isinstance(error, AmqpError):
                self.log.host_warning(f"Function '{self.function.name}': a message could not be settled: {error}")
            elif error is not None:
                raise error

    async def renew_session(self, receiver: Receiver) -> None:
        """Keep the lock of a session, as long as options allow."""

        async def renew() -> float:
            answer = await self._manage(receiver, "renew-session-lock", {"session-id": receiver.session_id})
            return int(answer["expiration"]) / 1000

        await self._renew(receiver.locked_until, renew)

    async def _run(self, batch: list[Received]) -> bool:
        if self.many:
            data, metadata = bus_data.batch_datum(batch, binary=self._binary), bus_data.batch_metadata(batch)
            details = f"Messages: {len(batch)}"
        else:
            data, metadata = bus_data.message_datum(batch[0], binary=self._binary), bus_data.message_metadata(batch[0])
            details = bus_data.details(metadata)
        trace_parent = str((batch[0].message.properties or {}).get("Diagnostic-Id") or "")
        outcome = await self._invoker.run(
            self.function, data, metadata, "(null)", trace_parent=trace_parent, details=details
        )
        return outcome.succeeded

    async def _renew_messages(self, receiver: Receiver, batch: list[Received]) -> None:
        tokens = Array(UNDESCRIBED, Data.UUID, *(received.lock_token for received in batch))

        async def renew() -> float:
            answer = await self._manage(receiver, "renew-lock", {"lock-tokens": tokens})
            return min(int(moment) for moment in answer["expirations"].elements) / 1000

        await self._renew(min(bus_data.locked_until(received) for received in batch), renew)

    async def _renew(self, until: float, renew: Callable[[], Awaitable[float]]) -> None:
        end = time.time() + self.options.max_auto_lock_renewal
        while True:
            remaining = until - time.time()
            await asyncio.sleep(remaining - min(remaining / 2, _MARGIN))
            if time.time() >= end:
                return
            try:
                until = await renew()
            except AmqpError as error:
                self.log.host_warning(f"Function '{self.function.name}': a lock could not be renewed: {error}")
                return

    async def _settle(self, receiver: Receiver, received: Received, outcome: int) -> None:
        try:
            await receiver.settle(received, outcome)
        except AmqpError:
            # A message's lock outlives the link: it is settled by its token, as Azure.Messaging.ServiceBus does
            # (AmqpReceiver.DisposeMessageRequestResponseAsync). A session's lock does not.
            if self.sessions or outcome not in _STATUS or not receiver.closed.done():
                raise
            tokens = Array(UNDESCRIBED, Data.UUID, received.lock_token)
            body = {"disposition-status": _STATUS[outcome], "lock-tokens": tokens}
            await self._manage(receiver, "update-disposition", body)

    async def _manage(self, receiver: Receiver, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            async with asyncio.timeout(_RECONNECT_LIMIT):
                await self._connected.wait()
        except TimeoutError:
            raise AmqpError("amqp:connection:forced", "There is no connection.") from None
        assert self._client is not None  # noqa: S101 - `use` sets it with the event
        properties = {"operation": f"com.microsoft:{operation}", "com.microsoft:server-timeout": _SERVER_TIMEOUT}
        if not receiver.closed.done():
            properties["associated-link-name"] = receiver.name
        answer = await self._client.request(f"{self.queue}/$management", properties, body)
        found: dict[str, Any] = answer.body or {}
        return found
