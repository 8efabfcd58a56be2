"""How Service Bus refuses: a status (for management answers and the journal) with an AMQP error condition.

Conditions are those that the SDK maps to its exceptions (`_pyamqp_transport._ERROR_CODE_TO_ERROR_MAPPING`) and that
the AMQP error table of the documentation lists (learn.microsoft.com, service-bus-amqp-troubleshoot).
"""

from uuid import uuid4

from proton import Condition, symbol

_CONDITIONS = {  # the usual ones; an injected fault gives no more than a status
    400: "com.microsoft:argument-error",
    401: "amqp:unauthorized-access",
    403: "amqp:unauthorized-access",
    404: "amqp:not-found",
    408: "com.microsoft:timeout",
    409: "com.microsoft:session-cannot-be-locked",
    410: "com.microsoft:message-lock-lost",
    413: "amqp:link:message-size-exceeded",
    429: "com.microsoft:server-busy",
    501: "amqp:not-implemented",
    503: "com.microsoft:server-busy",
    504: "com.microsoft:timeout",
}


class Refusal(Exception):  # noqa: N818 - what it is called in this service
    """An operation that Service Bus does not carry out; without `condition` it has the usual one of its status."""

    def __init__(self, status: int, description: str, condition: str = "") -> None:
        self.status = status
        self.description = description
        self.condition = condition or _CONDITIONS.get(status, "amqp:internal-error")
        super().__init__(f"{status} {self.condition}: {description}")

    @property
    def error(self) -> Condition:
        """In AMQP. It always has an info map: the SDK reads its place without asking whether it is there."""
        return Condition(self.condition, self.description, {symbol("com.microsoft:tracking-id"): str(uuid4())})


def not_allowed(description: str) -> Refusal:
    """The operation does not fit the entity."""
    return Refusal(400, description, "amqp:not-allowed")


def not_implemented(what: str) -> Refusal:
    """Something that Azure does and this stand-in does not."""
    return Refusal(501, f"The stand-in does not implement {what}.")


def injected(status: int) -> Refusal:
    """The refusal that a fault rule of this HTTP-like status stands for."""
    return Refusal(status, "The service was unable to process the request; please retry the operation.")


def message_lock_lost() -> Refusal:
    """The lock token is unknown: expired, settled, or never given."""
    reason = "Either the lock expired, or the message has already been removed from the queue."
    return Refusal(410, f"The lock supplied is invalid. {reason}")


def session_lock_lost(session_id: str) -> Refusal:
    """The session's lock expired or was released."""
    text = f"The session lock has expired on the MessageSession '{session_id}'. Accept a new MessageSession."
    return Refusal(410, text, "com.microsoft:session-lock-lost")
