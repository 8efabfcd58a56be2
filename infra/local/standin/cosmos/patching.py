"""Partial document update: the operations of a patch and its condition.

Source: learn.microsoft.com/azure/cosmos-db/partial-document-update: add, set, replace, remove, increment (move is
not played); at most ten operations; the condition is a query's FROM and WHERE; system properties cannot be patched.
"""

import copy
from typing import Any, Literal

import msgspec
from msgspec import UNSET

from infra.local.standin.cosmos import errors
from infra.local.standin.cosmos.query.language import parse_condition

SYSTEM_PROPERTIES = ("_rid", "_self", "_etag", "_attachments", "_ts")
_MAX_OPERATIONS = 10


class _Operation(msgspec.Struct):
    op: Literal["add", "set", "replace", "remove", "incr", "move"]
    path: str
    value: Any = None


class _Patch(msgspec.Struct):
    operations: list[_Operation]
    condition: str | None = None


def apply_patch(body: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    """The patched copy of `body`. Raises CosmosError 400 or 501 for an operation, 412 for the condition."""
    try:
        patch = msgspec.convert(request, _Patch)
    except msgspec.ValidationError as error:
        raise errors.bad_request(f"The patch request is invalid: {error}.") from None
    if not patch.operations:
        raise errors.bad_request("The patch request needs at least one operation.")
    if len(patch.operations) > _MAX_OPERATIONS:
        raise errors.bad_request(f"The number of patch operations can't exceed '{_MAX_OPERATIONS}'.")
    if patch.condition and parse_condition(patch.condition)(body, {}) is not True:
        raise errors.precondition_failed()
    patched = copy.deepcopy(body)
    for operation in patch.operations:
        _apply(patched, operation)
    return patched


def _apply(body: dict[str, Any], operation: _Operation) -> None:
    op, path, value = operation.op, operation.path, operation.value
    if op == "move":
        raise errors.not_implemented("the patch operation move")
    parent, key, there = _locate(body, path)
    is_list = isinstance(parent, list)
    if there is UNSET and (op in ("replace", "remove") or (is_list and (op != "add" or key > len(parent)))):
        raise _no_such_path(path)
    match op:
        case "remove":
            del parent[key]
        case "add" if is_list:
            parent.insert(key, value)
        case "incr":
            if not _is_number(value) or (there is not UNSET and not _is_number(there)):
                raise errors.bad_request(f"The value at '{path}' and that of the increment must be numbers.")
            parent[key] = value if there is UNSET else there + value
        case _:
            parent[key] = value


def _locate(body: dict[str, Any], path: str) -> tuple[Any, Any, Any]:
    """What the path's last step lies in, its name or index there, and its value; UNSET when there is none."""
    if not path.startswith("/") or path == "/":
        raise errors.bad_request(f"The patch path '{path}' is invalid.")
    steps = [step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/")]
    if steps[0] in SYSTEM_PROPERTIES:
        raise errors.bad_request(f"The system property '{steps[0]}' can't be patched.")
    parent: Any = None
    key: Any = None
    value: Any = body
    for step in steps:
        parent, key = value, step
        if isinstance(parent, list) and (step == "-" or step.isdecimal()):
            key = len(parent) if step == "-" else int(step)
            value = parent[key] if key < len(parent) else UNSET
        elif isinstance(parent, dict):
            value = parent.get(key, UNSET)
        else:
            raise _no_such_path(path)
    return parent, key, value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _no_such_path(path: str) -> errors.CosmosError:
    return errors.bad_request(f"For Operation: the path '{path}' does not exist in the item.")
