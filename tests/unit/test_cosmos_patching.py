"""The stand-in's patches, path by path; the wire suite shows the rest."""

import copy
from typing import Any

import pytest

from infra.local.standin.cosmos.errors import CosmosError
from infra.local.standin.cosmos.patching import apply_patch

BODY: dict[str, Any] = {"id": "a", "n": 1, "list": [1, {"x": 2}], "deep": {"x/y": 1}, "text": "t"}


def patched(op: str, path: str, value: Any = None) -> dict[str, Any]:
    before = copy.deepcopy(BODY)
    result = apply_patch(BODY, {"operations": [{"op": op, "path": path, "value": value}]})
    assert before == BODY, "a patch works on a copy"
    return result


@pytest.mark.parametrize(
    ("op", "path", "value", "changed"),
    [
        # learn.microsoft.com/azure/cosmos-db/partial-document-update, supported operations: add inserts into arrays,
        # set replaces their elements, `-` is the end, increment creates a property.
        ("add", "/n", 2, {"n": 2}),
        ("add", "/list/0", 0, {"list": [0, 1, {"x": 2}]}),
        ("add", "/list/2", 0, {"list": [1, {"x": 2}, 0]}),
        ("set", "/list/0", 0, {"list": [0, {"x": 2}]}),
        ("set", "/list/1/x", 3, {"list": [1, {"x": 3}]}),
        ("set", "/new", None, {"new": None}),
        ("replace", "/deep/x~1y", 2, {"deep": {"x/y": 2}}),
        ("remove", "/list/1", None, {"list": [1]}),
        ("incr", "/list/0", -3, {"list": [-2, {"x": 2}]}),
        ("incr", "/deep/new", 1.5, {"deep": {"x/y": 1, "new": 1.5}}),
    ],
)
def test_what_an_operation_changes(op: str, path: str, value: Any, changed: dict[str, Any]) -> None:
    assert patched(op, path, value) == BODY | changed


@pytest.mark.parametrize(
    ("op", "path", "value"),
    [
        ("replace", "/new", 1),
        ("remove", "/new", None),
        ("set", "/new/x", 1),
        ("set", "/text/x", 1),
        ("add", "/list/3", 1),
        ("set", "/list/2", 1),
        ("incr", "/list/-", 1),
        ("set", "/list/x", 1),
        ("set", "/list/-1", 1),
        ("incr", "/text", 1),
        ("incr", "/n", "1"),
        ("incr", "/n", True),
        ("set", "n", 1),
        ("set", "/", 1),
        ("set", "/_etag", 1),
        ("rename", "/n", 1),
    ],
)
def test_what_an_operation_cannot_do(op: str, path: str, value: Any) -> None:
    with pytest.raises(CosmosError) as refused:
        patched(op, path, value)
    assert refused.value.status == 400


@pytest.mark.parametrize("request_", [{}, {"operations": []}, {"operations": {}}, {"operations": [1]}])
def test_a_patch_that_is_none(request_: dict[str, Any]) -> None:
    with pytest.raises(CosmosError) as refused:
        apply_patch(BODY, request_)
    assert refused.value.status == 400
