"""The Functions host's route table. Sources are named beside the expectations."""

import pytest

from infra.local.host.errors import StartError
from infra.local.host.routes import Route, RouteTable


def values(template: str, path: str) -> dict[str, str] | None:
    found = RouteTable([Route(template, frozenset(), "it")]).find("GET", path)
    return None if found is None else found[1]


@pytest.mark.parametrize(
    ("template", "path", "expected"),
    [
        # "Routing in ASP.NET Core: route templates": literals regardless of case, a trailing slash is no matter
        ("api/Items", "/API/items", {}),
        ("api/items", "/api/items/", {}),
        ("api/items", "/api/items/1", None),
        ("api/items/{id}", "/api/items", None),
        ("api/items/{id}", "/api/items/7", {"id": "7"}),
        ("api/items/{id?}", "/api/items", {}),
        ("api/items/{id=5}", "/api/items", {"id": "5"}),
        ("api/{*rest}", "/api/a/b", {"rest": "a/b"}),
        ("api/{*rest}", "/api", {}),
        ("api/{**rest}", "/api/a", {"rest": "a"}),
        ("api/v{version}.json", "/api/v2.json", {"version": "2"}),
        ("api/v{version}.json", "/api/v.json", None),
        # the path is decoded before routing, except for an encoded slash
        ("api/{name}", "/api/Bob%20X", {"name": "Bob X"}),
        ("api/{name}", "/api/a%2Fb", {"name": "a%2Fb"}),
        # From "Routing in ASP.NET Core: route constraints"
        ("{id:int}", "/12", {"id": "12"}),
        ("{id:int}", "/2147483648", None),
        ("{id:long}", "/2147483648", {"id": "2147483648"}),
        ("{id:int:min(5)}", "/4", None),
        ("{id:range(1,3)}", "/3", {"id": "3"}),
        ("{id:length(2)}", "/abc", None),
        ("{id:length(2,3)}", "/abc", {"id": "abc"}),
        ("{id:minlength(2)}", "/a", None),
        ("{id:maxlength(2)}", "/abc", None),
        ("{id:alpha}", "/a1", None),
        ("{id:bool}", "/TRUE", {"id": "TRUE"}),
        ("{id:guid}", "/CD2C1638-1638-72D5-1638-DEADBEEF1638", {"id": "CD2C1638-1638-72D5-1638-DEADBEEF1638"}),
        ("{id:guid}", "/1", None),
        ("{id:datetime}", "/2026-11-24", {"id": "2026-11-24"}),
        ("{id:double}", "/1.5", {"id": "1.5"}),
        (r"{id:regex(^cand_\w{{3}}$)}", "/cand_abc", {"id": "cand_abc"}),
        (r"{id:regex(^cand_\w{{3}}$)}", "/cand_ab", None),
        ("{id:int?}", "/", {}),
        ("api/{a?}/{b=2}", "/api/1", {"a": "1", "b": "2"}),
        # TemplateMatcher.cs: a segment may be absent only with all that follow it
        ("api/{a?}/b", "/api/b", None),
        ("api/{a?}/b", "/api", None),
    ],
)
def test_a_template_matches_as_asp_net_core_does(template: str, path: str, expected: dict[str, str] | None) -> None:
    assert values(template, path) == expected


def test_the_first_route_wins_not_the_more_specific() -> None:
    # Azure/azure-functions-host#9876: routes are tried in order, literals have no precedence
    table = RouteTable([Route("items/{id}", frozenset(), "by id"), Route("items/recent", frozenset(), "recent")])
    assert table.find("GET", "/items/recent") == ("by id", {"id": "recent"})


def test_a_route_that_can_never_be_reached_is_reported() -> None:
    by_id, recent = (
        Route("items/{id}", frozenset({"GET"}), "by id"),
        Route("items/recent", frozenset({"GET"}), "recent"),
    )
    post = Route("items/recent", frozenset({"POST"}), "post")
    assert list(RouteTable([by_id, recent, post]).hidden_routes()) == [(recent, by_id)]
    assert list(RouteTable([recent, by_id]).hidden_routes()) == []
    numbers = Route("items/{id:int}", frozenset({"GET"}), "numbers")
    assert list(RouteTable([numbers, recent]).hidden_routes()) == []


def test_the_method_chooses_among_routes_of_one_path() -> None:
    table = RouteTable([Route("items", frozenset({"GET"}), "list"), Route("items", frozenset({"POST"}), "add")])
    assert table.find("POST", "/items") == ("add", {})
    # Azure/azure-functions-host#10098: no method of the path's routes fits: as if there were no route
    assert table.find("DELETE", "/items") is None


@pytest.mark.parametrize(
    "template",
    [
        "{id:nonsense}", "{id:min}", "{id:min(x)}", "{id:alpha(1)}", "{id:regex([)}", "a/{", "{*rest}/b", "{}",
        "{a}{b}",
    ],
)  # fmt: skip
def test_a_template_that_is_no_route_ends_the_start(template: str) -> None:
    with pytest.raises(StartError):
        Route(template, frozenset(), "it")
