"""The part of AMQP's type system (AMQP 1.0, part 1) that message sections need, over bytes.

Service Bus must not touch what the sender wrote into properties and body, so messages are kept encoded and taken
apart here by section; proton's own message class would decode and re-encode everything.
"""

import struct
from collections.abc import Callable
from typing import Any
from uuid import UUID

type Reader = Callable[[bytes, int], Any]

_FIXED: dict[int, tuple[int, Reader]] = {  # constructor -> (width, value)
    0x40: (0, lambda _b, _p: None),
    0x41: (0, lambda _b, _p: True),
    0x42: (0, lambda _b, _p: False),
    0x43: (0, lambda _b, _p: 0),
    0x44: (0, lambda _b, _p: 0),
    0x50: (1, lambda b, p: b[p]),
    0x51: (1, lambda b, p: struct.unpack_from(">b", b, p)[0]),
    0x52: (1, lambda b, p: b[p]),
    0x53: (1, lambda b, p: b[p]),
    0x54: (1, lambda b, p: struct.unpack_from(">b", b, p)[0]),
    0x55: (1, lambda b, p: struct.unpack_from(">b", b, p)[0]),
    0x56: (1, lambda b, p: b[p] == 1),
    0x60: (2, lambda b, p: struct.unpack_from(">H", b, p)[0]),
    0x61: (2, lambda b, p: struct.unpack_from(">h", b, p)[0]),
    0x70: (4, lambda b, p: struct.unpack_from(">I", b, p)[0]),
    0x71: (4, lambda b, p: struct.unpack_from(">i", b, p)[0]),
    0x72: (4, lambda b, p: struct.unpack_from(">f", b, p)[0]),
    0x80: (8, lambda b, p: struct.unpack_from(">Q", b, p)[0]),
    0x81: (8, lambda b, p: struct.unpack_from(">q", b, p)[0]),
    0x82: (8, lambda b, p: struct.unpack_from(">d", b, p)[0]),
    0x83: (8, lambda b, p: struct.unpack_from(">q", b, p)[0]),
    0x98: (16, lambda b, p: UUID(bytes=b[p : p + 16])),
}
_TEXT = (0xA1, 0xA3, 0xB1, 0xB3)
_WIDTHS = {0x4: 0, 0x5: 1, 0x6: 2, 0x7: 4, 0x8: 8, 0x9: 16}
_ONE_BYTE_SIZE = (0xA, 0xC, 0xE)
_FOUR_BYTE_SIZE = (0xB, 0xD, 0xF)


class MalformedError(ValueError):
    """Bytes that are no AMQP value."""


def skip(data: bytes, at: int) -> int:
    """The position behind the value at `at`."""
    try:
        constructor = data[at]
        if constructor == 0:  # described: descriptor, then value
            return skip(data, skip(data, at + 1))
        category = constructor >> 4
        if category in _WIDTHS:
            end = at + 1 + _WIDTHS[category]
        elif category in _ONE_BYTE_SIZE:
            end = at + 2 + data[at + 1]
        elif category in _FOUR_BYTE_SIZE:
            end = at + 5 + int(struct.unpack_from(">I", data, at + 1)[0])
        else:
            raise MalformedError(f"unknown constructor 0x{constructor:02x}")
    except (IndexError, struct.error) as error:
        raise MalformedError("truncated value") from error
    if end > len(data):
        raise MalformedError("truncated value")
    return end


def read(data: bytes, at: int) -> Any:
    """The primitive value at `at`: str for strings and symbols, bytes for binaries; other values as None."""
    end = skip(data, at)
    constructor = data[at]
    if fixed := _FIXED.get(constructor):
        return fixed[1](data, at + 1)
    category = constructor >> 4
    if category not in (0xA, 0xB):
        return None
    content = data[at + (2 if category == 0xA else 5) : end]
    if constructor not in _TEXT:
        return content
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise MalformedError("text is not UTF-8") from error


def items(data: bytes, at: int) -> list[int]:
    """The positions of the elements of the list or map (keys and values in turn) at `at`."""
    constructor = data[at]
    if constructor == 0x45:
        return []
    if constructor in (0xC0, 0xC1):
        start, count = at + 3, data[at + 2]
    elif constructor in (0xD0, 0xD1):
        start, count = at + 9, int(struct.unpack_from(">I", data, at + 5)[0])
    else:
        raise MalformedError(f"0x{constructor:02x} is neither list nor map")
    positions = []
    for _ in range(count):
        positions.append(start)
        start = skip(data, start)
    return positions


def described(code: int, value: bytes) -> bytes:
    """`value` under a small descriptor code."""
    return bytes((0x00, 0x53, code)) + value


def text(value: str) -> bytes:
    """A string."""
    raw = value.encode()
    return bytes((0xA1, len(raw))) + raw if len(raw) < 256 else b"\xb1" + struct.pack(">I", len(raw)) + raw


def symbol(value: str) -> bytes:
    """A symbol of less than 256 characters."""
    raw = value.encode("ascii")
    return bytes((0xA3, len(raw))) + raw


def long(value: int) -> bytes:
    """A signed 64-bit integer."""
    return b"\x81" + struct.pack(">q", value)


def int32(value: int) -> bytes:
    """A signed 32-bit integer."""
    return b"\x71" + struct.pack(">i", value)


def uint(value: int) -> bytes:
    """An unsigned 32-bit integer."""
    return b"\x70" + struct.pack(">I", value)


def timestamp(seconds: float) -> bytes:
    """A point in time, given in seconds since the epoch."""
    return b"\x83" + struct.pack(">q", round(seconds * 1000))


def compound(constructor: int, elements: list[bytes]) -> bytes:
    """A list (0xD0) or a map (0xD1) of encoded elements."""
    body = struct.pack(">I", len(elements)) + b"".join(elements)
    return bytes((constructor,)) + struct.pack(">I", len(body)) + body
