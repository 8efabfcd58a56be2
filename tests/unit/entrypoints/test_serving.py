"""Who is let in, to which tenant, and how every answer looks: through the functions, as the host calls them."""

import json
import logging
from typing import Any

import azure.functions as func
import msgspec
import pytest

from shared.core.errors import BulkheadError, Kind
from shared.core.ids import is_id
from tests.fakes import CONTOSO, CONTOSO_HR, CONTOSO_RETAIL, FABRIKAM, FABRIKAM_HR, PUBLISHER
from tests.world import ADMIN, OPERATE, ROUTES, World

PERSON = {"first_name": "Ada", "last_name": "Ferrero"}
OTHER_CLIENT = "c11e0000-0000-4000-8000-00000000000a"
PUBLIC = {"health_live", "health_ready", "openapi", "zz_no_such_route"}
PROTECTED = [
    (method, pattern.pattern.replace("(?P<", "{").replace(">[^/]+)", "}"), function)
    for method, pattern, function in ROUTES
    if function._function.get_function_name() not in PUBLIC
]


def path_of(pattern: Any) -> Any:
    return "/".join("x" if part.startswith("{") else part for part in pattern.split("/"))


# --- who asks ---


@pytest.mark.parametrize(("method", "pattern", "function"), PROTECTED)
async def test_no_route_without_a_token(world: Any, method: Any, pattern: Any, function: Any) -> None:
    answer = await world.call(method, path_of(pattern), {}, token="")
    assert (answer.status, answer.code) == (401, "token_required"), function
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert world.broker.leases == []


@pytest.mark.parametrize(("method", "pattern", "function"), PROTECTED)
async def test_no_route_without_a_role(world: Any, method: Any, pattern: Any, function: Any) -> None:
    audience = function._function.get_function_name()
    for roles in ("", "Made.Up"):
        for directory in (CONTOSO, PUBLISHER):
            answer = await world.call(method, path_of(pattern), {}, roles=roles, directory=directory)
            assert answer.status == 403, audience
    assert world.broker.leases == []


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic dTpw",
        "bearer x",
        "Bearer a.b.c",
        "Bearer a b",
        "token",
        "Bearer é.é.é",
        "Bearer \ufffd",
    ],
)
async def test_other_credentials_are_refused(world: Any, value: Any) -> None:
    answer = await world.call("GET", "tenant", token="", Authorization=value)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.media_type == "application/problem+json"


async def test_the_scheme_is_read_without_case(world: Any) -> None:
    answer = await world.call("GET", "tenant", token="", Authorization=f"bEaReR  {world.tokens.token(CONTOSO, ADMIN)} ")
    assert answer.status == 200


async def test_a_token_that_expired_meanwhile_is_refused(world: Any) -> None:
    token = world.tokens.token(CONTOSO, ADMIN)
    world.clock.advance(3660)
    assert (await world.call("GET", "tenant", token=token)).code == "invalid_token"


async def test_a_token_for_another_audience_is_refused(world: Any) -> None:
    token = world.tokens.token(CONTOSO, ADMIN, aud="https://management.azure.com")
    assert (await world.call("GET", "tenant", token=token)).status == 401


# --- for which tenant ---


async def test_the_tenant_is_that_of_the_tokens_directory(world: Any) -> None:
    for directory, names in ((CONTOSO, CONTOSO_HR), (FABRIKAM, FABRIKAM_HR)):
        answer = await world.call("GET", "tenant", directory=directory)
        assert answer.json["id"] == names.tenant_id


async def test_a_directory_without_a_tenant_is_refused(world: Any) -> None:
    for directory in (PUBLISHER, "e0000000-0000-4000-8000-000000000009"):
        answer = await world.call("GET", "tenant", directory=directory)
        assert (answer.status, answer.code) == (403, "not_a_tenant")


async def test_a_header_chooses_among_the_directorys_own_tenants_only(world: Any) -> None:
    await world.add(CONTOSO_RETAIL.tenant())
    assert (await world.call("GET", "tenant")).code == "tenant_required"
    for names in (CONTOSO_HR, CONTOSO_RETAIL):
        answer = await world.call("GET", "tenant", Bulkhead_Tenant=names.tenant_id)
        assert answer.json["id"] == names.tenant_id
    foreign = await world.call("GET", "tenant", Bulkhead_Tenant=FABRIKAM_HR.tenant_id)
    unknown = await world.call("GET", "tenant", Bulkhead_Tenant="ten_unknown")
    assert foreign.status == unknown.status == 404
    assert {**foreign.json, "instance": ""} == {**unknown.json, "instance": ""}


async def test_another_tenants_object_looks_like_none(world: Any) -> None:
    made = await world.call("POST", "candidates", PERSON)
    candidate_id = made.json["id"]
    foreign = await world.call("GET", f"candidates/{candidate_id}", directory=FABRIKAM)
    unknown = await world.call("GET", f"candidates/{candidate_id[:-1]}0", directory=FABRIKAM)
    assert foreign.status == unknown.status == 404
    assert {**foreign.json, "instance": ""} == {**unknown.json, "instance": ""}
    opened = [target.tenant_id for target, _ in world.broker.leases]
    assert opened == [CONTOSO_HR.tenant_id, FABRIKAM_HR.tenant_id, FABRIKAM_HR.tenant_id]


async def test_a_cursor_of_another_tenant_is_refused(world: Any) -> None:
    for _ in range(2):
        await world.call("POST", "candidates", PERSON)
    page = await world.call("GET", "candidates?limit=1")
    assert (len(page.json["data"]), page.json["has_more"]) == (1, True)
    assert (await world.call("GET", f"candidates?limit=1&cursor={page.json['next']}")).json["has_more"] is False
    foreign = await world.call("GET", f"candidates?limit=1&cursor={page.json['next']}", directory=FABRIKAM)
    assert (foreign.status, foreign.code) == (400, "invalid_cursor")


# --- may they ---


async def test_only_allowed_client_applications_may_call(world: Any) -> None:
    token = world.tokens.token(CONTOSO, ADMIN, azp=OTHER_CLIENT)
    assert (await world.call("GET", "tenant", token=token)).status == 403
    etag = (await world.call("GET", "tenant")).headers["ETag"]
    patched = await world.call("PATCH", "tenant", {"allowed_client_ids": [OTHER_CLIENT.upper()]}, If_Match=etag)
    assert patched.status == 200
    assert (await world.call("GET", "tenant", token=token)).status == 200
    for_fabrikam = world.tokens.token(FABRIKAM, ADMIN, azp=OTHER_CLIENT)
    assert (await world.call("GET", "tenant", token=for_fabrikam)).status == 403
    for_publisher = world.tokens.token(PUBLISHER, OPERATE, azp=OTHER_CLIENT)
    assert (await world.call("GET", "tenants", token=for_publisher)).status == 403


async def test_a_client_that_was_allowed_elsewhere_a_moment_ago_is_served(world: Any) -> None:
    """By another process, which this one's cache does not know of."""
    token = world.tokens.token(CONTOSO, ADMIN, azp=OTHER_CLIENT)
    await world.call("GET", "tenant")
    elsewhere(world, CONTOSO_HR.tenant(allowed_client_ids=(OTHER_CLIENT,)))
    world.clock.advance(0.1)
    assert (await world.call("GET", "tenant", token=token)).status == 200


@pytest.mark.parametrize(
    ("before", "code"), [({"directory_id": FABRIKAM}, "not_a_tenant"), ({"status": "locked"}, "tenant_locked")]
)
async def test_a_tenant_that_is_one_since_a_moment_ago_is_served(world: Any, before: Any, code: str) -> None:
    elsewhere(world, CONTOSO_HR.tenant(**before))
    world.clock.advance(2)
    assert (await world.call("GET", "tenant")).code == code
    elsewhere(world, CONTOSO_HR.tenant())
    world.clock.advance(1)  # the refusal above made this process look
    assert (await world.call("GET", "tenant")).status == 200


async def test_those_who_are_refused_make_us_look_once_a_second(world: Any) -> None:
    token = world.tokens.token(CONTOSO, ADMIN, azp=OTHER_CLIENT)
    await world.call("GET", "tenant")
    world.clock.advance(0.1)
    before = len(world.registry_documents.calls)
    for _ in range(5):
        assert (await world.call("GET", "tenant", token=token)).status == 403
    assert len(world.registry_documents.calls) == before + 1


async def test_a_missing_role_makes_us_look_not_at_all(world: Any) -> None:
    before = len(world.registry_documents.calls)
    assert (await world.call("GET", "tenant", roles="Reports.Read")).code == "forbidden"
    assert len(world.registry_documents.calls) == before


async def test_what_was_allowed_is_so_for_two_seconds_at_most(world: Any) -> None:
    await world.call("GET", "tenant")
    elsewhere(world, CONTOSO_HR.tenant(status="locked"))
    world.clock.advance(2)
    assert (await world.call("GET", "tenant")).code == "tenant_locked"


def elsewhere(world: Any, tenant: Any) -> None:
    """Another process changes a tenant."""
    world.registry_documents.put("tenants", msgspec.to_builtins(tenant))


async def test_roles_are_those_of_the_audience(world: Any) -> None:
    assert (await world.call("GET", "tenants", roles=f"{OPERATE} Publisher.Read")).status == 403
    assert (await world.call("GET", "tenants", roles=OPERATE, directory=PUBLISHER)).status == 200
    assert (await world.call("GET", "tenants", roles=ADMIN, directory=PUBLISHER)).status == 403
    read_only = await world.call(
        "POST", f"tenants/{CONTOSO_HR.tenant_id}/lock", roles="Publisher.Read", directory=PUBLISHER
    )
    assert read_only.status == 403


async def test_a_locked_tenant_is_served_no_more(world: Any) -> None:
    assert (await world.call("POST", "tenant/lock")).json["status"] == "locked"
    for method, path in (("GET", "tenant"), ("GET", "candidates"), ("POST", "tenant/lock")):
        answer = await world.call(method, path)
        assert (answer.status, answer.code) == (403, "tenant_locked")
    assert world.broker.leases == []
    assert (await world.call("GET", "tenant", directory=FABRIKAM)).status == 200
    unlocked = await world.call("POST", f"tenants/{CONTOSO_HR.tenant_id}/unlock", roles=OPERATE, directory=PUBLISHER)
    assert unlocked.json["status"] == "active"
    assert (await world.call("GET", "tenant")).status == 200


async def test_a_lease_is_asked_for_with_its_purpose(world: Any) -> None:
    made = await world.call("POST", "candidates", PERSON)
    await world.call("GET", f"candidates/{made.json['id']}", roles="Candidates.ReadWrite")
    (_, writing), (target, reading) = world.broker.leases
    assert (writing.action, writing.writes, reading.action, reading.writes) == (
        "candidates.write", True, "candidates.read", False,
    )  # fmt: skip
    assert reading.object_id == writing.object_id == made.json["id"]
    assert reading.actor == "user:0d000000-0000-4000-8000-000000000001"
    assert is_id("req", reading.request_id)
    assert target == CONTOSO_HR.tenant().target


# --- answers ---


async def test_every_answer_has_a_request_id_and_is_not_stored(world: Any) -> None:
    answers = [
        await world.call("GET", "tenant"), await world.call("GET", "tenant", token=""),
        await world.call("GET", "health/live", token=""), await world.call("DELETE", "candidates/x"),
    ]  # fmt: skip
    ids = [answer.headers["X-Request-Id"] for answer in answers]
    assert all(is_id("req", one) for one in ids)
    assert len(set(ids)) == len(ids)
    assert {answer.headers["Cache-Control"] for answer in answers} == {"no-store"}


async def test_an_unexpected_error_says_nothing_of_itself(world: Any, caplog: pytest.LogCaptureFixture) -> None:
    world.account(CONTOSO_HR).failures = [RuntimeError("canary of an SDK with Ada Ferrero in it")]
    with caplog.at_level(logging.DEBUG):
        answer = await world.call("POST", "candidates", PERSON)
    assert (answer.status, answer.code) == (500, "internal_error")
    for text in (answer.text, caplog.text):
        assert "canary" not in text
        assert "Ferrero" not in text
    event = json.loads(caplog.messages[-1])
    assert (event["event"], event["error"], event["function"]) == ("request_failed", "RuntimeError", "create_candidate")


async def test_an_account_that_cannot_be_opened_is_told_with_a_time(
    world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    world.broker.failures = [BulkheadError(Kind.UNAVAILABLE, "tenant_access_denied", "Step 3 of 5.", retry_after=59.2)]
    with caplog.at_level(logging.INFO):
        answer = await world.call("GET", "candidates")
    assert (answer.status, answer.code, answer.headers["Retry-After"]) == (503, "tenant_access_denied", "60")
    event = json.loads(caplog.messages[-1])
    assert (event["event"], event["status"], event["code"]) == ("request_refused", 503, "tenant_access_denied")


async def test_an_unreadable_registry_entry_is_no_tenant(world: Any) -> None:
    world.registry_documents.damage("tenants", CONTOSO_HR.tenant_id, {"status": "half-active"})
    world.clock.advance(60)
    assert (await world.call("GET", "tenant")).status == 500
    assert (await world.call("GET", "tenant", directory=FABRIKAM)).status == 200


# --- health ---


async def test_health(world: Any) -> None:
    assert (await world.call("GET", "health/live", token="")).json == {"status": "ok"}
    assert (await world.call("GET", "health/ready", token="")).status == 200
    world.clock.advance(2)
    world.registry_documents.failures = [BulkheadError(Kind.UNAVAILABLE, "account_unavailable", "No.")]
    ready = await world.call("GET", "health/ready", token="")
    assert (ready.status, ready.headers["Retry-After"]) == (503, "5")


async def test_one_tenants_unreadable_entry_does_not_make_the_service_unready(world: World) -> None:
    world.registry_documents.damage("tenants", CONTOSO_HR.tenant_id, {"status": "half-active"})
    assert (await world.call("GET", "health/ready", token="")).status == 200


async def test_whoever_asks_often_does_not_make_the_registry_work(world: World) -> None:
    world.registry_documents.calls.clear()
    for _ in range(50):
        await world.call("GET", "health/ready", token="")
    assert len(world.registry_documents.calls) == 1


async def test_the_api_describes_itself(world: Any) -> None:
    answer = await world.call("GET", "openapi.json", token="")
    assert answer.json["openapi"] == "3.1.0"
    assert "/reports" in answer.json["paths"]


# --- what is refused before an account is opened ---


@pytest.mark.parametrize(
    ("method", "path", "headers", "code"),
    [
        ("GET", "reports?statuss=complete", {}, "unknown_parameter"),
        ("GET", "reports/x?limit=5", {}, "unknown_parameter"),
        ("GET", "reports?limit=5&limit=6", {}, "invalid_limit"),
        ("POST", "candidates", {"Idempotency_Key": "x" * 256}, "invalid_idempotency_key"),
        ("PUT", "packages/ours", {"If_Match": "etag without quotes"}, "invalid_if_match"),
    ],
)
async def test_a_faulty_request_opens_no_account(world: Any, method: Any, path: Any, headers: Any, code: Any) -> None:
    answer = await world.call(method, path, PERSON if method == "POST" else {}, **headers)
    assert (answer.status, answer.code) == (400, code)
    assert world.broker.leases == []


# --- methods and paths ---


async def test_head_is_answered_as_get(world: Any) -> None:
    got = await world.call("GET", "tenant")
    head = await world.call("HEAD", "tenant")
    assert (head.status, head.headers["ETag"]) == (got.status, got.headers["ETag"])
    assert (await world.call("HEAD", "tenant", token="")).status == 401


@pytest.mark.parametrize("path", ["nowhere", "", "reports/a/b", "candidatesx", "openapixjson", "api/reports"])
async def test_a_path_that_is_no_route(world: Any, path: Any) -> None:
    for method in ("GET", "OPTIONS", "PURGE"):
        answer = await world.call(method, path, token="")
        assert (answer.status, answer.code) == (404, "not_found")
        assert "Allow" not in answer.headers


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("reports", "GET, HEAD, OPTIONS, POST"),
        ("Reports/", "GET, HEAD, OPTIONS, POST"),
        ("reports/x/cancel", "OPTIONS, POST"),
        ("candidates/x", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("openapi.json", "GET, HEAD, OPTIONS"),
    ],
)
async def test_a_method_that_a_route_does_not_take(world: Any, path: Any, allowed: Any) -> None:
    answer = await world.call("TRACE", path, token="")
    assert (answer.status, answer.code, answer.headers["Allow"]) == (405, "method_not_allowed", allowed)
    asked = await world.call("OPTIONS", path, token="")
    assert (asked.status, asked.text, asked.headers["Allow"]) == (204, "", allowed)


@pytest.mark.usefixtures("world")
async def test_a_route_that_another_deployment_serves() -> None:
    """The function is called as the host does where the publisher's routes are not registered."""
    (function,) = (one for method, _, one in ROUTES if method == "")
    request = func.HttpRequest("GET", "https://x/api/tenants", route_params={"path": "tenants"}, body=b"")
    assert (await function(request)).status_code == 404
