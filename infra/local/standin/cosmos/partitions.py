"""Partition keys: their values in items and headers, and the physical partition that holds them.

Every container has two physical partitions, so that queries across partitions really merge. Which one holds a
logical partition follows from a hash of its key; not from the service's own, which no client can see: the SDKs name
logical partitions by their keys.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from zlib import crc32

import msgspec

from infra.local.standin.cosmos.errors import CosmosError, bad_request, not_implemented

_MAX_BYTES = 2048  # of a value: learn.microsoft.com/azure/cosmos-db/concepts-limits
_MIDDLE = "1F" + "FF" * 15  # where a container of two physical partitions is divided
RANGES = (("", _MIDDLE), (_MIDDLE, "FF"))
"""Each physical partition's effective partition keys (hexadecimal), upper bound exclusive. Its id is its index."""


class PartitionKey(NamedTuple):
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
        self._steps = [step.strip('"') for step in paths[0][1:].split("/")]

    def of_item(self, body: Mapping[str, Any]) -> PartitionKey:
        """The key of an item. Raises CosmosError 400 when its value is an array, an object or too long."""
        return _key(value_at(body, self._steps, {}))

    def of_header(self, header: str) -> PartitionKey:
        """The key in x-ms-documentdb-partitionkey, such as `["a"]`; `[{}]` is undefined. Raises CosmosError 400."""
        try:
            (value,) = msgspec.json.decode(header, type=tuple[Any])
        except ValueError:
            raise mismatch() from None
        return _key(value)


def value_at(body: Any, steps: Sequence[str], missing: Any) -> Any:
    """What lies in an item under nested properties; `missing` when it is not there."""
    for step in steps:
        body = body.get(step, missing) if isinstance(body, dict) else missing
    return body


def mismatch() -> CosmosError:
    """400 with sub-status 1001 (PARTITION_KEY_MISMATCH): key and definition, or key and item, don't belong together."""
    return CosmosError(
        400,
        "PartitionKey extracted from document doesn't match the one specified in the header. "
        "Learn more: https://aka.ms/CosmosDB/sql/errors/wrong-pk-value",
        substatus=1001,
    )


def _key(value: Any) -> PartitionKey:
    if isinstance(value, dict | list) and value != {}:
        raise mismatch()
    if isinstance(value, str) and len(value.encode()) > _MAX_BYTES:
        raise bad_request(f"The partition key value is too long: at most {_MAX_BYTES} bytes.")
    if isinstance(value, int) and not isinstance(value, bool):
        value = float(value)  # 1 and 1.0 are one number in JSON
    return _placed(json.dumps(value))


@lru_cache(maxsize=8192)
def _placed(text: str) -> PartitionKey:
    return PartitionKey(text, crc32(text.encode()) % len(RANGES))
