"""The syntax tree of a query, and its text again.

Source: learn.microsoft.com/cosmos-db/query/ (SELECT, FROM, WHERE, ORDER BY, OFFSET LIMIT, constants, parameters).
"""

import json
from dataclasses import dataclass
from typing import Literal as Choice

type Expression = Literal | Parameter | Path | Call | Array | Object | Not | Binary | In
type Operator = Choice["AND", "OR", "=", "!=", "<", "<=", ">", ">="]


@dataclass(slots=True, frozen=True)
class Literal:
    """A constant: string, number, true, false, null."""

    value: str | float | bool | None


@dataclass(slots=True, frozen=True)
class Parameter:
    """`@name`."""

    name: str


@dataclass(slots=True, frozen=True)
class Path:
    """`c.a["b"][0]`; without steps the whole item."""

    root: str
    steps: tuple[str | int, ...] = ()


@dataclass(slots=True, frozen=True)
class Call:
    """A function call; the name is in capitals."""

    name: str
    arguments: tuple[Expression, ...]


@dataclass(slots=True, frozen=True)
class Array:
    """`[a, b]`."""

    values: tuple[Expression, ...]


@dataclass(slots=True, frozen=True)
class Object:
    """`{"a": x}`."""

    members: tuple[tuple[str, Expression], ...]


@dataclass(slots=True, frozen=True)
class Not:
    """`NOT x`."""

    operand: Expression


@dataclass(slots=True, frozen=True)
class Binary:
    """A comparison, or AND, OR."""

    operator: Operator
    left: Expression
    right: Expression


@dataclass(slots=True, frozen=True)
class In:
    """`x IN (a, b)`, or NOT IN."""

    needle: Expression
    choices: tuple[Expression, ...]
    negated: bool = False


@dataclass(slots=True, frozen=True)
class Column:
    """One of several selected values; `name` is its property in the result."""

    value: Expression
    name: str


@dataclass(slots=True, frozen=True)
class OrderKey:
    """One value to sort by."""

    value: Expression
    descending: bool


@dataclass(slots=True, frozen=True)
class Query:
    """A query. `select` is None for `*`, an expression for VALUE, columns otherwise."""

    alias: str
    select: Expression | tuple[Column, ...] | None = None
    where: Expression | None = None
    order: tuple[OrderKey, ...] = ()
    top: Literal | Parameter | None = None
    offset: Literal | Parameter | None = None
    limit: Literal | Parameter | None = None

    @property
    def is_aggregate(self) -> bool:
        """True when the result is one value over all matching items."""
        match self.select:
            case None:
                return False
            case tuple():
                return any(contains_count(column.value) for column in self.select)
            case _:
                return contains_count(self.select)


def contains_count(expression: Expression) -> bool:
    """True when COUNT is called anywhere in it."""
    match expression:
        case Call("COUNT", _):
            return True
        case Call(_, parts) | Array(parts):
            return any(contains_count(part) for part in parts)
        case Object(members):
            return any(contains_count(value) for _, value in members)
        case _:
            return False


def unparse(expression: Expression) -> str:  # noqa: PLR0911 - one case for each kind
    """The expression as text; operands are in parentheses, so that it parses to the same tree."""
    match expression:
        case Literal(value):
            return json.dumps(value, ensure_ascii=False)
        case Parameter(name):
            return name
        case Path(root, steps):
            return root + "".join(f"[{json.dumps(step, ensure_ascii=False)}]" for step in steps)
        case Call(name, arguments):
            return f"{name}({', '.join(map(unparse, arguments))})"
        case Array(values):
            return f"[{', '.join(map(unparse, values))}]"
        case Object(members):
            pairs = (f"{json.dumps(name, ensure_ascii=False)}: {unparse(value)}" for name, value in members)
            return f"{{{', '.join(pairs)}}}"
        case Not(operand):
            return f"(NOT {unparse(operand)})"
        case Binary(operator, left, right):
            return f"({unparse(left)} {operator} {unparse(right)})"
        case In(needle, choices, negated):
            return f"({unparse(needle)} {'NOT ' if negated else ''}IN ({', '.join(map(unparse, choices))}))"
