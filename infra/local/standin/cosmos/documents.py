"""Operations on single items, with the service's checks. They run inside a container's unit when they change it.

Sources: learn.microsoft.com/rest/api/cosmos-db/documents (create, get, replace, patch, delete a document),
.../azure/cosmos-db/concepts-limits (2 MB per item, id of 1,023 bytes), .../unique-keys.
"""

import json
from typing import Any

from infra.local.standin.cosmos import errors
from infra.local.standin.cosmos.partitions import PartitionKey, mismatch
from infra.local.standin.cosmos.patching import apply_patch
from infra.local.standin.cosmos.store import Container, Item, to_json

MAX_SIZE = 2 * 1024 * 1024  # bytes of an item, and of a request
_MAX_ID = 1023  # bytes
_SYSTEM = ("_rid", "_self", "_etag", "_attachments", "_ts")


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


def upsert(container: Container, key: PartitionKey, body: dict[str, Any], if_match: str | None) -> tuple[Item, bool]:
    """Create or replace; True when it was created.

    The condition counts only for an item that exists; otherwise it is created (azure-cosmos-dotnet-v3 issue 1698).
    """
    checked = _checked(container, key, body)
    previous = container.find(key, checked["id"])
    if previous is not None:
        _check_match(previous, if_match)
    _check_unique(container, key, checked)
    return container.write(checked, key, previous), previous is None


def read(container: Container, key: PartitionKey, item_id: str) -> Item:
    """The item. Raises CosmosError 404."""
    item = container.find(key, item_id)
    if item is None:
        raise errors.item_not_found()
    return item


def replace(container: Container, key: PartitionKey, item_id: str, body: dict[str, Any], if_match: str | None) -> Item:
    """Replace an item; neither its id nor its partition key can change. Raises CosmosError 400, 404, 409, 412, 413."""
    checked = _checked(container, key, body)
    previous = read(container, key, item_id)
    if checked["id"] != item_id:
        raise errors.bad_request("The id of an item cannot be changed: the body's id differs from the resource's.")
    _check_match(previous, if_match)
    _check_unique(container, key, checked)
    return container.write(checked, key, previous)


def patch(container: Container, key: PartitionKey, item_id: str, request: dict[str, Any], if_match: str | None) -> Item:
    """Apply `{"operations": [...], "condition": "from c where ..."}`. Raises CosmosError 400, 404, 412, 413."""
    previous = read(container, key, item_id)
    _check_match(previous, if_match)
    patched = apply_patch(previous.body, request)
    if patched.get("id") != item_id or container.partition_key.of_item(patched) != key:
        raise errors.bad_request("Neither the id nor the partition key of an item can be changed by a patch.")
    checked = _checked(container, key, patched)
    _check_unique(container, key, checked)
    return container.write(checked, key, previous)


def delete(container: Container, key: PartitionKey, item_id: str, if_match: str | None) -> Item:
    """Delete an item and give what it was. Raises CosmosError 404, 412."""
    previous = read(container, key, item_id)
    _check_match(previous, if_match)
    container.remove(previous)
    return previous


def _check_match(item: Item, if_match: str | None) -> None:
    if if_match is not None and if_match not in ("*", item.etag):
        raise errors.precondition_failed()


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
    if any(other.id != body["id"] for other in container.sharing_unique_key(key, body)):
        raise errors.unique_key_violation()
