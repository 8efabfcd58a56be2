"""Evaluating expressions on items, with the language's undefined value and its rules for types.

Source: learn.microsoft.com/cosmos-db/query/ (equality and comparison, logical operators, system functions) and
ScalarExpressionEvaluator in azure-cosmos-dotnet-v3's tests: equality compares values of any types and is undefined
only when an operand is; order is undefined between different types; AND, OR and NOT are three-valued.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from infra.local.standin.cosmos.errors import bad_request
from infra.local.standin.cosmos.query import syntax

type Parameters = Mapping[str, Any]
type Evaluator = Callable[[Any, Parameters], Any]
type Predicate = Callable[[Any, Parameters], Any]


class _Undefined:
    __slots__ = ()

    def __repr__(self) -> str:
        return "undefined"


UNDEFINED: Final = _Undefined()

# Names of functions, and how many arguments each takes.
FUNCTIONS: Final[Mapping[str, tuple[int, ...]]] = {
    "COUNT": (1,),
    "IS_DEFINED": (1,),
    "IS_NULL": (1,),
    "ARRAY_CONTAINS": (2, 3),
    "STARTSWITH": (2, 3),
}
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


def compile_predicate(expression: syntax.Expression) -> Predicate:
    """A function of item and parameters; an item is selected when it gives exactly True."""
    return compile_expression(expression)


def compile_expression(expression: syntax.Expression) -> Evaluator:  # noqa: C901, PLR0911 - one case for each kind
    """A function of item and parameters that gives the expression's value, UNDEFINED included."""
    match expression:
        case syntax.Literal(value):
            return lambda _item, _parameters: value
        case syntax.Parameter(name):
            return lambda _item, parameters: _parameter(parameters, name)
        case syntax.Path(_, steps):
            return _path(steps)
        case syntax.Array(values):
            parts = [compile_expression(value) for value in values]
            return lambda item, parameters: _defined(part(item, parameters) for part in parts)
        case syntax.Object(members):
            return _object([(name, compile_expression(value)) for name, value in members])
        case syntax.Not(operand):
            return _not(compile_expression(operand))
        case syntax.Binary("AND", left, right):
            return _logical(compile_expression(left), compile_expression(right), decisive=False)
        case syntax.Binary("OR", left, right):
            return _logical(compile_expression(left), compile_expression(right), decisive=True)
        case syntax.Binary(name, left, right):
            return _comparison(name, compile_expression(left), compile_expression(right))
        case syntax.In(needle, choices, negated):
            return _in(compile_expression(needle), [compile_expression(choice) for choice in choices], negated=negated)
        case syntax.Call("COUNT", _):
            raise bad_request("Aggregate functions can be used in the SELECT clause only.")
        case syntax.Call(name, arguments):
            return _call(name, [compile_expression(argument) for argument in arguments])


def compile_aggregate(expression: syntax.Expression) -> Callable[[Sequence[Any], Parameters], Any]:
    """A function of all matching items that gives an expression's value, with COUNT in it."""
    match expression:
        case syntax.Call("COUNT", (argument,)):
            counted = compile_expression(argument)
            return lambda items, parameters: sum(counted(item, parameters) is not UNDEFINED for item in items)
        case syntax.Array(values):
            parts = [compile_aggregate(value) for value in values]
            return lambda items, parameters: _defined(part(items, parameters) for part in parts)
        case syntax.Object(members):
            compiled = [(name, compile_aggregate(value)) for name, value in members]
            return lambda items, parameters: {name: part(items, parameters) for name, part in compiled}
        case syntax.Literal(value):
            return lambda _items, _parameters: value
        case _:
            raise bad_request("Beside an aggregate function only constants can be selected.")


def _parameter(parameters: Parameters, name: str) -> Any:
    try:
        return parameters[name]
    except KeyError:
        raise bad_request(f"The parameter '{name}' is used by the query but has no value.") from None


def _path(steps: tuple[str | int, ...]) -> Evaluator:
    if len(steps) == 1 and isinstance(steps[0], str):
        only = steps[0]
        return lambda item, _parameters: item.get(only, UNDEFINED)

    def evaluate(item: Any, _parameters: Parameters) -> Any:
        for step in steps:
            if isinstance(step, str):
                item = item.get(step, UNDEFINED) if isinstance(item, dict) else UNDEFINED
            else:
                item = item[step] if isinstance(item, list) and 0 <= step < len(item) else UNDEFINED
        return item

    return evaluate


def _defined(values: Any) -> list[Any]:
    return [value for value in values if value is not UNDEFINED]


def _object(members: list[tuple[str, Evaluator]]) -> Evaluator:
    def evaluate(item: Any, parameters: Parameters) -> Any:
        pairs = ((name, part(item, parameters)) for name, part in members)
        return {name: value for name, value in pairs if value is not UNDEFINED}

    return evaluate


def _not(operand: Evaluator) -> Evaluator:
    def evaluate(item: Any, parameters: Parameters) -> Any:
        value = operand(item, parameters)
        return not value if isinstance(value, bool) else UNDEFINED

    return evaluate


def _logical(left: Evaluator, right: Evaluator, *, decisive: bool) -> Evaluator:
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


def _comparison(name: str, left: Evaluator, right: Evaluator) -> Evaluator:
    if name in ("=", "!="):
        wanted = name == "="

        def compare_equality(item: Any, parameters: Parameters) -> Any:
            first, second = left(item, parameters), right(item, parameters)
            if first is UNDEFINED or second is UNDEFINED:
                return UNDEFINED
            return equal(first, second) is wanted

        return compare_equality
    compare = _ORDERED[name]

    def compare_order(item: Any, parameters: Parameters) -> Any:
        first, second = left(item, parameters), right(item, parameters)
        if rank(first) != rank(second) or rank(first) not in (2, 3, 4):
            return UNDEFINED
        return compare(first, second)

    return compare_order


def _in(needle: Evaluator, choices: list[Evaluator], *, negated: bool) -> Evaluator:
    def evaluate(item: Any, parameters: Parameters) -> Any:
        value = needle(item, parameters)
        if value is UNDEFINED:
            return UNDEFINED
        return any(equal(value, choice(item, parameters)) for choice in choices) is not negated

    return evaluate


def _call(name: str, arguments: list[Evaluator]) -> Evaluator:
    function = _SYSTEM_FUNCTIONS[name]
    return lambda item, parameters: function(*(argument(item, parameters) for argument in arguments))


def _is_defined(value: Any) -> Any:
    return value is not UNDEFINED


def _is_null(value: Any) -> Any:
    return value is None


def _array_contains(array: Any, value: Any, partial: Any = False) -> Any:  # noqa: FBT002 - the language's own form
    if not isinstance(array, list) or value is UNDEFINED:
        return UNDEFINED
    if partial is True and isinstance(value, dict):
        return any(
            isinstance(entry, dict) and all(name in entry and equal(entry[name], part) for name, part in value.items())
            for entry in array
        )
    return any(equal(entry, value) for entry in array)


def _starts_with(text: Any, prefix: Any, ignore_case: Any = False) -> Any:  # noqa: FBT002 - the language's own form
    if not isinstance(text, str) or not isinstance(prefix, str):
        return UNDEFINED
    if ignore_case is True:
        return text.lower().startswith(prefix.lower())
    return text.startswith(prefix)


_SYSTEM_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "IS_DEFINED": _is_defined,
    "IS_NULL": _is_null,
    "ARRAY_CONTAINS": _array_contains,
    "STARTSWITH": _starts_with,
}
