"""Operations on single items, with the service's checks. They run inside a container's unit when they change it.

Sources: learn.microsoft.com/rest/api/cosmos-db/documents (create, get, replace, patch, delete a document),
.../azure/cosmos-db/concepts-limits (2 MB per item, id of 1,023 bytes), .../unique-keys.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.local.standin.cosmos import errors
from infra.local.standin.cosmos.partitions import PartitionKey, mismatch
from infra.local.standin.cosmos.patching import apply_patch
from infra.local.standin.cosmos.store import Container, Item, to_json

MAX_SIZE = 2 * 1024 * 1024  # bytes of an item, and of a request
_MAX_ID = 1023  # bytes
_SYSTEM = ("_rid", "_self", "_etag", "_attachments", "_ts")


@dataclass(slots=True, frozen=True)
class Condition:
    """If-Match and If-None-Match of a request."""

    match: str | None = None
    none_match: str | None = None

    def check_write(self, item: Item) -> None:
        """Raise CosmosError 412 unless the item may be changed."""
        if self.match is not None and self.match not in ("*", item.etag):
            raise errors.precondition_failed()
        if self.none_match is not None and self.none_match in ("*", item.etag):
            raise errors.precondition_failed()

    def is_unchanged(self, item: Item) -> bool:
        """True when a read is to be answered with 304."""
        return self.none_match is not None and self.none_match in ("*", item.etag)


def condition_of(headers: Mapping[str, str]) -> Condition:
    """The conditions in a request's headers."""
    return Condition(headers.get("if-match"), headers.get("if-none-match"))


def parse_body(raw: bytes) -> dict[str, Any]:
    """A request's JSON object. Raises CosmosError 413 above 2 MB, 400 when it is no object."""
    if len(raw) > MAX_SIZE:
        raise errors.too_large()
    try:
        body = json.loads(raw)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise errors.bad_request("The request payload is invalid. Ensure to provide a valid request payload.")
    return body


def create(container: Container, key: PartitionKey, body: dict[str, Any]) -> Item:
    """A new item. Raises CosmosError 400, 409, 413."""
    checked = _checked(container, key, body)
    if container.find(key, checked["id"]) is not None:
        raise errors.conflict()
    _check_unique(container, key, checked)
    return container.write(checked, key, None)


def upsert(container: Container, key: PartitionKey, body: dict[str, Any], condition: Condition) -> tuple[Item, bool]:
    """Create or replace; True when it was created.

    The condition counts only for an item that exists; otherwise it is created (azure-cosmos-dotnet-v3 issue 1698).
    """
    checked = _checked(container, key, body)
    previous = container.find(key, checked["id"])
    if previous is not None:
        condition.check_write(previous)
    _check_unique(container, key, checked)
    return container.write(checked, key, previous), previous is None


def read(container: Container, key: PartitionKey, item_id: str) -> Item:
    """The item. Raises CosmosError 404."""
    item = container.find(key, item_id)
    if item is None:
        raise errors.item_not_found()
    return item


def replace(container: Container, key: PartitionKey, item_id: str, body: dict[str, Any], condition: Condition) -> Item:
    """Replace an item; neither its id nor its partition key can change. Raises CosmosError 400, 404, 409, 412, 413."""
    checked = _checked(container, key, body)
    previous = read(container, key, item_id)
    if checked["id"] != item_id:
        raise errors.bad_request("The id of an item cannot be changed: the body's id differs from the resource's.")
    condition.check_write(previous)
    _check_unique(container, key, checked)
    return container.write(checked, key, previous)


def patch(container: Container, key: PartitionKey, item_id: str, request: dict[str, Any], condition: Condition) -> Item:
    """Apply `{"operations": [...], "condition": "from c where ..."}`. Raises CosmosError 400, 404, 412, 413."""
    previous = read(container, key, item_id)
    condition.check_write(previous)
    patched = apply_patch(previous.body, request)
    if patched.get("id") != item_id or container.partition_key.of_item(patched) != key:
        raise errors.bad_request("Neither the id nor the partition key of an item can be changed by a patch.")
    checked = _checked(container, key, patched)
    _check_unique(container, key, checked)
    return container.write(checked, key, previous)


def delete(container: Container, key: PartitionKey, item_id: str, condition: Condition) -> Item:
    """Delete an item and give what it was. Raises CosmosError 404, 412."""
    previous = read(container, key, item_id)
    condition.check_write(previous)
    container.remove(previous)
    return previous


def _checked(container: Container, key: PartitionKey, body: dict[str, Any]) -> dict[str, Any]:
    item_id = body.get("id")
    if item_id is None:
        raise errors.bad_request("The input content is invalid because the required properties - 'id; ' - are missing")
    if not isinstance(item_id, str) or not item_id or set(item_id) & set("/\\?#"):
        raise errors.bad_request(f"The input name '{item_id}' is invalid. Ids cannot contain '/', '\\', '?' or '#'.")
    if len(item_id.encode()) > _MAX_ID:
        raise errors.bad_request(f"The input name is too long: at most {_MAX_ID} bytes.")
    ttl = body.get("ttl")
    if ttl is not None and (not isinstance(ttl, int) or isinstance(ttl, bool) or (ttl < 1 and ttl != -1)):
        raise errors.bad_request(
            f"The input ttl '{ttl}' is invalid. Ensure to provide a nonzero positive integer or -1."
        )
    if container.partition_key.of_item(body) != key:
        raise mismatch()
    own = {name: value for name, value in body.items() if name not in _SYSTEM}
    if len(to_json(own)) > MAX_SIZE:
        raise errors.too_large()
    return own


def _check_unique(container: Container, key: PartitionKey, body: dict[str, Any]) -> None:
    for paths in container.unique_keys:
        wanted = _values(body, paths)
        for other in container.in_logical_partition(key):
            if other.id != body["id"] and _values(other.body, paths) == wanted:
                raise errors.unique_key_violation()


def _values(body: dict[str, Any], paths: list[tuple[str, ...]]) -> list[Any]:
    # learn.microsoft.com/azure/cosmos-db/unique-keys: a missing value counts as null.
    found = []
    for path in paths:
        value: Any = body
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        found.append(value)
    return found
