"""The grammar: text of a query to its syntax tree, and Azure's refusal of what it does not know.

What is outside the grammar (joins, subqueries, DISTINCT, GROUP BY, arithmetic, other functions) is refused like a
syntax error: status 400, SC1001; an unknown function with SC2005. Keywords cannot be names, as in the service.
"""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lark import Lark, Token, Transformer, UnexpectedInput, v_args
from lark.exceptions import VisitError

from infra.local.standin.cosmos.errors import CosmosError, bad_request
from infra.local.standin.cosmos.query import syntax
from infra.local.standin.cosmos.query.evaluation import FUNCTIONS, Predicate, compile_predicate

_KEYWORDS = (
    "and|array|as|asc|between|by|case|cast|convert|cross|desc|distinct|else|end|escape|exists|false|for|from|group|"
    "having|in|inner|insert|into|is|join|left|like|limit|not|null|offset|on|or|order|outer|over|right|select|set|"
    "then|top|true|udf|undefined|update|value|when|where|with"
)
_MAX_LENGTH = 512 * 1024  # bytes of a query's text; learn.microsoft.com/azure/cosmos-db/concepts-limits

_GRAMMAR = rf"""
query: "select"i top? projection from_ where? order? page?
condition: from_ where
top: "top"i number
projection: "*"                   -> star
    | "value"i expression         -> one
    | column ("," column)*        -> several
column: expression ("as"i? NAME)?
from_: "from"i NAME ("as"i? NAME)?
where: "where"i expression
order: "order"i "by"i key ("," key)*
key: expression (ASC | DESC)?
page: "offset"i number "limit"i number
number: INTEGER -> literal
    | PARAMETER -> parameter

?expression: conjunction
    | expression "or"i conjunction    -> or_
?conjunction: negation
    | conjunction "and"i negation     -> and_
?negation: comparison
    | "not"i negation                 -> not_
?comparison: primary
    | primary COMPARED primary        -> compare
    | primary "in"i "(" values ")"      -> in_
    | primary "not"i "in"i "(" values ")" -> not_in
?primary: INTEGER   -> literal
    | DECIMAL       -> literal
    | STRING        -> literal
    | "true"i       -> true
    | "false"i      -> false
    | "null"i       -> null
    | PARAMETER     -> parameter
    | path
    | NAME "(" values? ")"  -> call
    | "[" values? "]"       -> array
    | "{{" (member ("," member)*)? "}}" -> record
    | "(" expression ")"
member: STRING ":" expression
values: expression ("," expression)*
path: NAME step*
step: "." NAME | "[" (STRING | INTEGER) "]"

ASC: "asc"i
DESC: "desc"i
COMPARED: "=" | "!=" | "<>" | "<=" | ">=" | "<" | ">"
NAME: /(?!(?:{_KEYWORDS})\b)[a-z_][a-z0-9_]*/i
PARAMETER: /@[a-z_][a-z0-9_]*/i
DECIMAL.2: /-?(\d+\.\d*|\.\d+|\d+(?=e))(e[+-]?\d+)?/i
INTEGER: /-?\d+/
STRING: /"(\\.|[^"\\])*"|'(\\.|[^'\\])*'/
%ignore /\s+/
"""
_parser = Lark(_GRAMMAR, parser="lalr", start=["query", "condition"], maybe_placeholders=False)


@dataclass(slots=True, frozen=True)
class Condition:
    """The condition of a patch."""

    predicate: Predicate

    def holds(self, body: dict[str, Any]) -> bool:
        """True when the item meets it."""
        return self.predicate(body, {}) is True


@lru_cache(maxsize=1024)
def parse_query(text: str) -> syntax.Query:
    """The tree of a query. Raises CosmosError 400."""
    tree = _parse(text, "query")
    assert isinstance(tree, syntax.Query)  # noqa: S101 - what the start rule makes
    _check_names(tree)
    return tree


@lru_cache(maxsize=256)
def parse_condition(text: str) -> Condition:
    """A condition such as `from c where c.a = 1`. Raises CosmosError 400."""
    query = _parse(text, "condition")
    assert isinstance(query, syntax.Query)  # noqa: S101 - what the start rule makes
    _check_names(query)
    assert query.where is not None  # noqa: S101 - the grammar demands it
    return Condition(compile_predicate(query.where))


def query_error(code: str, message: str, start: int, end: int) -> CosmosError:
    """400 with the service's list of errors inside the message."""
    error = {"severity": "Error", "location": {"start": start, "end": end}, "code": code, "message": message}
    return bad_request(f"Message: {json.dumps({'errors': [error]})}")


def _parse(text: str, start: str) -> Any:
    if len(text.encode()) > _MAX_LENGTH:
        raise query_error("SC3001", "The SQL query text exceeded the maximum limit.", 0, len(text))
    try:
        return _Builder().transform(_parser.parse(text, start=start))
    except UnexpectedInput as unexpected:
        at = unexpected.pos_in_stream or 0
        word = re.match(r"\w+|\S|$", text[at:].lstrip())
        near = word.group() if word else ""
        raise query_error(
            "SC1001", f"Syntax error, incorrect syntax near '{near}'.", at, at + len(near)
        ) from unexpected
    except VisitError as error:
        raise error.orig_exc from error


class _Builder(Transformer[Token, Any]):
    """Makes the syntax tree of the parse tree; a method for each rule of the grammar."""

    def query(self, parts: list[Any]) -> syntax.Query:
        fields: dict[str, Any] = {}
        for part in parts:
            fields.update(part)
        return syntax.Query(**fields)

    condition = query

    def top(self, parts: list[Any]) -> dict[str, Any]:
        return {"top": parts[0]}

    def star(self, _: list[Any]) -> dict[str, Any]:
        return {"select": None}

    def one(self, parts: list[Any]) -> dict[str, Any]:
        return {"select": parts[0]}

    def several(self, parts: list[Any]) -> dict[str, Any]:
        unnamed = iter(range(1, len(parts) + 1))
        return {
            "select": tuple(syntax.Column(value, name or f"${next(unnamed)}") for value, name in parts),
        }

    def column(self, parts: list[Any]) -> tuple[syntax.Expression, str | None]:
        if len(parts) == 2:
            return parts[0], str(parts[1])
        last = parts[0].steps[-1:] or (parts[0].root,) if isinstance(parts[0], syntax.Path) else (None,)
        return parts[0], last[0] if isinstance(last[0], str) else None

    def from_(self, parts: list[Any]) -> dict[str, Any]:
        return {"alias": str(parts[-1])}

    def where(self, parts: list[Any]) -> dict[str, Any]:
        return {"where": parts[0]}

    def order(self, parts: list[Any]) -> dict[str, Any]:
        return {"order": tuple(parts)}

    def key(self, parts: list[Any]) -> syntax.OrderKey:
        return syntax.OrderKey(parts[0], len(parts) == 2 and parts[1].type == "DESC")

    def page(self, parts: list[Any]) -> dict[str, Any]:
        return {"offset": parts[0], "limit": parts[1]}

    def or_(self, parts: list[Any]) -> syntax.Expression:
        return syntax.Binary("OR", *parts)

    def and_(self, parts: list[Any]) -> syntax.Expression:
        return syntax.Binary("AND", *parts)

    def not_(self, parts: list[Any]) -> syntax.Expression:
        return syntax.Not(parts[0])

    def compare(self, parts: list[Any]) -> syntax.Expression:
        operator = "!=" if parts[1] == "<>" else str(parts[1])
        return syntax.Binary(operator, parts[0], parts[2])  # type: ignore[arg-type] # the grammar's own operators

    def in_(self, parts: list[Any]) -> syntax.Expression:
        return syntax.In(parts[0], parts[1])

    def not_in(self, parts: list[Any]) -> syntax.Expression:
        return syntax.In(parts[0], parts[1], negated=True)

    def literal(self, parts: list[Token]) -> syntax.Expression:
        token = parts[0]
        match token.type:
            case "STRING":
                return syntax.Literal(_unquote(token))
            case "INTEGER":
                return syntax.Literal(int(token))
            case _:
                return syntax.Literal(float(token))

    def true(self, _: list[Any]) -> syntax.Expression:
        return syntax.Literal(value=True)

    def false(self, _: list[Any]) -> syntax.Expression:
        return syntax.Literal(value=False)

    def null(self, _: list[Any]) -> syntax.Expression:
        return syntax.Literal(None)

    def parameter(self, parts: list[Token]) -> syntax.Expression:
        return syntax.Parameter(str(parts[0]))

    def call(self, parts: list[Any]) -> syntax.Expression:
        name = parts[0]
        arguments = parts[1] if len(parts) == 2 else ()
        counts = FUNCTIONS.get(name.upper())
        start, end = name.start_pos or 0, name.end_pos or 0
        if counts is None:
            raise query_error("SC2005", f"'{name}' is not a recognized built-in function name.", start, end)
        if len(arguments) not in counts:
            raise query_error("SC2050", f"The {name.upper()} function requires {counts[0]} argument(s).", start, end)
        return syntax.Call(name.upper(), arguments)

    def array(self, parts: list[Any]) -> syntax.Expression:
        return syntax.Array(parts[0] if parts else ())

    def record(self, parts: list[Any]) -> syntax.Expression:
        return syntax.Object(tuple(parts))

    def member(self, parts: list[Any]) -> tuple[str, syntax.Expression]:
        return _unquote(parts[0]), parts[1]

    def values(self, parts: list[Any]) -> tuple[syntax.Expression, ...]:
        return tuple(parts)

    def path(self, parts: list[Any]) -> syntax.Expression:
        return syntax.Path(str(parts[0]), tuple(parts[1:]))

    @v_args(inline=True)
    def step(self, token: Token) -> str | int:
        match token.type:
            case "STRING":
                return _unquote(token)
            case "INTEGER":
                return int(token)
            case _:
                return str(token)


def _unquote(token: str) -> str:
    if token[0] == "'":
        token = '"' + token[1:-1].replace("\\'", "'").replace('"', '\\"') + '"'
    try:
        return str(json.loads(token, strict=False))
    except ValueError:
        raise query_error("SC1010", "Syntax error, invalid string literal.", 0, len(token)) from None


def _check_names(query: syntax.Query) -> None:
    for root in _roots(query):
        if root != query.alias:
            raise query_error("SC2001", f"Identifier '{root}' could not be resolved.", 0, 0)


def _roots(node: Any) -> Any:
    """Every name that a path starts with, anywhere below `node`."""
    if isinstance(node, syntax.Path):
        yield node.root
    elif isinstance(node, tuple):
        for part in node:
            yield from _roots(part)
    elif hasattr(node, "__slots__"):
        for name in node.__slots__:
            yield from _roots(getattr(node, name))
