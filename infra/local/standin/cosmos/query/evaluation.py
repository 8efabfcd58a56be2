"""Evaluating conditions on items, with the language's undefined value and its rules for types.

Source: learn.microsoft.com/cosmos-db/query/ (equality and comparison, order by) and ScalarExpressionEvaluator in
azure-cosmos-dotnet-v3's tests: equality compares values of any types and is undefined when an operand is; order is
undefined between different types. What is undefined selects nothing, as false does.
"""

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import UNSET

type Parameters = Mapping[str, Any]
type Evaluator = Callable[[Any, Parameters], Any]
"""A function of item and parameters that gives an expression's value, UNDEFINED included."""

UNDEFINED: Final = UNSET

_ORDERED = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_RANKS = {type(None): 1, bool: 2, int: 3, float: 3, str: 4, list: 5, dict: 6}
_SCALARS = (2, 3, 4)


def comparable(value: Any) -> tuple[int, Any]:
    """A key to sort by: undefined, null, booleans, numbers, strings; then arrays and objects, which have no order."""
    rank = _RANKS.get(type(value), 0)
    return rank, value if rank in _SCALARS else 0


def comparison(name: str, left: Evaluator, right: Evaluator) -> Evaluator:
    """`=`, `<`, `<=`, `>` or `>=`: True when it holds."""

    def equality(item: Any, parameters: Parameters) -> bool:
        first = left(item, parameters)
        return first is not UNDEFINED and _equal(first, right(item, parameters))

    def order(item: Any, parameters: Parameters) -> bool:
        first, second = left(item, parameters), right(item, parameters)
        return _rank(first) == _rank(second) and _rank(first) in _SCALARS and bool(_ORDERED[name](first, second))

    return equality if name == "=" else order


def _rank(value: Any) -> int:
    return _RANKS.get(type(value), 0)


def _equal(left: Any, right: Any) -> bool:
    """Equality of JSON values: `1` is not `true`, at any depth."""
    if _rank(left) != _rank(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_equal(value, right[name]) for name, value in left.items())
    return bool(left == right)
