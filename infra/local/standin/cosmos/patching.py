"""Partial document update: the operations of a patch and its condition.

Source: learn.microsoft.com/azure/cosmos-db/partial-document-update: add, set, replace, remove, increment (move is
not played); at most ten operations; the condition is a query's FROM and WHERE; system properties cannot be patched.
"""

import copy
from typing import Any

from infra.local.standin.cosmos import errors
from infra.local.standin.cosmos.query.language import parse_condition

_MAX_OPERATIONS = 10


def apply_patch(body: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    """The patched copy of `body`. Raises CosmosError 400 for a bad operation, 412 when the condition does not hold."""
    operations = request.get("operations")
    if not isinstance(operations, list) or not operations:
        raise errors.bad_request("The patch request needs at least one operation.")
    if len(operations) > _MAX_OPERATIONS:
        raise errors.bad_request(f"The number of patch operations can't exceed '{_MAX_OPERATIONS}'.")
    if (condition := request.get("condition")) and parse_condition(condition)(body, {}) is not True:
        raise errors.precondition_failed()
    patched = copy.deepcopy(body)
    for operation in operations:
        _apply(patched, operation)
    return patched


def _apply(body: dict[str, Any], operation: dict[str, Any]) -> None:
    kind, path = operation.get("op"), str(operation.get("path", ""))
    parent, last = _locate(body, path)
    match kind:
        case "add":
            _put(parent, last, operation.get("value"), insert=True)
        case "set":
            _put(parent, last, operation.get("value"), insert=False)
        case "replace":
            _take(parent, last, path, remove=False)
            _put(parent, last, operation.get("value"), insert=False)
        case "remove":
            _take(parent, last, path, remove=True)
        case "incr":
            _increment(parent, last, operation.get("value"), path)
        case _:
            raise errors.bad_request(f"'{kind}' is not a patch operation.")


def _locate(body: dict[str, Any], path: str) -> tuple[Any, str]:
    if not path.startswith("/") or path == "/":
        raise errors.bad_request(f"The patch path '{path}' is invalid.")
    steps = [step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/")]
    if steps[0] in ("_rid", "_self", "_etag", "_attachments", "_ts"):
        raise errors.bad_request(f"The system property '{steps[0]}' can't be patched.")
    parent: Any = body
    for step in steps[:-1]:
        parent = _take(parent, step, path, remove=False)
    if not isinstance(parent, dict | list):
        raise _no_such_path(path)
    return parent, steps[-1]


def _take(parent: Any, step: str, path: str, *, remove: bool) -> Any:
    try:
        if isinstance(parent, dict):
            return parent.pop(step) if remove else parent[step]
        if isinstance(parent, list):
            return parent.pop(int(step)) if remove else parent[int(step)]
    except (KeyError, IndexError, ValueError):
        pass
    raise _no_such_path(path)


def _put(parent: Any, step: str, value: Any, *, insert: bool) -> None:
    if isinstance(parent, dict):
        parent[step] = value
        return
    try:
        index = len(parent) if step == "-" else int(step)
    except ValueError:
        raise errors.bad_request(f"'{step}' is not an index of an array.") from None
    if not 0 <= index <= len(parent):
        raise errors.bad_request(f"The index '{step}' is out of the array's bounds.")
    parent[index : index if insert else index + 1] = [value]


def _increment(parent: Any, step: str, by: Any, path: str) -> None:
    if isinstance(by, bool) or not isinstance(by, int | float):
        raise errors.bad_request("The value of an increment must be a number.")
    if isinstance(parent, dict) and step not in parent:
        parent[step] = by
        return
    value = _take(parent, step, path, remove=False)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise errors.bad_request(f"The value at '{path}' is not a number.")
    _put(parent, step, value + by, insert=False)


def _no_such_path(path: str) -> errors.CosmosError:
    return errors.bad_request(f"For Operation: the path '{path}' does not exist in the item.")
