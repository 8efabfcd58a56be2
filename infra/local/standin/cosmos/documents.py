"""Operations on single items, with the service's checks. They run inside a container's unit when they change it.

Sources: learn.microsoft.com/rest/api/cosmos-db/documents (create, get, replace, patch, delete a document),
.../azure/cosmos-db/concepts-limits (2 MB per item, id of 1,023 bytes), .../unique-keys.
"""

import re
from typing import Any, Literal

import msgspec

from infra.local.standin.cosmos import errors
from infra.local.standin.cosmos.partitions import PartitionKey, mismatch
from infra.local.standin.cosmos.patching import SYSTEM_PROPERTIES, apply_patch
from infra.local.standin.cosmos.store import Container, Item, check_ttl, to_json

MAX_SIZE = 2 * 1024 * 1024  # bytes of an item, and of a request
_MAX_ID = 1023  # bytes
_LARGEST_EXACT = 2**53
_LONG_NUMBER = re.compile(rb"\d{16}")
type Change = Literal["Create", "Upsert", "Replace", "Patch", "Delete"]  # as batches name them


def parse_body(raw: bytes) -> dict[str, Any]:
    """A request's JSON object. Raises CosmosError 413 above 2 MB, 400 when it is no object."""
    if len(raw) > MAX_SIZE:
        raise errors.too_large()
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except ValueError:
        raise errors.bad_request("The request payload is invalid. Ensure to provide a valid request payload.") from None


def read(container: Container, key: PartitionKey, item_id: str) -> Item:
    """The item. Raises CosmosError 404."""
    item = container.find(key, item_id)
    if item is None:
        raise errors.item_not_found()
    return item


def change(
    container: Container, key: PartitionKey, kind: Change, item_id: str, body: dict[str, Any], if_match: str | None
) -> tuple[int, Item]:
    """One change: its status, and the item as it is now or, when it is deleted, was.

    `item_id` names an item that is there; `body` is the new one, or a patch `{"operations": [...], "condition": ...}`.
    Neither the id nor the partition key of an item can change. Raises CosmosError 400, 404, 409, 412, 413.
    """
    previous = None
    if kind in ("Replace", "Patch", "Delete"):
        previous = read(container, key, item_id)
    elif kind == "Upsert" and isinstance(body.get("id"), str):
        previous = container.find(key, body["id"])
    # A condition does not keep an upsert from creating (azure-cosmos-dotnet-v3 issue 1698).
    if previous is not None and if_match is not None and if_match not in ("*", previous.etag):
        raise errors.precondition_failed()
    if previous is not None and kind == "Delete":
        container.remove(previous)
        return 204, previous
    if previous is not None and kind == "Patch":
        body = apply_patch(previous.body, body)
    checked = _checked(container, key, body)
    if previous is not None and checked["id"] != previous.id:
        raise errors.bad_request("The id of an item cannot be changed: the body's id differs from the resource's.")
    if kind == "Create" and container.find(key, checked["id"]) is not None:
        raise errors.conflict()
    if container.is_taken(key, checked):
        raise errors.unique_key_violation()
    return 201 if previous is None else 200, container.write(checked, key, previous)


def checked_id(body: dict[str, Any]) -> str:
    """The id of a new item, database or container. Raises CosmosError 400."""
    new_id = body.get("id")
    if new_id is None:
        raise errors.bad_request("The input content is invalid because the required properties - 'id; ' - are missing")
    if not isinstance(new_id, str) or not new_id or set(new_id) & set("/\\?#"):
        raise errors.bad_request(f"The input name '{new_id}' is invalid. Ids cannot contain '/', '\\', '?' or '#'.")
    if len(new_id.encode()) > _MAX_ID:
        raise errors.bad_request(f"The input name is too long: at most {_MAX_ID} bytes.")
    return new_id


def _checked(container: Container, key: PartitionKey, body: dict[str, Any]) -> dict[str, Any]:
    checked_id(body)
    check_ttl(body.get("ttl"))
    if container.partition_key.of_item(body) != key:
        raise mismatch()
    own = {name: value for name, value in body.items() if name not in SYSTEM_PROPERTIES}
    text = to_json(own)
    if len(text) > MAX_SIZE:
        raise errors.too_large()
    if _LONG_NUMBER.search(text) and _has_inexact(own):
        raise errors.not_implemented("numbers beyond the exact integers of IEEE 754 binary64")
    return own


def _has_inexact(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(_has_inexact, value.values() if isinstance(value, dict) else value))
    return isinstance(value, int) and abs(value) > _LARGEST_EXACT
