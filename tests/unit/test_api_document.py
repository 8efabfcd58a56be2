"""docs/api.md tells what is served: every route, field, error code and reason, and none that there is not."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from shared.access.failures import REACTIONS
from shared.core.errors import Kind
from shared.core.policy import PUBLISHER_ROLES, TENANT_ROLES
from shared.entrypoints import http_candidates, http_public, http_reports, http_tenants
from shared.entrypoints.openapi import document
from shared.entrypoints.problems import STATUS
from shared.entrypoints.serving import OPERATIONS
from shared.screening.models import ScreeningJob
from shared.tenants.signed_requests import _Claims

PROJECT = Path(__file__).parents[2]
TEXT = (PROJECT / "docs" / "api.md").read_text()
SERVED = (http_candidates, http_public, http_reports, http_tenants)  # loaded: their operations are in OPERATIONS
SCHEMAS: dict[str, Any] = json.loads(json.dumps(document(OPERATIONS)))["components"]["schemas"]
SOURCE = "\n".join(path.read_text() for path in sorted((PROJECT / "shared").rglob("*.py")))


def section(title: str) -> str:
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """The cells of every table's rows, without headings."""
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line] for line in lines]


def words(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_routes_their_roles_and_their_answers() -> None:
    told = {
        words(route)[0]: (set(words(roles)), set(re.findall(r"\b\d{3}\b", answer)), set(words(answer)))
        for route, roles, answer, _ in rows(section("Routes"))[1:]
    }
    served = {}
    for one in OPERATIONS:
        roles = set[str]()
        if one.action is not None:
            roles = set(TENANT_ROLES.get(one.action) or PUBLISHER_ROLES[one.action])
        codes = {str(code) for code in one.status}
        served[f"{one.method} /{one.route}"] = (roles - {"Tenant.Admin"} or roles, codes, set(one.headers))
    assert told == served


OBJECTS = [(words(part.partition("\n")[0]), part) for part in TEXT.split("\n### ")[1:]]


@pytest.mark.parametrize(("names", "part"), OBJECTS, ids=lambda value: value[0] if isinstance(value, list) else "")
def test_fields_of_objects(names: list[str], part: str) -> None:
    table = part.partition("\n| code |")[0].partition("\n## ")[0]
    told = {field for row in rows(table) for field in words(row[0])}
    properties: dict[str, Any] = {}
    for name in names:
        properties |= SCHEMAS[name]["properties"]
        if name == "Problem":
            properties |= SCHEMAS[name]["properties"]["errors"]["items"]["properties"]
    assert told == properties.keys()
    values = {value for name in names for value in _values(SCHEMAS[name])}
    assert values <= set(words(part)) | {None}


def _values(schema: Any) -> Any:
    """The texts that a schema allows."""
    if isinstance(schema, dict):
        yield from schema.get("enum", ())
        for inner in schema.values():
            yield from _values(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from _values(inner)


def test_every_object_is_told() -> None:
    assert {name for names, _ in OBJECTS for name in names} == set(SCHEMAS)


def test_error_codes_and_their_status() -> None:
    raised = {(code, STATUS[Kind[kind]][0]) for kind, code in re.findall(r'Kind\.([A-Z_]+),\s*"([a-z_]+)"', SOURCE)} | {
        (reaction.code, STATUS[Kind.UNAVAILABLE][0]) for reaction in REACTIONS.values()
    }
    _, _, table = section("Errors").partition("| code |")
    told = {(code, int(status)) for codes, status, _ in rows(table) for code in words(codes)}
    assert told == raised


def test_claims_and_reasons_of_queued_orders() -> None:
    orders = section("Orders over the queue")
    claims = {claim for row in rows(orders)[1:] for claim in words(row[0])}
    assert claims == set(_Claims.__struct_fields__)
    reasons = set(words(orders.partition("application property")[2].partition("or the code")[0])) - {"reason"}
    assert reasons == set(re.findall(r'RejectedRequestError\("([a-z_]+)"\)', SOURCE))
    assert set(words(orders.rpartition("ids only:")[2])) == set(ScreeningJob.__struct_fields__)
