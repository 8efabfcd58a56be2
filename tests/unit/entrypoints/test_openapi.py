import json
import re
from typing import Any

import pytest

from shared.core.policy import PUBLISHER_ROLES, TENANT_ROLES
from shared.entrypoints import http_candidates, http_public, http_reports, http_tenants
from shared.entrypoints.openapi import document
from shared.entrypoints.serving import OPERATIONS

DOCUMENT: dict[str, Any] = json.loads(json.dumps(document(OPERATIONS)))
DESCRIBED = [(path, method, one) for path, methods in DOCUMENT["paths"].items() for method, one in methods.items()]
BLUEPRINTS = [
    http_candidates.blueprint, http_public.blueprint, http_reports.blueprint, http_tenants.publisher_blueprint,
    http_tenants.tenant_blueprint,
]  # fmt: skip


def walk(node: Any) -> Any:
    if isinstance(node, dict):
        yield node
        for child in node.values():
            yield from walk(child)
    elif isinstance(node, list):
        for child in node:
            yield from walk(child)


def test_the_document_is_of_openapi_three_one() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"
    assert set(DOCUMENT) == {"openapi", "info", "servers", "security", "paths", "components"}
    assert DOCUMENT["info"]["title"] == "Bulkhead"


def test_every_reference_resolves() -> None:
    references = {node["$ref"] for node in walk(DOCUMENT) if "$ref" in node}
    assert references
    for reference in references:
        node: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]
        assert node["type"]


def test_every_schema_is_used() -> None:
    references = {node["$ref"].rpartition("/")[2] for node in walk(DOCUMENT) if "$ref" in node}
    assert set(DOCUMENT["components"]["schemas"]) == references


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [one["operationId"] for _, _, one in DESCRIBED]
    assert len(set(names)) == len(names) == len(OPERATIONS)
    assert all(re.fullmatch(r"[a-z_]+", name) for name in names)


def test_what_is_described_is_what_is_served() -> None:
    served = set()
    for blueprint in BLUEPRINTS:
        for builder in blueprint._function_builders:
            trigger = builder._function.get_trigger()
            served |= {(f"/{trigger.route}", str(method.value).lower()) for method in trigger.methods}
            assert trigger.auth_level.name == "ANONYMOUS"  # our own tokens, no function keys
    described = {(path, method) for path, method, _ in DESCRIBED}
    assert served == described | {(path, "head") for path, method in described if method == "get"}


@pytest.mark.parametrize(("path", "method", "one"), DESCRIBED)
def test_an_operation_is_described_in_full(path: Any, method: Any, one: Any) -> None:
    assert one["summary"].endswith(".") or ";" in one["summary"]
    in_path = {parameter["name"] for parameter in one["parameters"] if parameter["in"] == "path"}
    assert in_path == set(re.findall(r"{(\w+)}", path))
    named = [(parameter["in"], parameter["name"]) for parameter in one["parameters"]]
    assert len(set(named)) == len(named)
    statuses = [status for status in one["responses"] if status != "default"]
    assert statuses
    for status in statuses:
        shows_something = status != "204" and one.get("security") != []
        assert ("content" in one["responses"][status]) == shows_something
    assert "application/problem+json" in one["responses"]["default"]["content"]
    assert ("requestBody" in one) <= (method in ("post", "put", "patch"))
    assert (("header", "If-Match") in named) == (method in ("put", "patch"))
    takes_key = method == "post" and path != "/tenant/lock"  # whose account must not be needed for it
    assert (("header", "Idempotency-Key") in named) == takes_key


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.name)
def test_an_operation_tells_the_headers_of_its_answers(operation: Any) -> None:
    answers = DOCUMENT["paths"][f"/{operation.route}"][operation.method.lower()]["responses"]
    for status in operation.status:
        assert set(answers[str(status)]["headers"]) == {"X-Request-Id", *operation.headers}
    assert set(answers["default"]["headers"]) == {"X-Request-Id", "Retry-After"}


def test_only_health_and_this_document_need_no_token() -> None:
    unprotected = {path for path, _, one in DESCRIBED if one.get("security") == []}
    assert unprotected == {"/health/live", "/health/ready", "/openapi.json"}
    assert DOCUMENT["security"] == [{"bearer": []}]


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if one.audience != "public"], ids=lambda one: one.name)
def test_an_operation_tells_the_roles_that_its_audience_needs(operation: Any) -> None:
    table = TENANT_ROLES if operation.audience == "tenant" else PUBLISHER_ROLES
    roles = table[operation.action]
    described = DOCUMENT["paths"][f"/{operation.route}"][operation.method.lower()]["description"]
    assert described == f"Needs one of the roles {', '.join(sorted(roles))}."


def test_patterns_are_regular_expressions() -> None:
    patterns = [node["pattern"] for node in walk(DOCUMENT["components"]) if isinstance(node.get("pattern"), str)]
    assert patterns
    for pattern in patterns:
        re.compile(pattern)
        assert "(?P" not in pattern  # JSON Schema's are ECMA-262's
        assert r"\A" not in pattern
        assert r"\Z" not in pattern


def test_a_report_shows_its_screenings() -> None:
    report = DOCUMENT["components"]["schemas"]["Report"]
    assert report["properties"]["screenings"]["items"] == {"$ref": "#/components/schemas/Screening"}
    assert "ssn" in DOCUMENT["components"]["schemas"]["CandidateData"]["properties"]
