"""The grammar: text of a query to a query that can be run, and Azure's refusal of what it does not know.

It is what Bulkhead's stores ask: whole items, comparisons joined by AND, an order by one property; and the text into
which a plan rewrites such a query. Everything else of Azure's language (projections, joins, aggregates, OR and NOT,
arithmetic, functions) is refused like a syntax error: status 400, SC1001. Keywords cannot be names, as in the service.
Source: learn.microsoft.com/cosmos-db/query/.
"""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lark import Lark, Token, Transformer, Tree, UnexpectedInput, v_args

from infra.local.standin.cosmos.errors import CosmosError, bad_request
from infra.local.standin.cosmos.partitions import value_at
from infra.local.standin.cosmos.query.evaluation import UNDEFINED, Evaluator, Parameters, comparison

_KEYWORDS = (
    "and|array|as|asc|between|by|case|cast|convert|cross|desc|distinct|else|end|escape|exists|false|for|from|group|"
    "having|in|inner|insert|into|is|join|left|like|limit|not|null|offset|on|or|order|outer|over|right|select|set|"
    "then|top|true|udf|undefined|update|value|when|where|with"
)
_ESCAPED = r"""\\(["'\\\/bfnrt]|u[0-9a-fA-F]{4})"""
_MAX_LENGTH = 512 * 1024  # bytes of a query's text; learn.microsoft.com/azure/cosmos-db/concepts-limits

_GRAMMAR = rf"""
query: "select"i ("*" | merged) from where? order?
patch: from where
merged: alias "." "_rid" "," "[" "{{" "\"item\"" ":" path "}}" "]" "as"i "orderByItems" "," alias "as"i "payload"
from: "from"i NAME
where: "where"i condition
order: "order"i "by"i path ("asc"i | descending)?
descending: "desc"i

?condition: test ("and"i test)*
?test: value COMPARED value           -> compare
    | TRUE                            -> literal
    | "(" condition ")"
?value: (NUMBER | STRING | TRUE | FALSE | NULL) -> literal
    | PARAMETER                       -> parameter
    | path
path: alias ("." NAME)+
alias: NAME

TRUE: "true"i
FALSE: "false"i
NULL: "null"i
COMPARED: "=" | "<=" | ">=" | "<" | ">"
NAME: /(?!(?:{_KEYWORDS})\b)[a-z_][a-z0-9_]*/i
PARAMETER: /@[a-z_][a-z0-9_]*/i
NUMBER: /-?(0|[1-9]\d*)(\.\d+)?(e[+-]?\d+)?/i
STRING: /"({_ESCAPED}|[^"\\])*"|'({_ESCAPED}|[^'\\])*'/
%ignore /\s+/
"""
_parser = Lark(_GRAMMAR, parser="lalr", start=["query", "patch"], maybe_placeholders=False, propagate_positions=True)


@dataclass(slots=True, frozen=True)
class Query:
    """A query. The texts of its condition and its order are as written; `merged` marks the text that a plan made."""

    text: str
    alias: str
    where: Evaluator | None
    where_text: str
    order: Evaluator | None
    order_text: str
    descending: bool
    merged: bool


@lru_cache(maxsize=1024)
def parse_query(text: str) -> Query:
    """The query of a text. Raises CosmosError 400."""
    tree = _parse(text, "query")
    where, order = _part(tree, "where"), _part(tree, "order")
    return Query(
        text,
        alias=_alias(tree),
        where=_functions.transform(where.children[0]) if where else None,
        where_text=text[where.meta.start_pos + len("where") : where.meta.end_pos].strip() if where else "",
        order=_functions.transform(order.children[0]) if order else None,
        order_text=text[order.children[0].meta.start_pos : order.children[0].meta.end_pos] if order else "",
        descending=_part(tree, "descending") is not None,
        merged=_part(tree, "merged") is not None,
    )


@lru_cache(maxsize=256)
def parse_condition(text: str) -> Evaluator:
    """A patch's condition such as `from c where c.a = 1`; it holds when it gives True. Raises CosmosError 400."""
    _, where = _parse(text, "patch").children
    condition: Evaluator = _functions.transform(where.children[0])
    return condition


def _query_error(code: str, message: str, start: int, end: int) -> CosmosError:
    """400 with the service's list of errors inside its message."""
    error = {"severity": "Error", "location": {"start": start, "end": end}, "code": code, "message": message}
    return bad_request(f"Message: {json.dumps({'errors': [error]})}")


def _parse(text: str, start: str) -> Tree[Any]:
    if len(text.encode()) > _MAX_LENGTH:
        raise _query_error("SC3001", "The SQL query text exceeded the maximum limit.", 0, len(text))
    try:
        tree = _parser.parse(text, start=start)
    except UnexpectedInput as unexpected:
        at = unexpected.pos_in_stream or 0
        word = re.match(r"\w+|\S|$", text[at:].lstrip())
        near = word.group() if word else ""
        message = f"Syntax error, incorrect syntax near '{near}'."
        raise _query_error("SC1001", message, at, at + len(near)) from unexpected
    known = _alias(tree)
    for used in tree.find_data("alias"):
        (name,) = used.children
        if name != known:
            message = f"Identifier '{name}' could not be resolved."
            raise _query_error("SC2001", message, used.meta.start_pos, used.meta.end_pos)
    return tree


def _part(tree: Tree[Any], name: str) -> Tree[Any] | None:
    return next(tree.find_data(name), None)


def _alias(tree: Tree[Any]) -> str:
    return str(next(tree.find_data("from")).children[0])


@v_args(inline=True)
class _Functions(Transformer[Token, Evaluator]):
    """Makes functions of the parse tree; a method for each rule of a condition.

    No token gets into a function: as keys of dictionaries tokens are slow.
    """

    def condition(self, *tests: Evaluator) -> Evaluator:
        return lambda item, parameters: all(test(item, parameters) is True for test in tests)

    def compare(self, left: Evaluator, compared: Token, right: Evaluator) -> Evaluator:
        return comparison(str(compared), left, right)

    def literal(self, token: Token) -> Evaluator:
        value = _unquoted(token) if token.type == "STRING" else json.loads(token.lower())
        return lambda _item, _parameters: value

    def parameter(self, token: Token) -> Evaluator:
        name = str(token)

        def evaluate(_: Any, parameters: Parameters) -> Any:
            if name not in parameters:
                raise bad_request(f"The parameter '{name}' is used by the query but has no value.")
            return parameters[name]

        return evaluate

    def path(self, _: Tree[Token], *tokens: Token) -> Evaluator:
        steps = [str(token) for token in tokens]
        return lambda item, _parameters: value_at(item, steps, UNDEFINED)


_functions = _Functions()
_REQUOTED = {"\\'": "'", '"': '\\"'}


def _unquoted(token: str) -> Any:
    """The text of a literal in either quotation marks, made a JSON string first."""
    inner = re.sub(r'\\.|"', lambda found: _REQUOTED.get(found[0], found[0]), token[1:-1])
    return json.loads(f'"{inner}"', strict=False)
