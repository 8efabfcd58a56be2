"""What is read from and written into encoded messages, byte by byte; signatures."""

import base64
import hashlib
import hmac
from urllib.parse import quote_plus
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from proton import Message as AmqpMessage
from proton import symbol, timestamp

from infra.local.standin.service_bus import messages
from infra.local.standin.service_bus.errors import Refusal
from infra.local.standin.service_bus.model import DeathCertificate, Message, MessageLock, SessionLock
from infra.local.standin.service_bus.security import Grant, verify_signature

NOW = 1_000_000.0
KEYS = {"Root": "key"}


def data_section(content: bytes) -> bytes:
    return messages.encode(messages.DATA, content)


@given(st.binary(max_size=60) | st.binary(max_size=30).map(lambda tail: b"\x00\x53\x73" + tail))
def test_nonsense_is_refused_and_nothing_else_happens(raw: bytes) -> None:
    try:
        messages.parse(raw)
    except Refusal:
        return


@pytest.mark.parametrize(
    ("code", "value"),
    [
        (messages.HEADER, {}),
        (messages.ANNOTATIONS, []),
        (messages.PROPERTIES, None),
        (messages.APPLICATION_PROPERTIES, "text"),
        (messages.DATA, 10**15),
    ],
)
def test_a_section_of_another_type_is_refused(code: int, value: object) -> None:
    with pytest.raises(Refusal, match="amqp:decode-error"):
        messages.unpack(messages.encode(code, value))


def test_rendering_keeps_the_senders_sections_and_adds_the_brokers() -> None:
    sent = AmqpMessage(
        body=b"body", inferred=True, id="m", group_id="s", correlation_id="c", ttl=5, priority=7, durable=True,
        properties={"DeadLetterReason": "forged", "mine": 1, "bytes": b"\x00"},
        annotations={symbol("x-opt-partition-key"): "p", symbol("x-opt-sequence-number"): 99},
    )  # fmt: skip
    incoming = messages.parse(bytes(sent.encode()))
    assert (incoming.message_id, incoming.session_id, incoming.correlation_id, incoming.ttl) == ("m", "s", "c", 5)
    message = Message(3, incoming, NOW, delivery_count=2, death=DeathCertificate("why"))
    got = AmqpMessage()
    got.decode(messages.render(message))
    assert (got.body, got.id, got.ttl, got.priority, got.durable, got.delivery_count) == (b"body", "m", 5, 7, True, 2)
    assert got.properties == {"DeadLetterReason": "why", "mine": 1, "bytes": b"\x00"}
    assert got.annotations == {
        symbol("x-opt-partition-key"): "p",
        symbol("x-opt-enqueued-time"): timestamp(NOW * 1000),
        symbol("x-opt-sequence-number"): 3,
        symbol("x-opt-message-state"): 0,
    }


def test_a_locked_message_says_until_when_its_session_if_it_has_one() -> None:
    message = Message(3, messages.parse(bytes(AmqpMessage().encode())), NOW)
    for session, until in ((None, NOW + 1), (SessionLock("s", NOW + 9), NOW + 9)):
        message.lock = MessageLock(uuid4(), message, NOW + 1, session)
        got = AmqpMessage()
        got.decode(messages.render(message))
        assert got.annotations[symbol("x-opt-locked-until")] == timestamp(until * 1000)


def test_the_correlation_id_may_be_an_application_property() -> None:
    raw = bytes(AmqpMessage(properties={"correlation_id": "c"}).encode())
    assert messages.parse(raw).correlation_id == "c"


def test_a_batch_holds_messages_in_data_sections() -> None:
    parts = [bytes(AmqpMessage(id=name).encode()) for name in "ab"]
    assert messages.unpack(b"".join(map(data_section, parts))) == parts
    for single in (data_section(b"a") + data_section(b"b"), data_section(parts[0]) + data_section(b""), parts[0]):
        assert messages.unpack(single) == [single]


def sign(resource: str, expiry: int, name: str = "Root", key: str = "key") -> str:
    raw = quote_plus(resource)
    signature = base64.b64encode(hmac.digest(key.encode(), f"{raw}\n{expiry}".encode(), hashlib.sha256)).decode()
    return f"SharedAccessSignature sr={raw}&sig={quote_plus(signature)}&se={expiry}&skn={name}"


def test_a_valid_signature_grants_its_entity_to_its_key() -> None:
    later = int(NOW) + 60
    grant = verify_signature(sign("sb://host/Queue", later), "sb://host/Queue", KEYS, NOW)
    assert grant == Grant("queue", later, "sas:Root")
    # a signature for the namespace serves every entity in it
    assert verify_signature(sign("sb://host/", later), "sb://host/q", KEYS, NOW).path == "q"


@pytest.mark.parametrize(
    ("token", "code"),
    [
        (sign("sb://h/q", int(NOW) + 60, key="other"), "InvalidSignature"),
        (sign("sb://h/q", int(NOW) + 60, name="Nobody"), "InvalidSignature"),
        (sign("sb://h/q", int(NOW) + 60, name="Nobody", key=""), "InvalidSignature"),
        (sign("sb://h/q", int(NOW) + 60).replace("se=", "se=9"), "InvalidSignature"),
        (sign("sb://h/q", int(NOW)), "ExpiredToken"),
        (sign("sb://h/other", int(NOW) + 60), "InvalidAudience"),
        (sign("sb://h/queue", int(NOW) + 60), "InvalidAudience"),
        ("SharedAccessSignature sr=x", "MalformedToken"),
        ("eyJ.jwt.token", "MalformedToken"),
    ],
)
def test_other_signatures_are_refused(token: str, code: str) -> None:
    with pytest.raises(Refusal, match=code) as refused:
        verify_signature(token, "sb://h/q", KEYS, NOW)
    assert refused.value.status == 401


def test_a_grant_covers_an_entity_and_what_is_below_it_until_it_expires() -> None:
    grant = Grant("q", NOW + 10, "sas:Root")
    assert grant.covers("q", NOW)
    assert grant.covers("Q/$DeadLetterQueue", NOW)
    assert not grant.covers("q2", NOW)
    assert not grant.covers("q", NOW + 10)
