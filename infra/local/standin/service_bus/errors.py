"""How Service Bus refuses: a status (for management answers and the journal) with an AMQP error condition.

Conditions are those that the SDK maps to its exceptions (`_pyamqp_transport._ERROR_CODE_TO_ERROR_MAPPING`) and that
the AMQP error table of the documentation lists (learn.microsoft.com, service-bus-amqp-troubleshoot).
"""

from uuid import uuid4

from proton import Condition, symbol


class Refusal(Exception):  # noqa: N818 - what it is called in this service
    """An operation that Service Bus does not carry out."""

    def __init__(self, status: int, condition: str, description: str) -> None:
        super().__init__(f"{status} {condition}: {description}")
        self.status = status
        self.condition = condition
        self.description = description


def condition(name: str, description: str) -> Condition:
    """An AMQP error. It always carries an info map: the SDK reads its place without asking whether it is there."""
    return Condition(name, description, {symbol("com.microsoft:tracking-id"): str(uuid4())})


def unauthorized(description: str) -> Refusal:
    """No valid token for this entity on this connection."""
    return Refusal(401, "amqp:unauthorized-access", description)


def entity_not_found(path: str) -> Refusal:
    """There is no such queue."""
    return Refusal(404, "amqp:not-found", f"The messaging entity '{path}' could not be found.")


def message_not_found() -> Refusal:
    """No message has the given sequence number in the required state."""
    return Refusal(404, "com.microsoft:message-not-found", "The specified message does not exist.")


def not_allowed(description: str) -> Refusal:
    """The operation does not fit the entity."""
    return Refusal(400, "amqp:not-allowed", description)


def bad_argument(description: str) -> Refusal:
    """A value in the request is not acceptable."""
    return Refusal(400, "com.microsoft:argument-error", description)


def message_lock_lost() -> Refusal:
    """The lock token is unknown: expired, settled, or never given."""
    return Refusal(
        410,
        "com.microsoft:message-lock-lost",
        "The lock supplied is invalid. Either the lock expired, or the message has already been removed from the "
        "queue.",
    )


def session_lock_lost(session_id: str) -> Refusal:
    """The session's lock expired or was released."""
    return Refusal(
        410,
        "com.microsoft:session-lock-lost",
        f"The session lock has expired on the MessageSession '{session_id}'. Accept a new MessageSession.",
    )


def session_cannot_be_locked(session_id: str) -> Refusal:
    """Another receiver holds the session."""
    return Refusal(
        409,
        "com.microsoft:session-cannot-be-locked",
        f"The requested session '{session_id}' cannot be accepted. It may be locked by another receiver.",
    )


def timed_out(seconds: float) -> Refusal:
    """No session became available in time."""
    return Refusal(
        408, "com.microsoft:timeout", f"The operation did not complete within the allotted timeout of {seconds:.3f} s."
    )


def message_too_large(size: int, limit: int) -> Refusal:
    """A message, or a batch, above the entity's limit. Sizes in bytes."""
    return Refusal(
        413,
        "amqp:link:message-size-exceeded",
        f"The received message (size:{size}) exceeds the limit ({limit}) currently allowed on the link.",
    )


def not_implemented(what: str) -> Refusal:
    """Something that Azure does and this stand-in does not."""
    return Refusal(501, "amqp:not-implemented", f"The stand-in does not implement {what}.")


_CONDITIONS_BY_STATUS = {
    400: "com.microsoft:argument-error",
    401: "amqp:unauthorized-access",
    403: "amqp:unauthorized-access",
    404: "amqp:not-found",
    408: "com.microsoft:timeout",
    410: "com.microsoft:message-lock-lost",
    429: "com.microsoft:server-busy",
    503: "com.microsoft:server-busy",
    504: "com.microsoft:timeout",
}


def injected(status: int) -> Refusal:
    """The refusal that a fault rule of this HTTP-like status stands for."""
    name = _CONDITIONS_BY_STATUS.get(status, "amqp:internal-error")
    return Refusal(status, name, "The service was unable to process the request; please retry the operation.")
