"""Partition keys: their values in items and headers, and the physical partition that holds them.

Every container has two physical partitions, so that queries across partitions really merge. Which one holds a
logical partition follows from the hash of its key, computed as the service and the SDKs do (hash version 2:
MurmurHash3 x64 128 of the encoded value; azure-cosmos `partition_key.py`, `_cosmos_murmurhash3.py`).
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from infra.local.standin.cosmos.errors import CosmosError, bad_request, not_implemented

_MIDDLE = "1F" + "FF" * 15  # where a container of two physical partitions is divided
_MISMATCH = 1001  # SubStatusCodes.PARTITION_KEY_MISMATCH
_64 = 0xFFFFFFFFFFFFFFFF

type Component = str | float | bool | dict[str, Any] | None  # an empty dict stands for undefined


@dataclass(slots=True, frozen=True)
class PhysicalPartition:
    """A range of effective partition keys (hexadecimal), upper bound exclusive."""

    id: str
    lower: str
    upper: str


PHYSICAL_PARTITIONS = (PhysicalPartition("0", "", _MIDDLE), PhysicalPartition("1", _MIDDLE, "FF"))


@dataclass(slots=True, frozen=True)
class PartitionKey:
    """A value of a partition key: its canonical text, and the index of its physical partition."""

    text: str
    physical: int


class PartitionKeyDefinition:
    """The container's `partitionKey`: one path, kind Hash. Hierarchical keys are not implemented (501)."""

    def __init__(self, definition: Mapping[str, Any]) -> None:
        paths = definition.get("paths") or []
        if definition.get("kind", "Hash") != "Hash" or definition.get("version", 2) != 2:
            raise not_implemented("partition keys other than of kind Hash and version 2")
        if len(paths) != 1 or not str(paths[0]).startswith("/"):
            raise bad_request("The partition key definition is invalid: exactly one path such as /id is expected.")
        self.path: str = paths[0]
        self._steps = tuple(step.strip('"') for step in self.path[1:].split("/"))

    def of_item(self, body: Mapping[str, Any]) -> PartitionKey:
        """The key of an item."""
        value: Any = body
        for step in self._steps:
            value = value.get(step, {}) if isinstance(value, dict) else {}
        if isinstance(value, list) or (isinstance(value, dict) and value):
            raise bad_request(
                "Partition key provided either doesn't correspond to definition in the collection or doesn't match "
                "partition key field values specified in the document.",
                _MISMATCH,
            )
        return _key(value)

    def of_header(self, header: str) -> PartitionKey:
        """The key in x-ms-documentdb-partitionkey, such as `["a"]`; `[{}]` is undefined. Raises CosmosError 400."""
        try:
            values = json.loads(header)
        except ValueError:
            values = None
        if not isinstance(values, list) or len(values) != 1 or not _is_component(values[0]):
            raise mismatch()
        return _key(values[0])


def mismatch() -> CosmosError:
    """400 with sub-status 1001: key and definition, or key and item, do not belong together."""
    return bad_request(
        "PartitionKey extracted from document doesn't match the one specified in the header. "
        "Learn more: https://aka.ms/CosmosDB/sql/errors/wrong-pk-value",
        _MISMATCH,
    )


def _is_component(value: Any) -> bool:
    return value is None or isinstance(value, str | bool | int | float) or value == {}


def _key(value: Any) -> PartitionKey:
    if isinstance(value, int) and not isinstance(value, bool):
        value = float(value)  # 1 and 1.0 are one number in JSON
    return _placed(json.dumps(value))


@lru_cache(maxsize=8192)
def _placed(text: str) -> PartitionKey:
    return PartitionKey(text, 0 if effective_partition_key(json.loads(text)) < _MIDDLE else 1)


def effective_partition_key(value: Component) -> str:
    """The hash by which a partition key's value is placed, 32 hexadecimal digits."""
    first, second = murmurhash3_128(_encoded(value))
    digest = bytearray(second.to_bytes(8) + first.to_bytes(8))
    digest[0] &= 0x3F
    return digest.hex().upper()


def _encoded(value: Component) -> bytes:
    match value:
        case None:
            return b"\x01"
        case False:
            return b"\x02"
        case True:
            return b"\x03"
        case str():
            return b"\x08" + value.encode() + b"\xff"
        case dict():
            return b"\x00"
        case _:
            return b"\x05" + struct.pack("<d", float(value))


def murmurhash3_128(data: bytes) -> tuple[int, int]:
    """MurmurHash3 x64 128 with seed 0: the two 64-bit halves. Source: Austin Appleby, SMHasher (public domain)."""
    h1 = h2 = 0
    whole = len(data) & ~15
    for at in range(0, whole, 16):
        k1, k2 = struct.unpack_from("<QQ", data, at)
        h1 = ((_rotate(h1 ^ _mix1(k1), 27) + h2) * 5 + 0x52DCE729) & _64
        h2 = ((_rotate(h2 ^ _mix2(k2), 31) + h1) * 5 + 0x38495AB5) & _64
    tail = data[whole:]
    h1 ^= _mix1(int.from_bytes(tail[:8], "little")) ^ len(data)
    h2 ^= _mix2(int.from_bytes(tail[8:], "little")) ^ len(data)
    h1 = (h1 + h2) & _64
    h2 = (h2 + h1) & _64
    h1, h2 = _final(h1), _final(h2)
    h1 = (h1 + h2) & _64
    return h1, (h2 + h1) & _64


def _rotate(value: int, by: int) -> int:
    return ((value << by) | (value >> (64 - by))) & _64


def _mix1(k: int) -> int:
    return (_rotate((k * 0x87C37B91114253D5) & _64, 31) * 0x4CF5AD432745937F) & _64


def _mix2(k: int) -> int:
    return (_rotate((k * 0x4CF5AD432745937F) & _64, 33) * 0x87C37B91114253D5) & _64


def _final(k: int) -> int:
    k = ((k ^ (k >> 33)) * 0xFF51AFD7ED558CCD) & _64
    k = ((k ^ (k >> 33)) * 0xC4CEB9FE1A85EC53) & _64
    return k ^ (k >> 33)
