"""The request/response nodes: $cbs, where tokens are put, and each entity's $management.

Sources: learn.microsoft.com service-bus-amqp-request-response (operations, their bodies, statusCode and
statusDescription), the SDK's `_common/mgmt_handlers.py` (errorCondition) and `_pyamqp/cbs.py` (status-code).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

from proton import UNDESCRIBED, Array, Data, Delivery, Disposition, Link, Message, int32, timestamp

from infra.local.standin.service_bus import errors, messages
from infra.local.standin.service_bus.broker import Broker, Entity
from infra.local.standin.service_bus.errors import Refusal
from infra.local.standin.service_bus.links import ServerLink
from infra.local.standin.service_bus.model import DeathCertificate, SessionLock
from infra.local.standin.service_bus.security import SIGNATURE_PREFIX, Grant, verify_signature

if TYPE_CHECKING:
    from infra.local.standin.service_bus.amqp import Connection

CBS = "$cbs"
MANAGEMENT_SUFFIX = "/$management"
_PREFIX = "com.microsoft:"

type Body = dict[str, Any] | None
type Operation = Callable[[Broker, Entity, dict[str, Any]], tuple[int, Body]]


class ReplyLink(ServerLink):
    """The link on which a client receives answers."""

    def __init__(self, connection: "Connection", link: Link, node: str) -> None:
        super().__init__(connection, link)
        self.node = node
        self.accept()

    def reply(self, request: Message, properties: dict[str, Any], body: Body) -> None:
        """Send an answer to `request`; it is buffered until there is credit."""
        message = Message(body=body, correlation_id=request.id, properties=properties)
        delivery = message.send(self.link)
        delivery.settle()


class RequestLink(ServerLink):
    """The link on which a client sends requests to one node: $cbs without an entity."""

    def __init__(
        self, connection: "Connection", link: Link, node: str, entity: Entity | None = None, principal: str = ""
    ) -> None:
        super().__init__(connection, link)
        self._node = node
        self._entity = entity
        self._principal = principal
        self.accept()

    def on_delivery(self, delivery: Delivery) -> None:
        """A request."""
        request = Message()
        request.decode(self.take(delivery))
        delivery.update(Disposition.ACCEPTED)
        delivery.settle()
        if self._entity is None:
            self._put_token(request)
        else:
            self._manage(request, self._entity)

    def _put_token(self, request: Message) -> None:
        try:
            grant: Grant | Refusal = self._verify(request)
        except Refusal as refusal:
            grant = refusal

        def act() -> None:
            if isinstance(grant, Refusal):
                raise grant
            self._connection.grants.add(grant)
            self._reply(request, {"status-code": int32(202), "status-description": "Accepted"}, None)

        def refuse(refusal: Refusal) -> None:
            properties = {
                "status-code": int32(refusal.status),
                "status-description": refusal.description,
                "error-condition": refusal.condition,
            }
            self._reply(request, properties, None)

        principal = grant.principal if isinstance(grant, Grant) else "anonymous"
        self._connection.perform("put_token", CBS, principal, act, refuse)

    def _verify(self, request: Message) -> Grant:
        # the SDK announces even a shared access signature as type "jwt", so the token itself must tell
        asked = request.properties or {}
        token = str(request.body)
        if asked.get("operation") != "put-token" or not token.startswith(SIGNATURE_PREFIX):
            raise errors.not_implemented("anything but put-token with a shared access signature")
        now = self._connection.broker.world.now()
        return verify_signature(token, str(asked.get("name", "")), self._connection.keys, now)

    def _manage(self, request: Message, entity: Entity) -> None:
        operation = str((request.properties or {}).get("operation", ""))
        asked = request.body or {}
        name, handler = _OPERATIONS.get(operation, (operation.removeprefix(_PREFIX) or "unknown", None))
        if handler is _update_disposition:
            name = _SETTLEMENTS.get(str(asked.get("disposition-status")), name)

        def act() -> None:
            if handler is None:
                raise errors.not_implemented(operation or "a request without operation")
            broker = self._connection.broker
            broker.advance(entity)
            try:
                status, body = handler(broker, entity, asked)
            except (KeyError, TypeError, ValueError) as error:
                raise errors.bad_argument(f"The request is not complete: {error!r}") from error
            properties = {"statusCode": int32(status), "statusDescription": "OK" if status == 200 else "No Content"}
            self._reply(request, properties, body)
            broker.pump(entity)

        def refuse(refusal: Refusal) -> None:
            properties = {
                "statusCode": int32(refusal.status),
                "statusDescription": refusal.description,
                "errorCondition": refusal.condition,
            }
            self._reply(request, properties, None)

        self._connection.perform(name, entity.queue.path, self._principal, act, refuse)

    def _reply(self, request: Message, properties: dict[str, Any], body: Body) -> None:
        self._connection.reply_link(self.link, self._node).reply(request, properties, body)


# ---- operations of $management


def _renew_lock(broker: Broker, entity: Entity, body: dict[str, Any]) -> tuple[int, Body]:
    now = broker.world.now()
    ends = [timestamp(round(entity.queue.renew(token, now) * 1000)) for token in body["lock-tokens"]]
    return 200, {"expirations": Array(UNDESCRIBED, Data.TIMESTAMP, *ends)}


def _renew_session_lock(broker: Broker, entity: Entity, body: dict[str, Any]) -> tuple[int, Body]:
    until = entity.queue.renew_session(body["session-id"], broker.world.now())
    return 200, {"expiration": timestamp(round(until * 1000))}


def _peek(_broker: Broker, entity: Entity, body: dict[str, Any]) -> tuple[int, Body]:
    found = entity.queue.peek(int(body["from-sequence-number"]), int(body["message-count"]), body.get("session-id"))
    if not found:
        return 204, None
    return 200, {"messages": [{"message": messages.render(message)} for message in found]}


def _update_disposition(_broker: Broker, entity: Entity, body: dict[str, Any]) -> tuple[int, Body]:
    queue = entity.queue
    session: SessionLock | None = None
    if (session_id := body.get("session-id")) is not None:
        session = queue.held_session(session_id)
    death = DeathCertificate(str(body.get("deadletter-reason", "")), str(body.get("deadletter-description", "")))
    settle: dict[str, Callable[[UUID], object]] = {
        "completed": lambda token: queue.complete(token, session),
        "abandoned": lambda token: queue.abandon(token, session),
        "suspended": lambda token: queue.dead_letter(token, death, session),
    }
    action = settle.get(body["disposition-status"])
    if action is None:
        raise errors.not_implemented(f"disposition {body['disposition-status']}")
    for token in body["lock-tokens"]:
        action(token)
    return 200, None


# what a settlement is called when it comes over a link
_SETTLEMENTS = {"completed": "complete", "abandoned": "abandon", "suspended": "dead_letter", "defered": "defer"}

_OPERATIONS: dict[str, tuple[str, Operation | None]] = {
    _PREFIX + "renew-lock": ("renew_lock", _renew_lock),
    _PREFIX + "renew-session-lock": ("renew_session_lock", _renew_session_lock),
    _PREFIX + "peek-message": ("peek", _peek),
    _PREFIX + "update-disposition": ("update_disposition", _update_disposition),
}
