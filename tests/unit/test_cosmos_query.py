"""The stand-in's query language: grammar, evaluation, paging, plans."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.standin.cosmos.errors import CosmosError
from infra.local.standin.cosmos.partitions import PartitionKey as Key
from infra.local.standin.cosmos.query.execution import run
from infra.local.standin.cosmos.query.language import parse_condition, parse_query
from infra.local.standin.cosmos.query.planning import make_plan
from infra.local.standin.cosmos.store import Item, to_json

ITEMS: list[dict[str, Any]] = [
    {"id": "1", "n": 1, "s": "apple", "deep": {"x": 1}, "flag": True},
    {"id": "2", "n": 2, "s": "Banana", "deep": {"x": None}, "flag": False},
    {"id": "3", "n": 3.5, "s": None, "list": [1]},
    {"id": "4", "n": "3", "s": "apricot", "flag": 1},
    {"id": "5"},
]


def stored(bodies: list[dict[str, Any]]) -> list[Item]:
    return [Item(body, to_json(body), Key('"p"', 0), number, None) for number, body in enumerate(bodies, 1)]


def results(text: str, bodies: list[dict[str, Any]] = ITEMS, /, **parameters: Any) -> list[Any]:
    page = run(parse_query(text), stored(bodies), {f"@{name}": value for name, value in parameters.items()}, None, -1)
    assert page.continuation is None
    return [json.loads(result) for result in page.results]


def ids(rest: str, **parameters: Any) -> str:
    return "".join(item["id"] for item in results("SELECT * FROM c " + rest, **parameters))  # noqa: S608 - no SQL database


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        # learn.microsoft.com/cosmos-db/query/equality-comparison-operators: undefined operands give undefined, order
        # between types is undefined; equality between types as ScalarExpressionEvaluator of azure-cosmos-dotnet-v3
        # has it.
        ("c.n = 1", "1"),
        ("c.n > 1", "23"),
        ("c.n >= 2 AND c.n < 3.5", "2"),
        ("c.n <= '3'", "4"),
        ("c.s = null", "3"),
        ("c.s > null", ""),
        ("c.deep.x = 1", "1"),
        ("c.deep.x = 1 and c.s = 'apricot'", ""),
        ("(c.s = 'apple' AND (c.n = 1 AND c.flag = true)) AND true", "1"),
        ("c.flag = 1", "4"),
        ("c.flag = true", "1"),
        ("c.flag < true", "2"),
        ("c.n = 35e-1", "3"),
        ("1 = c.n", "1"),
        ("c.missing = c.missing", ""),
        ("c.n = c.missing", ""),
        ("TRUE", "12345"),
    ],
)
def test_conditions(condition: str, expected: str) -> None:
    assert ids("WHERE " + condition) == expected


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        (r"'it\'s \"one\"'", 'it\'s "one"'),
        ("'\"'", '"'),
        (r'''"it\'s \"one\""''', 'it\'s "one"'),
        (r"'\\\u00e9\n'", "\\é\n"),
        ("-0.5", -0.5),
        ("1E2", 100),
    ],
)
def test_literals(literal: str, value: Any) -> None:
    assert results(f"SELECT * FROM c WHERE c.v = {literal}", [{"id": "1", "v": value}])  # noqa: S608 - no SQL database


def test_parameters() -> None:
    assert ids("WHERE c.n = @n AND c.list = @list", n=3.5, list=[1]) == "3"
    with pytest.raises(CosmosError) as refused:
        ids("WHERE c.n = @unknown")
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        # learn.microsoft.com/cosmos-db/query/order-by: undefined < null < boolean < number < string.
        ("ORDER BY c.n DESC", "43215"),
        ("ORDER BY c.n", "51234"),
        ("order by c.flag asc", "35214"),
        ("WHERE c.n > 1 ORDER BY c.deep.x", "32"),
    ],
)
def test_orders(rest: str, expected: str) -> None:
    assert ids(rest) == expected


def test_the_condition_of_a_patch() -> None:
    # learn.microsoft.com/azure/cosmos-db/partial-document-update: FROM and WHERE of a query.
    holds = parse_condition("from c where c.n = 1 and c.deep.x >= 1")
    assert [holds(item, {}) is True for item in ITEMS] == [True, False, False, False, False]


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
        ("SELECT * FROM c WHERE c.a = 007", "SC1001"),
        (r"SELECT * FROM c WHERE c.a = '\x'", "SC1001"),
        ("SELECT * FROM c WHERE false", "SC1001"),
        ("SELECT * FROM c JOIN t IN c.tags", "SC1001"),
        ("SELECT VALUE c.a FROM c", "SC1001"),
        ('SELECT c._rid, [{"other": c.id}] AS orderByItems, c AS payload FROM c', "SC1001"),
        ("SELECT * FROM c GROUP BY c.a", "SC1001"),
        ("SELECT * FROM c ORDER BY c", "SC1001"),
        ("SELECT * FROM c; DROP TABLE c", "SC1001"),
        ("SELECT * FROM c WHERE c.a = 'x", "SC1001"),
        ("SELECT * FROM c WHERE d.a = 1", "SC2001"),
        ('SELECT c._rid, [{"item": d.id}] AS orderByItems, c AS payload FROM c ORDER BY c.id', "SC2001"),
    ],
)
def test_refuses_what_is_not_in_the_grammar(text: str, code: str) -> None:
    with pytest.raises(CosmosError) as refused:
        parse_query(text)
    assert refused.value.status == 400
    (error,) = json.loads(refused.value.message.removeprefix("Message: "))["errors"]
    assert (error["code"], error["severity"]) == (code, "Error")


def test_a_syntax_error_tells_the_place() -> None:
    with pytest.raises(CosmosError, match="near 'FORM'") as refused:
        parse_query("SELECT * FORM c")
    (error,) = json.loads(refused.value.message.removeprefix("Message: "))["errors"]
    assert error["location"] == {"start": 9, "end": 13}


@given(
    values=st.lists(st.one_of(st.integers(0, 3), st.sampled_from(["a", "b"]), st.none(), st.booleans()), max_size=20),
    size=st.integers(1, 5),
    suffix=st.sampled_from(["", "ORDER BY c.v", "ORDER BY c.v DESC"]),
)
def test_pages_together_are_the_whole(values: list[Any], size: int, suffix: str) -> None:
    items = stored([{"id": str(index), "v": value} for index, value in enumerate(values)])
    query = parse_query("SELECT * FROM c " + suffix)  # noqa: S608 - no SQL database
    whole = run(query, items, {}, None, -1).results
    pages, token = [], None
    for _ in range(len(values) + 1):
        page = run(query, items, {}, token, size)
        assert len(page.results) <= size
        pages.append(page.results)
        token = page.continuation
        if token is None:
            break
    assert list(itertools.chain.from_iterable(pages)) == whole


def test_a_page_without_an_order_ends_where_a_physical_partition_does() -> None:
    items = [Item({"id": f"{n}"}, f"{n}".encode(), Key(f"{n}", n % 2), n, None) for n in range(5)]
    pages, token = [], None
    while not pages or token is not None:
        page = run(parse_query("SELECT * FROM c"), items, {}, token, 2)
        pages.append([int(text) for text in page.results])
        token = page.continuation
    assert pages == [[0, 2], [4], [1, 3]]


def test_a_page_survives_changes_in_between() -> None:
    query = parse_query("SELECT * FROM c ORDER BY c.v DESC")
    items = stored([{"id": str(value), "v": value} for value in range(6)])
    first = run(query, items, {}, None, 2)
    assert [json.loads(result)["v"] for result in first.results] == [5, 4]
    del items[4]  # the last item given out
    second = run(query, items, {}, first.continuation, 2)
    assert [json.loads(result)["v"] for result in second.results] == [3, 2]


def test_refuses_a_foreign_continuation_token() -> None:
    items = stored([{"id": str(value), "v": value} for value in range(3)])
    token = run(parse_query("SELECT * FROM c"), items, {}, None, 1).continuation
    for text, foreign in [
        ("SELECT * FROM c WHERE c.v = 1", token),
        ("SELECT * FROM c", "abc"),
        ("SELECT * FROM c", ""),
    ]:
        with pytest.raises(CosmosError) as refused:
            run(parse_query(text), items, {}, foreign, 1)
        assert refused.value.status == 400


@pytest.mark.parametrize("where", ["", "WHERE (c.n > @n) "])
def test_plan_of_an_ordered_query(where: str) -> None:
    # azure-cosmos query_execution_info.py and aio/endpoint_component.py: what the SDK reads of a plan.
    plan = make_plan(parse_query(f"SELECT * FROM c {where}ORDER BY c.a.b DESC"))  # noqa: S608 - no SQL database
    info = plan["queryInfo"]
    assert info["orderBy"] == ["Descending"]
    assert not info["hasSelectValue"]
    text = info["rewrittenQuery"].replace("{documentdb-formattableorderbyquery-filter}", "true")
    bodies = [{"id": f"{value}", "n": value, "a": {"b": -value}, "_rid": f"r{value}"} for value in range(4)]
    rows = results(text, bodies, n=1)
    assert [row["payload"] for row in rows] == (bodies[2:] if where else bodies)
    assert rows[-1] == {"_rid": "r3", "orderByItems": [{"item": -3}], "payload": bodies[3]}
    (undefined,) = results(text, [{"id": "1", "n": 5, "_rid": "r"}], n=1)
    assert undefined["orderByItems"] == [{}]
