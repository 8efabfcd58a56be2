"""What a queue holds: its settings, its messages and their locks. Times are seconds since the epoch."""

from dataclasses import dataclass
from uuid import UUID

DEAD_LETTER_SUFFIX = "/$DeadLetterQueue"


@dataclass(slots=True, kw_only=True)
class QueueSettings:
    """How a queue behaves; the defaults are Azure's (learn.microsoft.com, service-bus-quotas and the ARM schema).

    `lock_duration`, `default_ttl`, `duplicate_detection_window` in seconds; None means without.
    """

    name: str
    requires_session: bool = False
    lock_duration: float = 60.0
    max_delivery_count: int = 10
    default_ttl: float | None = None
    dead_letter_on_expiry: bool = False
    duplicate_detection_window: float | None = None


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message as a sender gave it. `payload` is its AMQP encoding; `ttl` in seconds."""

    payload: bytes
    message_id: str | None = None
    session_id: str | None = None
    correlation_id: str = ""
    ttl: float | None = None
    scheduled_at: float | None = None


@dataclass(frozen=True, slots=True)
class DeathCertificate:
    """Why a message was dead-lettered; empty strings are not shown to receivers."""

    reason: str = ""
    description: str = ""


@dataclass(slots=True)
class Message:
    """A message in a queue. `scheduled` ones wait for `enqueued_at`, which then lies ahead."""

    sequence_number: int
    incoming: Incoming
    enqueued_at: float
    expires_at: float | None = None
    scheduled: bool = False
    delivery_count: int = 0
    death: DeathCertificate | None = None
    lock: "MessageLock | None" = None


@dataclass(slots=True, eq=False)
class SessionLock:
    """One receiver's exclusive hold of a session. Identity, not the id, tells two holders of a session apart."""

    session_id: str
    until: float


@dataclass(slots=True, eq=False)
class MessageLock:
    """The hold on one delivered message. In a session the session's lock counts, not `until`."""

    token: UUID
    message: Message
    until: float
    session: SessionLock | None
