"""The grammar: text of a query to a query that can be run, and Azure's refusal of what it does not know.

It is what Bulkhead's stores ask: whole items, a condition, an order by one property; and the text into which a plan
rewrites such a query. Everything else of Azure's language (projections, joins, aggregates, arithmetic, functions) is
refused like a syntax error: status 400, SC1001; an unknown function with SC2005. Keywords cannot be names, as in the
service. Source: learn.microsoft.com/cosmos-db/query/.
"""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lark import Lark, Token, Transformer, UnexpectedInput, v_args
from lark.exceptions import VisitError
from lark.tree import Meta

from infra.local.standin.cosmos.errors import CosmosError, bad_request
from infra.local.standin.cosmos.query import evaluation
from infra.local.standin.cosmos.query.evaluation import Evaluator

_KEYWORDS = (
    "and|array|as|asc|between|by|case|cast|convert|cross|desc|distinct|else|end|escape|exists|false|for|from|group|"
    "having|in|inner|insert|into|is|join|left|like|limit|not|null|offset|on|or|order|outer|over|right|select|set|"
    "then|top|true|udf|undefined|update|value|when|where|with"
)
_MAX_LENGTH = 512 * 1024  # bytes of a query's text; learn.microsoft.com/azure/cosmos-db/concepts-limits

_GRAMMAR = rf"""
query: "select"i selected from_ where? order?
condition: from_ where
selected: "*" -> all
    | NAME "." "_rid" "," "[" "{{" "\"item\"" ":" path "}}" "]" "as"i "orderByItems" "," NAME "as"i "payload" -> merged
from_: "from"i NAME
where: "where"i expression
order: "order"i "by"i key ("," key)*
key: path (ASC | DESC)?

?expression: conjunction
    | expression "or"i conjunction    -> or_
?conjunction: negation
    | conjunction "and"i negation     -> and_
?negation: comparison
    | "not"i negation                 -> not_
?comparison: primary
    | primary COMPARED primary        -> compare
?primary: (INTEGER | DECIMAL | STRING | TRUE | FALSE | NULL) -> literal
    | PARAMETER                       -> parameter
    | NAME "(" expression ")"         -> call
    | path
    | "(" expression ")"
path: NAME step+
step: "." NAME | "[" STRING "]"

TRUE: "true"i
FALSE: "false"i
NULL: "null"i
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
_parser = Lark(
    _GRAMMAR, parser="lalr", start=["query", "condition"], maybe_placeholders=False, propagate_positions=True
)


@dataclass(slots=True, frozen=True)
class OrderKey:
    """The property to sort by, as a function and as it was written."""

    value: Evaluator
    text: str
    descending: bool


@dataclass(slots=True, frozen=True)
class Query:
    """A query. `where_text` is the condition as written; `merged` marks the text that a plan made, for its results."""

    text: str
    alias: str
    where: Evaluator | None
    where_text: str
    order: OrderKey | None
    merged: bool


@lru_cache(maxsize=1024)
def parse_query(text: str) -> Query:
    """The query of a text. Raises CosmosError 400."""
    parts = _parse(text, "query")
    where, where_text = parts.get("where", (None, ""))
    return Query(text, parts["alias"], where, where_text, parts.get("order"), parts["merged"])


@lru_cache(maxsize=256)
def parse_condition(text: str) -> Evaluator:
    """A patch's condition such as `from c where c.a = 1`; it holds when it gives True. Raises CosmosError 400."""
    condition: Evaluator = _parse(text, "condition")["where"][0]
    return condition


def query_error(code: str, message: str, start: int, end: int) -> CosmosError:
    """400 with the service's list of errors inside the message."""
    error = {"severity": "Error", "location": {"start": start, "end": end}, "code": code, "message": message}
    return bad_request(f"Message: {json.dumps({'errors': [error]})}")


def _parse(text: str, start: str) -> dict[str, Any]:
    if len(text.encode()) > _MAX_LENGTH:
        raise query_error("SC3001", "The SQL query text exceeded the maximum limit.", 0, len(text))
    builder = _Builder(text)
    try:
        parts: dict[str, Any] = builder.transform(_parser.parse(text, start=start))
    except UnexpectedInput as unexpected:
        at = unexpected.pos_in_stream or 0
        word = re.match(r"\w+|\S|$", text[at:].lstrip())
        near = word.group() if word else ""
        raise query_error(
            "SC1001", f"Syntax error, incorrect syntax near '{near}'.", at, at + len(near)
        ) from unexpected
    except VisitError as error:
        raise error.orig_exc from error
    for root in builder.roots:
        if root != parts["alias"]:
            raise query_error(
                "SC2001", f"Identifier '{root}' could not be resolved.", root.start_pos or 0, root.end_pos or 0
            )
    return parts


class _Builder(Transformer[Token, Any]):
    """Makes functions of the parse tree; a method for each rule of the grammar."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text
        self.roots: list[Token] = []  # every name that a path starts with

    def query(self, parts: list[dict[str, Any]]) -> dict[str, Any]:
        return {name: value for part in parts for name, value in part.items()}

    condition = query

    def all(self, _: list[Any]) -> dict[str, Any]:
        return {"merged": False}

    def merged(self, parts: list[Any]) -> dict[str, Any]:
        self.roots += [parts[0], parts[2]]
        return {"merged": True}

    def from_(self, parts: list[Token]) -> dict[str, Any]:
        return {"alias": str(parts[0])}

    @v_args(meta=True)
    def where(self, meta: Meta, parts: list[Evaluator]) -> dict[str, Any]:
        text = self._text[meta.start_pos + len("where") : meta.end_pos].strip()
        return {"where": (parts[0], text)}

    def order(self, parts: list[OrderKey]) -> dict[str, Any]:
        if len(parts) > 1:
            # learn.microsoft.com/azure/cosmos-db/index-policy: several keys need a composite index; no container of
            # the package has one.
            raise bad_request(
                "The order by query does not have a corresponding composite index that it can be served from."
            )
        return {"order": parts[0]}

    @v_args(meta=True)
    def key(self, meta: Meta, parts: list[Any]) -> OrderKey:
        end = parts[1].start_pos if len(parts) == 2 else meta.end_pos
        return OrderKey(parts[0], self._text[meta.start_pos : end].strip(), len(parts) == 2 and parts[1].type == "DESC")

    def or_(self, parts: list[Evaluator]) -> Evaluator:
        return evaluation.logical(*parts, decisive=True)

    def and_(self, parts: list[Evaluator]) -> Evaluator:
        return evaluation.logical(*parts, decisive=False)

    def not_(self, parts: list[Evaluator]) -> Evaluator:
        return evaluation.negation(parts[0])

    def compare(self, parts: list[Any]) -> Evaluator:
        return evaluation.comparison("!=" if parts[1] == "<>" else str(parts[1]), parts[0], parts[2])

    def literal(self, parts: list[Token]) -> Evaluator:
        token = parts[0]
        match token.type:
            case "STRING":
                return evaluation.constant(_unquote(token))
            case "INTEGER":
                return evaluation.constant(int(token))
            case "DECIMAL":
                return evaluation.constant(float(token))
            case _:
                return evaluation.constant(json.loads(token.lower()))

    def parameter(self, parts: list[Token]) -> Evaluator:
        return evaluation.parameter(str(parts[0]))

    def call(self, parts: list[Any]) -> Evaluator:
        name = parts[0]
        if name.upper() != "IS_DEFINED":
            start, end = name.start_pos or 0, name.end_pos or 0
            raise query_error("SC2005", f"'{name}' is not a recognized built-in function name.", start, end)
        return evaluation.is_defined(parts[1])

    def path(self, parts: list[Any]) -> Evaluator:
        self.roots.append(parts[0])
        return evaluation.path(tuple(parts[1:]))

    def step(self, parts: list[Token]) -> str:
        return _unquote(parts[0]) if parts[0].type == "STRING" else str(parts[0])


def _unquote(token: str) -> str:
    if token[0] == "'":
        token = '"' + token[1:-1].replace("\\'", "'").replace('"', '\\"') + '"'
    try:
        return str(json.loads(token, strict=False))
    except ValueError:
        raise query_error("SC1010", "Syntax error, invalid string literal.", 0, len(token)) from None
