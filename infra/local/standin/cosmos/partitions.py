"""Partition keys: their values in items and headers, and the physical partition that holds them.

Every container has two physical partitions, so that queries across partitions really merge. Which one holds a
logical partition follows from a hash of its key; not from the service's own, which no client can see: the SDKs name
logical partitions by their keys.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from zlib import crc32

from infra.local.standin.cosmos.errors import CosmosError, bad_request, not_implemented

_MIDDLE = "1F" + "FF" * 15  # where a container of two physical partitions is divided
_MISMATCH = 1001  # SubStatusCodes.PARTITION_KEY_MISMATCH


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
    return PartitionKey(text, crc32(text.encode()) % len(PHYSICAL_PARTITIONS))
