"""A connection to a Service Bus namespace: where it is, tokens put into `$cbs`, lost connections made again."""

import asyncio
import base64
import hashlib
import hmac
import ssl
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus, urlsplit

from infra.local.host.amqp import AmqpClient, AmqpError
from infra.local.host.errors import StartError
from infra.local.host.logs import HostLog
from infra.local.host.settings import Connection

_TLS_PORT = 5671
_EMULATOR_PORT = 5672
_SIGNATURE_LIFE = 3600  # seconds
_SCOPE = "https://servicebus.azure.net/.default"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds between attempts to connect

type Listen = Callable[[AmqpClient], Coroutine[Any, Any, None]]


@dataclass(slots=True, frozen=True)
class _Token:
    text: str
    kind: str
    expires: float


class Namespace:
    """One namespace as one setting names it."""

    def __init__(self, connection: Connection, log: HostLog, function: str) -> None:
        """Take the connection apart. Raises StartError, naming `function`, when it is malformed."""
        self._log = log
        self._credential: Any = None
        self._client_id = connection.client_id
        self._key_name = self._key = ""
        self._tls: ssl.SSLContext | None = None
        if connection.namespace:
            self._authority, self._host, self._port = connection.namespace, connection.namespace, _TLS_PORT
            self._tls = ssl.create_default_context()
            return
        fields = dict(part.split("=", 1) for part in connection.connection_string.split(";") if "=" in part)
        endpoint = urlsplit(fields.get("Endpoint", ""))
        self._key_name, self._key = fields.get("SharedAccessKeyName", ""), fields.get("SharedAccessKey", "")
        if not endpoint.hostname or not self._key_name or not self._key:
            raise StartError(f"Function '{function}': the Service Bus connection string is malformed.")
        self._host = endpoint.hostname
        if fields.get("UseDevelopmentEmulator", "").lower() == "true":
            self._authority, self._port = endpoint.netloc, endpoint.port or _EMULATOR_PORT
        else:
            self._authority, self._port = endpoint.hostname, _TLS_PORT
            self._tls = ssl.create_default_context()

    async def serve(self, queues: list[str], listen: Listen) -> None:
        """Keep a connection and run `listen` on it until cancelled; after a loss connect again, pausing longer."""
        pause = _FIRST_PAUSE
        reachable = True
        while True:
            try:
                client = await AmqpClient.connect(self._host, self._port, self._tls)
                try:
                    expiry = await self._put_tokens(client, queues)
                    if not reachable:
                        self._log.host(f"Service Bus {self._authority} is reachable again.")
                    reachable, pause = True, _FIRST_PAUSE
                    await self._stay(client, queues, expiry, listen)
                    reason = str(client.closed.result())
                finally:
                    client.close()
            except (OSError, AmqpError) as error:
                reason = str(error)
            if reachable:
                self._log.host_warning(f"Service Bus {self._authority} can't be reached, trying again: {reason}")
            reachable = False
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _stay(self, client: AmqpClient, queues: list[str], expiry: float, listen: Listen) -> None:
        listening = asyncio.ensure_future(listen(client))
        listening.add_done_callback(lambda task: self._on_listened(client, task))
        try:
            while not client.closed.done():
                # renewed well ahead; what remains of a short life is not spun away
                await asyncio.wait([client.closed], timeout=max(10.0, (expiry - time.time()) * 0.8))
                if not client.closed.done():
                    expiry = await self._put_tokens(client, queues)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    def _on_listened(self, client: AmqpClient, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()):  # nothing foreseen: begin anew
            self._log.host_error(f"Service Bus {self._authority}: {error!r}")
            client.close()

    async def _put_tokens(self, client: AmqpClient, queues: list[str]) -> float:
        """Put a token for each queue; gives when the first of them expires."""
        expiry = float("inf")
        for queue in queues:
            audience = f"sb://{self._authority}/{queue}"
            token = await self._token(audience)
            properties = {"operation": "put-token", "type": token.kind, "name": audience}
            await client.request("$cbs", properties, token.text)
            expiry = min(expiry, token.expires)
        return expiry

    async def _token(self, audience: str) -> _Token:
        if self._key:
            expires = int(time.time()) + _SIGNATURE_LIFE
            resource = quote_plus(audience)
            digest = hmac.new(self._key.encode(), f"{resource}\n{expires}".encode(), hashlib.sha256).digest()
            signature = quote_plus(base64.b64encode(digest))
            text = f"SharedAccessSignature sr={resource}&sig={signature}&se={expires}&skn={self._key_name}"
            return _Token(text, "servicebus.windows.net:sastoken", expires)
        if self._credential is None:
            from azure.identity.aio import DefaultAzureCredential  # noqa: PLC0415 - 150 ms, only where it is used

            self._credential = DefaultAzureCredential(managed_identity_client_id=self._client_id or None)
        from azure.core.exceptions import AzureError  # noqa: PLC0415 - likewise

        try:
            found = await self._credential.get_token(_SCOPE)
        except AzureError as error:
            raise AmqpError("amqp:unauthorized-access", f"No token for Service Bus: {error}") from error
        return _Token(found.token, "jwt", found.expires_on)

    async def close(self) -> None:
        """Close the credential."""
        if self._credential is not None:
            await self._credential.close()
