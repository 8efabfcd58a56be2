"""What is read from and written into encoded messages, byte by byte; signatures; frames."""

import base64
import hashlib
import hmac
import struct
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from proton import UNDESCRIBED, Array, Data, Described, symbol, timestamp, uint
from proton import Message as AmqpMessage

from infra.local.standin.service_bus import codec, messages
from infra.local.standin.service_bus.errors import Refusal
from infra.local.standin.service_bus.frames import FrameReader
from infra.local.standin.service_bus.model import DeathCertificate, Message
from infra.local.standin.service_bus.security import Grant, Grants, verify_signature

NOW = 1_000_000.0
KEYS = {"Root": "key"}


def encoded(value: object) -> bytes:
    data = Data()
    data.put_object(value)
    return bytes(data.encode())


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(max_size=300)
    | st.binary(max_size=300)
    | st.uuids()
    | st.integers(0, 2**32 - 1).map(uint)
    | st.text(alphabet="abc", min_size=1).map(symbol)
    | st.integers(0, 2**40).map(timestamp),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@given(VALUES)
def test_skip_ends_where_an_independent_encoder_ended(value: object) -> None:
    raw = encoded(value)
    assert codec.skip(raw + b"tail", 0) == len(raw)
    if not isinstance(value, list | dict):
        assert codec.read(raw, 0) == value


@given(VALUES)
def test_described_values_and_arrays_are_skipped(value: object) -> None:
    described = encoded(Described(symbol("x"), value))
    assert codec.skip(described, 0) == len(described)
    array = encoded(Array(UNDESCRIBED, Data.LONG, 1, 2, 3))
    assert codec.skip(array, 0) == len(array)


@given(st.binary(max_size=60))
def test_nonsense_is_refused_and_nothing_else_happens(raw: bytes) -> None:
    try:
        messages.parse(raw)
    except codec.MalformedError:
        return


def test_rendering_keeps_the_senders_sections_and_adds_the_brokers() -> None:
    sent = AmqpMessage(
        body=b"body", inferred=True, id="m", group_id="s", correlation_id="c", ttl=5, priority=7, durable=True,
        properties={"DeadLetterReason": "forged", "mine": 1},
        annotations={symbol("x-opt-partition-key"): "p", symbol("x-opt-sequence-number"): 99},
    )  # fmt: skip
    incoming = messages.parse(bytes(sent.encode()))
    assert (incoming.message_id, incoming.session_id, incoming.correlation_id, incoming.ttl) == ("m", "s", "c", 5)
    message = Message(3, incoming, NOW, delivery_count=2, death=DeathCertificate("why", ""))
    got = AmqpMessage()
    got.decode(messages.render(message))
    assert (got.body, got.id, got.ttl, got.priority, got.durable, got.delivery_count) == (b"body", "m", 5, 7, True, 2)
    assert got.properties == {"DeadLetterReason": "why", "mine": 1}
    assert got.annotations == {
        symbol("x-opt-partition-key"): "p",
        symbol("x-opt-enqueued-time"): timestamp(NOW * 1000),
        symbol("x-opt-sequence-number"): 3,
        symbol("x-opt-message-state"): 0,
    }


def test_the_correlation_id_may_be_an_application_property() -> None:
    raw = bytes(AmqpMessage(properties={"correlation_id": "c"}).encode())
    assert messages.parse(raw).correlation_id == "c"


def test_a_batch_holds_messages_in_data_sections() -> None:
    parts = [bytes(AmqpMessage(id=name).encode()) for name in "ab"]
    batch = b"".join(codec.described(messages.DATA, encoded(part)) for part in parts)
    assert messages.unpack_batch(batch) == parts
    with pytest.raises(codec.MalformedError):
        messages.unpack_batch(b"")


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


def test_grants_cover_an_entity_and_what_is_below_it_until_they_expire() -> None:
    grants = Grants()
    grants.add(Grant("q", NOW + 10, "sas:Root"))
    assert grants.principal("q", NOW) == grants.principal("Q/$DeadLetterQueue", NOW) == "sas:Root"
    assert grants.principal("q2", NOW) is None
    assert grants.principal("q", NOW + 10) is None


def transfer(*fields: bytes, payload: bytes = b"") -> bytes:
    body = codec.described(0x14, codec.compound(0xD0, list(fields))) + payload
    return struct.pack(">IBBH", 8 + len(body), 2, 0, 1) + body


def test_frames_are_cut_wherever_the_stream_is_and_formats_go_with_the_last_frame() -> None:
    null, true, false = b"\x40", b"\x41", b"\x42"
    handle, number, tag, batch = b"\x43", codec.uint(1), b"\xa0\x011", codec.uint(0x80013700)
    frames = [
        b"AMQP\x00\x01\x00\x00",
        transfer(handle, number, tag, batch, false, true, payload=b"one"),
        struct.pack(">IBBH", 8, 2, 0, 0),  # an empty frame: a heartbeat
        transfer(handle, null, null, null, null, false, payload=b"two"),
        transfer(handle, number, tag, b"\x43", false),
    ]
    stream = b"".join(frames)
    for step in (1, 7, len(stream)):
        reader = FrameReader()
        found = [item for at in range(0, len(stream), step) for item in reader.feed(stream[at : at + step])]
        assert found == list(zip(frames, [0, 0, 0, 0x80013700, 0], strict=True))
