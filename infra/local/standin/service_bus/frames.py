"""Cuts the incoming byte stream into AMQP frames and reads one thing that proton hides: a transfer's message format.

Without it a batch (message format 0x80013700) could not be told from a message with several data sections.
"""

import struct
from collections.abc import Iterator

from infra.local.standin.service_bus import codec

MAX_FRAME_SIZE = 64 * 1024  # bytes, what Azure offers in its open
_TRANSFER = b"\x00\x53\x14"
_PROTOCOL_HEADER = b"AMQP"


class FrameReader:
    """A stream's frames, in order; incomplete ones are kept until the rest has come."""

    def __init__(self) -> None:
        self._buffer = b""
        self._formats: dict[tuple[int, int], int] = {}  # of deliveries under way, by channel and link handle

    def feed(self, data: bytes) -> Iterator[tuple[bytes, int]]:
        """Each complete frame with the message format of the delivery that it completes, else 0.

        What is no frame is passed on as it is: refusing it is the engine's business.
        """
        self._buffer += data
        while len(self._buffer) >= 8:
            size = 8 if self._buffer.startswith(_PROTOCOL_HEADER) else int(struct.unpack_from(">I", self._buffer)[0])
            if not 8 <= size <= MAX_FRAME_SIZE:
                size = len(self._buffer)
            if len(self._buffer) < size:
                return
            frame, self._buffer = self._buffer[:size], self._buffer[size:]
            yield frame, self._completed_format(frame)

    def _completed_format(self, frame: bytes) -> int:
        body = frame[4] * 4  # the data offset counts words; SASL frames (type 1) hold no transfers
        if frame[5] != 0 or frame[body : body + 3] != _TRANSFER:
            return 0
        channel = int(struct.unpack_from(">H", frame, 6)[0])
        try:
            fields = codec.items(frame, body + 3)  # handle, delivery-id, delivery-tag, message-format, settled, more
            handle, message_format, more = (
                codec.read(frame, fields[index]) if index < len(fields) else None for index in (0, 3, 5)
            )
        except codec.MalformedError:
            return 0
        delivery = (channel, int(handle or 0))
        if message_format:
            self._formats[delivery] = int(message_format)
        return 0 if more else self._formats.pop(delivery, 0)
