"""The request/response nodes: $cbs, where tokens are put, and each entity's $management.

Sources: learn.microsoft.com service-bus-amqp-request-response (operations, their bodies, statusCode and
statusDescription), the SDK's `_common/mgmt_handlers.py` (errorCondition) and `_pyamqp/cbs.py` (status-code).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from proton import UNDESCRIBED, Array, Data, Delivery, Disposition, Link, Message, int32

from infra.local.standin.service_bus import errors, messages
from infra.local.standin.service_bus.entities import Entity
from infra.local.standin.service_bus.errors import Refusal
from infra.local.standin.service_bus.links import ServerLink
from infra.local.standin.service_bus.model import DeathCertificate
from infra.local.standin.service_bus.security import SIGNATURE_PREFIX, Grant, verify_signature

if TYPE_CHECKING:
    from infra.local.standin.service_bus.amqp import Connection

CBS = "$cbs"
MANAGEMENT_SUFFIX = "/$management"
_PREFIX = "com.microsoft:"

type Body = dict[str, Any] | None


class NodeLink(ServerLink):
    """A client's link to a node, $cbs without an entity: requests come over one, their answers go over another."""

    def __init__(
        self, connection: "Connection", link: Link, node: str, entity: Entity | None = None, principal: str = ""
    ) -> None:
        super().__init__(connection, link)
        self.node = node
        self._entity = entity
        self._principal = principal

    def on_delivery(self, delivery: Delivery) -> None:
        """A request."""
        request = Message()
        request.decode(self.take(delivery))
        delivery.update(Disposition.ACCEPTED)
        delivery.settle()
        operation = str((request.properties or {}).get("operation", ""))

        def refuse(refusal: Refusal) -> None:
            self._reply(request, refusal.status, refusal.description, condition=refusal.condition)

        if self._entity is None:
            self._put_token(request, operation, refuse)
        else:
            self._manage(request, operation, self._entity, refuse)

    def _put_token(self, request: Message, operation: str, refuse: Callable[[Refusal], None]) -> None:
        try:
            grant: Grant | Refusal = self._verify(request, operation)
        except Refusal as refusal:
            grant = refusal

        def act() -> None:
            if isinstance(grant, Refusal):
                raise grant
            self._connection.grants[grant.path] = grant  # in the place of an earlier one
            self._reply(request, 202, "Accepted")

        principal = grant.principal if isinstance(grant, Grant) else "anonymous"
        self._connection.perform("put_token", CBS, principal, act, refuse)

    def _verify(self, request: Message, operation: str) -> Grant:
        # the SDK announces even a shared access signature as type "jwt", so the token itself must tell
        token = str(request.body)
        if operation != "put-token" or not token.startswith(SIGNATURE_PREFIX):
            raise errors.not_implemented("anything but put-token with a shared access signature")
        bus = self._connection.bus
        return verify_signature(token, str(request.properties.get("name", "")), bus.keys, bus.world.now())

    def _manage(self, request: Message, operation: str, entity: Entity, refuse: Callable[[Refusal], None]) -> None:
        asked = request.body or {}
        name, handler = _OPERATIONS.get(operation, (operation.removeprefix(_PREFIX) or "unknown", None))
        if handler is _update_disposition:
            name = _SETTLEMENTS.get(str(asked.get("disposition-status")), name)

        def act() -> None:
            if handler is None:
                raise errors.not_implemented(operation or "a request without operation")
            now = entity.advance()
            try:
                body = handler(entity, asked, now)
            except (KeyError, TypeError, ValueError) as error:
                raise Refusal(400, f"The request is not complete: {error!r}") from error
            if body is None:
                self._reply(request, 204, "No Content")
            else:
                self._reply(request, 200, "OK", body or None)
            entity.pump()

        self._connection.perform(name, entity.queue.path, self._principal, act, refuse)

    def _reply(self, request: Message, status: int, text: str, body: Body = None, condition: str = "") -> None:
        """Answer; that is buffered until there is credit."""
        if self._entity is None:
            properties = {"status-code": int32(status), "status-description": text, "error-condition": condition}
        else:
            properties = {"statusCode": int32(status), "statusDescription": text, "errorCondition": condition}
        told = {name: value for name, value in properties.items() if value}
        answer = Message(body=body, correlation_id=request.id, properties=told)
        answer.send(self._connection.reply_link(self)).settle()


# ---- operations of $management: the body that they answer with 200, which may be empty, or None for 204


def _renew_lock(entity: Entity, asked: dict[str, Any], now: float) -> Body:
    ends = [messages.moment(entity.queue.renew(token, now)) for token in asked["lock-tokens"]]
    return {"expirations": Array(UNDESCRIBED, Data.TIMESTAMP, *ends)}


def _renew_session_lock(entity: Entity, asked: dict[str, Any], now: float) -> Body:
    return {"expiration": messages.moment(entity.queue.renew_session(asked["session-id"], now))}


def _peek(entity: Entity, asked: dict[str, Any], _now: float) -> Body:
    found = entity.queue.peek(int(asked["from-sequence-number"]), int(asked["message-count"]), asked.get("session-id"))
    return {"messages": [{"message": messages.render(message)} for message in found]} if found else None


def _update_disposition(entity: Entity, asked: dict[str, Any], _now: float) -> Body:
    """What the SDK asks for when it has lost the link that a message came over."""
    status, session_id = asked["disposition-status"], asked.get("session-id")
    if _SETTLEMENTS.get(status, "defer") == "defer":
        raise errors.not_implemented(f"disposition {status}")
    session = entity.queue.held_session(session_id) if session_id is not None else None
    death = DeathCertificate(str(asked.get("deadletter-reason", "")), str(asked.get("deadletter-description", "")))
    for token in asked["lock-tokens"]:
        entity.queue.settle(_SETTLEMENTS[status], token, session, death)
    return {}


# what a settlement is called when it comes over a link
_SETTLEMENTS = {"completed": "complete", "abandoned": "abandon", "suspended": "dead_letter", "defered": "defer"}

_OPERATIONS = {
    _PREFIX + "renew-lock": ("renew_lock", _renew_lock),
    _PREFIX + "renew-session-lock": ("renew_session_lock", _renew_session_lock),
    _PREFIX + "peek-message": ("peek", _peek),
    _PREFIX + "update-disposition": ("update_disposition", _update_disposition),
}
