"""Evaluating expressions on items, with the language's undefined value and its rules for types.

Source: learn.microsoft.com/cosmos-db/query/ (equality and comparison, logical operators) and
ScalarExpressionEvaluator in azure-cosmos-dotnet-v3's tests: equality compares values of any types and is undefined
only when an operand is; order is undefined between different types; AND, OR and NOT are three-valued.
"""

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from infra.local.standin.cosmos.errors import bad_request

type Parameters = Mapping[str, Any]
type Evaluator = Callable[[Any, Parameters], Any]
"""A function of item and parameters that gives an expression's value, UNDEFINED included."""


class _Undefined:
    __slots__ = ()

    def __repr__(self) -> str:
        return "undefined"


UNDEFINED: Final = _Undefined()

_ORDERED = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_RANKS: Final = {type(None): 1, bool: 2, int: 3, float: 3, str: 4, list: 5, dict: 6}


def rank(value: Any) -> int:
    """The order of types: undefined, null, boolean, number, string, array, object."""
    return _RANKS.get(type(value), 0)


def equal(left: Any, right: Any) -> bool:
    """Equality of JSON values: `1` is not `true`, at any depth."""
    if rank(left) != rank(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(equal(value, right[name]) for name, value in left.items())
    return bool(left == right)


def constant(value: Any) -> Evaluator:
    """A literal."""
    return lambda _item, _parameters: value


def parameter(name: str) -> Evaluator:
    """`@name`; CosmosError 400 when the query gives it no value."""

    def evaluate(_item: Any, parameters: Parameters) -> Any:
        try:
            return parameters[name]
        except KeyError:
            raise bad_request(f"The parameter '{name}' is used by the query but has no value.") from None

    return evaluate


def path(steps: tuple[str, ...]) -> Evaluator:
    """A property of the item, at any depth."""

    def evaluate(item: Any, _parameters: Parameters) -> Any:
        for step in steps:
            item = item.get(step, UNDEFINED) if isinstance(item, dict) else UNDEFINED
        return item

    return evaluate


def is_defined(operand: Evaluator) -> Evaluator:
    """IS_DEFINED."""
    return lambda item, parameters: operand(item, parameters) is not UNDEFINED


def negation(operand: Evaluator) -> Evaluator:
    """NOT."""

    def evaluate(item: Any, parameters: Parameters) -> Any:
        value = operand(item, parameters)
        return not value if isinstance(value, bool) else UNDEFINED

    return evaluate


def logical(left: Evaluator, right: Evaluator, *, decisive: bool) -> Evaluator:
    """AND (false decides) or OR (true decides); undefined when neither side decides and one is no boolean."""

    def evaluate(item: Any, parameters: Parameters) -> Any:
        first = left(item, parameters)
        if first is decisive:
            return decisive
        second = right(item, parameters)
        if second is decisive:
            return decisive
        return not decisive if isinstance(first, bool) and isinstance(second, bool) else UNDEFINED

    return evaluate


def comparison(name: str, left: Evaluator, right: Evaluator) -> Evaluator:
    """`=`, `!=`, `<`, `<=`, `>` or `>=`."""

    def evaluate(item: Any, parameters: Parameters) -> Any:
        first, second = left(item, parameters), right(item, parameters)
        if name in ("=", "!="):
            undefined = first is UNDEFINED or second is UNDEFINED
            return UNDEFINED if undefined else equal(first, second) is (name == "=")
        if rank(first) != rank(second) or rank(first) not in (2, 3, 4):
            return UNDEFINED
        return _ORDERED[name](first, second)

    return evaluate
