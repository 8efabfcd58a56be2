"""The stand-in's query language: grammar, evaluation, paging, plans."""

import itertools
import json
from typing import Any

import pytest
from azure.cosmos import PartitionKey
from azure.cosmos.partition_key import _Undefined
from hypothesis import given
from hypothesis import strategies as st

from infra.local.standin.cosmos.errors import CosmosError
from infra.local.standin.cosmos.partitions import PartitionKey as Key
from infra.local.standin.cosmos.partitions import effective_partition_key
from infra.local.standin.cosmos.query import syntax
from infra.local.standin.cosmos.query.execution import check_order, compile_query
from infra.local.standin.cosmos.query.language import parse_query
from infra.local.standin.cosmos.query.planning import make_plan
from infra.local.standin.cosmos.store import Item, to_json

ITEMS: list[dict[str, Any]] = [
    {"id": "1", "n": 1, "s": "apple", "tags": ["a", "b"], "deep": {"x": 1, "order": 7}, "flag": True},
    {"id": "2", "n": 2, "s": "Banana", "tags": [], "deep": {"x": None}, "flag": False},
    {"id": "3", "n": 3.5, "s": None, "tags": [{"k": 1, "l": 2}]},
    {"id": "4", "n": "3", "s": "apricot", "flag": 1},
    {"id": "5"},
]


def stored(bodies: list[dict[str, Any]]) -> list[Item]:
    return [Item(body, to_json(body), Key('"p"', 0), number, None) for number, body in enumerate(bodies, 1)]


def run(text: str, bodies: list[dict[str, Any]] = ITEMS, /, **parameters: Any) -> list[Any]:
    page = compile_query(text).run(stored(bodies), {f"@{name}": value for name, value in parameters.items()}, None, -1)
    assert page.continuation is None
    return [json.loads(result) for result in page.results]


def ids(condition: str, **parameters: Any) -> str:
    return "".join(item["id"] for item in run("SELECT * FROM c WHERE " + condition, **parameters))  # noqa: S608 - no SQL database


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        # learn.microsoft.com/cosmos-db/query/equality-comparison-operators and logical-operators: undefined operands
        # give undefined, order between types is undefined; equality between types as ScalarExpressionEvaluator of
        # azure-cosmos-dotnet-v3 has it.
        ("c.n = 1", "1"),
        ("c.n != 1", "234"),
        ("c.n <> 1", "234"),
        ("c.n > 1", "23"),
        ("c.n >= 2 AND c.n < 3.5", "2"),
        ("c.n <= '3'", "4"),
        ("NOT c.n = 1", "234"),
        ("NOT (c.n > 1)", "1"),
        ("c.s = null", "3"),
        ("c.s != null", "124"),
        ("IS_NULL(c.s)", "3"),
        ("IS_DEFINED(c.s)", "1234"),
        ("NOT IS_DEFINED(c.s)", "5"),
        ("is_defined(c.deep.x)", "12"),
        ("c.deep.x = 1 OR c.n = 2", "12"),
        ('c["deep"]["x"] = 1', "1"),
        ('c.deep["order"] = 7', "1"),
        ("c.tags[0] = 'a'", "1"),
        ("c.flag", "1"),
        ("c.flag = 1", "4"),
        ("c.flag = true", "1"),
        ("c.n IN (1, '3', 99)", "14"),
        ("c.n NOT IN (1, '3')", "23"),
        ("ARRAY_CONTAINS(c.tags, 'b')", "1"),
        ('ARRAY_CONTAINS(c.tags, {"k": 1})', ""),
        ('ARRAY_CONTAINS(c.tags, {"k": 1}, true)', "3"),
        ("ARRAY_CONTAINS([1, 2], c.n)", "12"),
        ("STARTSWITH(c.s, 'ap')", "14"),
        ("STARTSWITH(c.s, 'ba')", ""),
        ("STARTSWITH(c.s, 'ba', true)", "2"),
        ("c.n = 1 AND c.missing = 2 OR c.id = '5'", "5"),
        ("c.missing = c.missing", ""),
        ("true", "12345"),
        ("false", ""),
    ],
)
def test_conditions(condition: str, expected: str) -> None:
    assert ids(condition) == expected


def test_parameters() -> None:
    assert ids("c.n = @n OR c.s IN (@a, @b)", n=2, a="apple", b="x") == "12"
    assert ids("ARRAY_CONTAINS(@ids, c.id)", ids=["2", "4"]) == "24"
    with pytest.raises(CosmosError) as refused:
        ids("c.n = @unknown")
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT VALUE c FROM c WHERE c.id = '5'", [{"id": "5"}]),
        ("SELECT VALUE c.n FROM c", [1, 2, 3.5, "3"]),
        ("SELECT c.id, c.deep.x FROM c WHERE c.n <= 2", [{"id": "1", "x": 1}, {"id": "2", "x": None}]),
        ("SELECT c.id AS a, c.missing b FROM c WHERE c.n = 1", [{"a": "1"}]),
        ("SELECT VALUE {\"a\": [c.n, c.missing]} FROM c WHERE c.id IN ('1', '5')", [{"a": [1]}, {"a": []}]),
        ("SELECT VALUE COUNT(1) FROM c", [5]),
        ("SELECT VALUE COUNT(c.n) FROM c WHERE c.id != '1'", [3]),
        ("SELECT COUNT(1) AS total FROM c", [{"total": 5}]),
        ("SELECT TOP 2 VALUE r.id FROM root r", ["1", "2"]),
        ("SELECT VALUE c.id FROM c OFFSET 1 LIMIT 2", ["2", "3"]),
        ("SELECT VALUE c.id FROM c ORDER BY c.n DESC", ["4", "3", "2", "1", "5"]),
        ("SELECT VALUE c.id FROM c ORDER BY c.n", ["5", "1", "2", "3", "4"]),
        ("SELECT VALUE c.id FROM c ORDER BY c.flag ASC, c.id DESC", ["5", "3", "2", "1", "4"]),
        ("select value c.id from c order by c.id desc offset 1 limit 1", ["4"]),
    ],
)
def test_selections(text: str, expected: list[Any]) -> None:
    # learn.microsoft.com/cosmos-db/query/: select, order-by (undefined < null < boolean < number < string),
    # offset-limit, top, count.
    assert run(text) == expected


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "SC1001"),
        ("SELECT", "SC1001"),
        ("SELECT * FORM c", "SC1001"),
        ("SELECT * FROM c WHERE", "SC1001"),
        ("SELECT * FROM c WHERE c.a == 1", "SC1001"),
        ("SELECT * FROM c WHERE c.order = 1", "SC1001"),
        ("SELECT * FROM c WHERE c.value = 1", "SC1001"),
        ("SELECT * FROM c JOIN t IN c.tags", "SC1001"),
        ("SELECT DISTINCT c.a FROM c", "SC1001"),
        ("SELECT * FROM c GROUP BY c.a", "SC1001"),
        ("SELECT * FROM c; DROP TABLE c", "SC1001"),
        ("SELECT * FROM c WHERE c.a = 'x", "SC1001"),
        ("SELECT d.a FROM c", "SC2001"),
        ("SELECT * FROM c WHERE NEARBY(c.a, 1)", "SC2005"),
        ("SELECT * FROM c WHERE IS_DEFINED(c.a, 1)", "SC2050"),
    ],
)
def test_refuses_what_is_not_in_the_grammar(text: str, code: str) -> None:
    with pytest.raises(CosmosError) as refused:
        compile_query(text)
    assert refused.value.status == 400
    (error,) = json.loads(refused.value.message.removeprefix("Message: "))["errors"]
    assert (error["code"], error["severity"]) == (code, "Error")


def test_a_syntax_error_tells_the_place() -> None:
    with pytest.raises(CosmosError, match="near 'FORM'") as refused:
        parse_query("SELECT * FORM c")
    (error,) = json.loads(refused.value.message.removeprefix("Message: "))["errors"]
    assert error["location"] == {"start": 9, "end": 13}


@pytest.mark.parametrize("text", ["SELECT * FROM c WHERE COUNT(1) > 1", "SELECT VALUE [COUNT(1), c.a] FROM c"])
def test_refuses_aggregates_beside_items(text: str) -> None:
    with pytest.raises(CosmosError) as refused:
        compile_query(text)
    assert refused.value.status == 400


def test_several_order_keys_need_a_composite_index() -> None:
    # learn.microsoft.com/azure/cosmos-db/index-policy, composite indexes.
    policy = {"compositeIndexes": [[{"path": "/a", "order": "ascending"}, {"path": "/b/c", "order": "descending"}]]}
    for text, served in [
        ("SELECT * FROM c ORDER BY c.a", True),
        ("SELECT * FROM c ORDER BY c.a, c.b.c DESC", True),
        ("SELECT * FROM c ORDER BY c.a DESC, c.b.c", True),
        ("SELECT * FROM c ORDER BY c.a, c.b.c", False),
        ("SELECT * FROM c ORDER BY c.b.c DESC, c.a", False),
        ("SELECT * FROM c ORDER BY c.a, c.d", False),
    ]:
        if served:
            check_order(parse_query(text), policy)
        else:
            with pytest.raises(CosmosError, match="composite index"):
                check_order(parse_query(text), policy)


@given(
    values=st.lists(st.one_of(st.integers(0, 3), st.sampled_from(["a", "b"]), st.none(), st.booleans()), max_size=20),
    size=st.integers(1, 5),
    suffix=st.sampled_from(["", "ORDER BY c.v", "ORDER BY c.v DESC", "ORDER BY c.v OFFSET 2 LIMIT 7"]),
)
def test_pages_together_are_the_whole(values: list[Any], size: int, suffix: str) -> None:
    items = stored([{"id": str(index), "v": value} for index, value in enumerate(values)])
    query = compile_query("SELECT VALUE c.id FROM c " + suffix)  # noqa: S608 - no SQL database
    whole = query.run(items, {}, None, -1).results
    pages, token = [], None
    for _ in range(len(values) + 1):
        page = query.run(items, {}, token, size)
        assert len(page.results) <= size
        pages.append(page.results)
        token = page.continuation
        if token is None:
            break
    assert list(itertools.chain.from_iterable(pages)) == whole


def test_a_page_survives_changes_in_between() -> None:
    query = compile_query("SELECT VALUE c.id FROM c ORDER BY c.v DESC")
    bodies = [{"id": str(value), "v": value} for value in range(6)]
    items = stored(bodies)
    first = query.run(items, {}, None, 2)
    assert first.results == [b'"5"', b'"4"']
    del items[4]  # the last item given out
    assert query.run(items, {}, first.continuation, 2).results == [b'"3"', b'"2"']


def test_refuses_a_foreign_continuation_token() -> None:
    items = stored([{"id": str(value), "v": value} for value in range(3)])
    token = compile_query("SELECT * FROM c").run(items, {}, None, 1).continuation
    for text, foreign in [
        ("SELECT * FROM c WHERE c.v = 1", token),
        ("SELECT * FROM c", "abc"),
        ("SELECT * FROM c", ""),
    ]:
        with pytest.raises(CosmosError) as refused:
            compile_query(text).run(items, {}, foreign, 1)
        assert refused.value.status == 400


def test_plan_of_an_ordered_query() -> None:
    # azure-cosmos query_execution_info.py and aio/endpoint_component.py: what the SDK reads of a plan.
    query = parse_query("SELECT c.a, c.b AS z FROM c WHERE c.n > @n ORDER BY c.a DESC OFFSET 5 LIMIT 10")
    plan = make_plan(query, {"@n": 1})
    info = plan["queryInfo"]
    assert (info["offset"], info["limit"], info["top"]) == (5, 10, None)
    assert info["orderBy"] == ["Descending"]
    assert not info["hasSelectValue"]
    text = info["rewrittenQuery"].replace("{documentdb-formattableorderbyquery-filter}", "true")
    bodies = [{"id": str(value), "n": value, "a": value, "b": -value, "_rid": f"r{value}"} for value in range(20)]
    rows = run(text, bodies, n=1)
    assert len(rows) == 15
    assert rows[0] == {"_rid": "r19", "orderByItems": [{"item": 19}], "payload": {"a": 19, "z": -19}}


def test_plan_of_a_count() -> None:
    plan = make_plan(parse_query("SELECT VALUE COUNT(1) FROM c WHERE c.n = 1"), {})
    assert plan["queryInfo"]["aggregates"] == ["Count"]
    assert run(plan["queryInfo"]["rewrittenQuery"]) == [[{"item": 1}]]


names = st.sampled_from(["a", "b_1", "Z"])
steps = st.lists(st.one_of(st.text(max_size=5), st.integers(0, 9)), max_size=3).map(tuple)
constants = st.one_of(
    st.none(), st.booleans(), st.integers(-999, 999), st.text(max_size=8), st.floats(-1e6, 1e6).map(lambda x: x + 0.5)
)
leaves = st.one_of(
    constants.map(syntax.Literal),
    steps.map(lambda taken: syntax.Path("c", taken)),
    names.map(lambda name: syntax.Parameter(f"@{name}")),
)
expressions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(syntax.Not, inner),
        st.builds(syntax.Binary, st.sampled_from(["AND", "OR", "=", "!=", "<", "<=", ">", ">="]), inner, inner),
        st.builds(syntax.In, inner, st.lists(inner, min_size=1, max_size=3).map(tuple), st.booleans()),
        st.builds(syntax.Array, st.lists(inner, max_size=3).map(tuple)),
        st.builds(syntax.Object, st.lists(st.tuples(st.text(max_size=5), inner), max_size=2).map(tuple)),
        st.builds(lambda one: syntax.Call("IS_NULL", (one,)), inner),
    ),
    max_leaves=8,
)


@given(expressions)
def test_parses_what_it_writes(expression: syntax.Expression) -> None:
    text = "SELECT * FROM c WHERE " + syntax.unparse(expression)  # noqa: S608 - no SQL database
    assert parse_query(text).where == expression


@given(st.one_of(st.text(max_size=40), st.booleans(), st.none(), st.floats(allow_nan=False, allow_infinity=False)))
def test_places_partition_keys_as_the_sdk_does(value: Any) -> None:
    # azure-cosmos partition_key.py, hash version 2.
    assert effective_partition_key(value) == PartitionKey("/pk")._get_effective_partition_key_string([value])


def test_places_an_undefined_partition_key_as_the_sdk_does() -> None:
    assert effective_partition_key({}) == PartitionKey("/pk")._get_effective_partition_key_string([_Undefined()])
