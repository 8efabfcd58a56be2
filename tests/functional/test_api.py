"""How the API behaves at its edges: who may call, what is refused and how, idempotency, lists, ETags, erasure."""

import asyncio
import time
import uuid
from typing import Any

import pytest

from infra.local import leaks
from infra.local.client import Reply
from infra.local.company import Company, authorization
from infra.local.lab import Lab
from infra.local.people import candidate

pytestmark = pytest.mark.asyncio(loop_scope="session")

ORDINARY = candidate("C-1001")


def code(reply: Reply) -> str:
    """The problem's code, once it was checked that the answer is a whole RFC 9457 document."""
    assert reply.headers["Content-Type"].partition(";")[0] == "application/problem+json"
    assert reply.json.keys() >= {"type", "title", "status", "detail", "instance"}
    assert reply.json["status"] == reply.status
    assert reply.json["instance"] == f"urn:bulkhead:request:{reply.headers['X-Request-Id']}"
    return str(reply.json["type"]).removeprefix("urn:bulkhead:problem:")


# --- who may call -------------------------------------------------------------------------------------------------


async def test_without_a_token(lab: Lab) -> None:
    reply = await lab.client.api("GET", "/reports")

    assert (reply.status, code(reply)) == (401, "token_required")
    assert reply.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "more",
    [
        {"key": "forged"},
        {"overrides": {"exp": 1_700_000_000}},
        {"overrides": {"nbf": 4_000_000_000}},
        {"overrides": {"aud": "00000003-0000-0000-c000-000000000000"}},
        {"overrides": {"iss": "https://login.microsoftonline.com/elsewhere/v2.0"}},
        {"overrides": {"tid": str(uuid.uuid4())}},
        {"overrides": {"ver": "1.0"}},
    ],
    ids=lambda more: next(iter(more.get("overrides", more))),
)
async def test_token_that_is_not_for_us(lab: Lab, acme: Company, more: dict[str, Any]) -> None:
    token = await lab.client.token(acme.name, ("Tenant.Admin",), **more)

    reply = await lab.client.api("GET", "/reports", token)

    assert (reply.status, code(reply)) == (401, "invalid_token")


async def test_garbage_for_a_token(lab: Lab) -> None:
    for token in ("x", "a.b.c", "e30.e30."):
        reply = await lab.client.api("GET", "/reports", token)
        assert (reply.status, code(reply)) == (401, "invalid_token")


@pytest.mark.parametrize(
    ("method", "path", "roles"),
    [
        ("GET", "/reports", ()),
        ("GET", "/reports", ("Candidates.ReadWrite",)),
        ("POST", "/reports", ("Reports.Read",)),
        ("GET", "/candidates", ("Reports.ReadWrite",)),
        ("PUT", "/packages/x", ("Reports.ReadWrite",)),
        ("GET", "/access_log", ("Reports.ReadWrite", "Candidates.ReadWrite", "Adjudications.ReadWrite")),
        ("GET", "/tenants", ("Tenant.Admin", "Publisher.Operate")),  # roles of those names in the customer's directory
    ],
)
async def test_role_is_missing(acme: Company, method: str, path: str, roles: tuple[str, ...]) -> None:
    reply = await acme.call(method, path, {} if method != "GET" else None, roles=roles)

    assert (reply.status, code(reply)) == (403, "forbidden")


async def test_only_known_client_applications(lab: Lab, acme: Company) -> None:
    other = str(uuid.uuid4())
    token = await lab.client.token(acme.name, ("Tenant.Admin",), overrides={"azp": other})
    assert (await lab.client.api("GET", "/reports", token)).status == 403
    settings = await acme.call("GET", "/tenant")

    changed = await acme.call(
        "PATCH", "/tenant", {"allowed_client_ids": [other]}, headers={"If-Match": settings.headers["ETag"]}
    )

    assert changed.json["allowed_client_ids"] == [other]
    assert (await lab.client.api("GET", "/reports", token)).status == 200


async def test_publishers_staff_have_no_tenant(lab: Lab) -> None:
    token = await lab.client.token(roles=("Publisher.Operate", "Tenant.Admin"))

    assert (await lab.client.api("GET", "/tenants", token)).status == 200
    reply = await lab.client.api("GET", "/reports", token)
    assert (reply.status, code(reply)) == (403, "not_a_tenant")


async def test_locked_tenant_is_served_nothing(lab: Lab) -> None:
    company = await lab.company()
    ordered = await company.order(await company.add_candidate(ORDINARY))
    staff = await lab.client.token(roles=("Publisher.Operate",))

    assert (await company.must("POST", "/tenant/lock"))["status"] == "locked"
    refused = await company.call("GET", "/reports")
    assert (refused.status, code(refused)) == (403, "tenant_locked")
    since = await lab.now()
    await lab.logged("screening_postponed", company.id, "tenant_locked", count=2)
    entries, _ = await lab.client.journal(since)
    assert not [entry for entry in entries if company.account in entry["target"]]

    assert (await lab.client.api("POST", f"/tenants/{company.id}/unlock", staff)).status == 200
    assert (await lab.report(company, ordered["id"]))["status"] == "complete"


# --- what is refused ----------------------------------------------------------------------------------------------


async def test_faulty_fields_are_named_and_not_repeated(acme: Company) -> None:
    body = {
        "first_name": "",
        "ssn": "123-canary",
        "dob": "1990-31-01",
        "shoe_size": "canary",
        "address": {"country": "canary"},
    }

    reply = await acme.call("POST", "/candidates", body)

    assert (reply.status, code(reply)) == (422, "validation_failed")
    assert {error["pointer"] for error in reply.json["errors"]} == {
        "/first_name", "/last_name", "/ssn", "/dob", "/address/country", "",
    }  # fmt: skip
    assert all(error["detail"] for error in reply.json["errors"])
    assert "canary" not in reply.text


@pytest.mark.parametrize(
    ("body", "media_type", "status", "expected"),
    [
        (b"{", "application/json", 400, "malformed_json"),
        (b"\xff", "application/json", 400, "malformed_json"),
        (b"[]", "application/json", 422, "validation_failed"),
        (b"first_name=Ana", "application/x-www-form-urlencoded", 415, "not_json"),
        (b'{"first_name": "' + b"x" * 300_000 + b'"}', "application/json", 413, "body_too_large"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_body_that_cannot_be_read(
    acme: Company, body: bytes, media_type: str, status: int, expected: str
) -> None:
    reply = await acme.call("POST", "/candidates", body, headers={"Content-Type": media_type})

    assert (reply.status, code(reply)) == (status, expected)


@pytest.mark.parametrize("key", ["", '""', "x" * 256, "schl\xfcssel"])
async def test_unusable_idempotency_key(acme: Company, key: str) -> None:
    reply = await acme.call("POST", "/candidates", ORDINARY, headers={"Idempotency-Key": key})

    assert (reply.status, code(reply)) == (400, "invalid_idempotency_key")


async def test_unknown_candidate_and_package(acme: Company) -> None:
    body = {"candidate_id": "cand_01arz3ndektsv4rrffq69g5fav", "package": "nothing"}

    reply = await acme.call("POST", "/reports", body)

    assert (reply.status, code(reply)) == (422, "validation_failed")
    assert {error["pointer"] for error in reply.json["errors"]} == {"/candidate_id", "/package"}


async def test_no_check_without_authorization(acme: Company) -> None:
    candidate_id = (await acme.must("POST", "/candidates", ORDINARY))["id"]
    order = {"candidate_id": candidate_id, "package": "essential"}

    reply = await acme.call("POST", "/reports", order)
    assert (reply.status, code(reply)) == (409, "authorization_required")

    evidence = authorization() | {"employer_certification": False, "signed_at": "2999-01-01T00:00:00Z"}
    reply = await acme.call("POST", f"/candidates/{candidate_id}/authorizations", evidence)
    assert {error["pointer"] for error in reply.json["errors"]} == {"/employer_certification", "/signed_at"}


async def test_what_is_not_there(acme: Company) -> None:
    for path in (
        "/reports/rep_01arz3ndektsv4rrffq69g5fav", "/reports/nonsense", "/candidates/..%2F..%2Ftenant",
        "/candidates/cand_01arz3ndektsv4rrffq69g5fav", "/packages/none",
    ):  # fmt: skip
        reply = await acme.call("GET", path)
        assert (reply.status, code(reply)) == (404, "not_found"), path


# --- idempotency --------------------------------------------------------------------------------------------------


async def test_same_key_same_answer(acme: Company) -> None:
    candidate_id = await acme.add_candidate(ORDINARY)
    key = {"Idempotency-Key": f'"{uuid.uuid4()}"'}
    bare = {"Idempotency-Key": key["Idempotency-Key"].strip('"')}
    order = {"candidate_id": candidate_id, "package": "essential"}

    first = await acme.call("POST", "/reports", order, headers=key)
    second = await acme.call("POST", "/reports", order, headers=bare)
    other = await acme.call("POST", "/reports", order | {"package": "watchlist"}, headers=key)

    assert (first.status, second.status) == (202, 202)
    assert (second.json, second.headers["Location"]) == (first.json, first.headers["Location"])
    assert (other.status, code(other)) == (422, "idempotency_key_reused")
    assert len((await acme.must("GET", f"/reports?candidate_id={candidate_id}"))["data"]) == 1


async def test_same_key_while_the_first_runs(lab: Lab, acme: Company) -> None:
    candidate_id = await acme.add_candidate(ORDINARY)
    key = {"Idempotency-Key": str(uuid.uuid4())}
    order = {"candidate_id": candidate_id, "package": "essential"}
    slow = {"service": "cosmos", "operation": "create_item", "target": f"{acme.account}/dbs/bulkhead/colls/reports",
            "delay_ms": 500, "times": 1}  # fmt: skip

    async with lab.weather(slow):
        replies = await asyncio.gather(*(acme.call("POST", "/reports", order, headers=key) for _ in range(3)))

    assert sorted(reply.status for reply in replies) == [202, 409, 409]
    refused = [reply for reply in replies if reply.status == 409]
    assert {code(reply) for reply in refused} == {"request_in_progress"}
    assert all(1 <= int(reply.headers["Retry-After"]) <= 10 for reply in refused)
    assert len((await acme.must("GET", f"/reports?candidate_id={candidate_id}"))["data"]) == 1


@pytest.mark.parametrize("operation", ["create_item", "replace_item"])  # the record is made, and closed
async def test_key_whose_record_is_written_without_an_answer(lab: Lab, acme: Company, operation: str) -> None:
    candidate_id = await acme.add_candidate(ORDINARY)
    key = {"Idempotency-Key": str(uuid.uuid4())}
    order = {"candidate_id": candidate_id, "package": "essential"}
    lost = {"service": "cosmos", "operation": operation, "drop": "answer", "times": 1,
            "target": f"{acme.account}/dbs/bulkhead/colls/idempotency"}  # fmt: skip
    since = await lab.now()

    async with lab.weather(lost):
        first = await acme.call("POST", "/reports", order, headers=key)
    again = await acme.call("POST", "/reports", order, headers=key)

    assert (first.status, again.status, again.json) == (202, 202, first.json)
    assert len((await acme.must("GET", f"/reports?candidate_id={candidate_id}"))["data"]) == 1
    assert await lab.seen(since, count=2, operation=operation, target=lost["target"]), "it was sent again"


async def test_key_of_the_publishers_staff(lab: Lab, acme: Company) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    token = await lab.client.token(roles=("Publisher.Operate",))
    path = f"/tenants/{acme.id}/unlock"

    first = await lab.client.api("POST", path, token, headers=key)
    again = await lab.client.api("POST", path, token, headers=key)
    other = await lab.client.api("POST", path, token, {"other": "body"}, headers=key)

    assert (first.status, again.status, again.json) == (200, 200, first.json)
    assert (other.status, code(other)) == (422, "idempotency_key_reused")


async def test_refused_request_leaves_its_key_free(acme: Company) -> None:
    candidate_id = (await acme.must("POST", "/candidates", ORDINARY))["id"]
    key = {"Idempotency-Key": str(uuid.uuid4())}
    order = {"candidate_id": candidate_id, "package": "essential"}
    assert (await acme.call("POST", "/reports", order, headers=key)).status == 409
    await acme.must("POST", f"/candidates/{candidate_id}/authorizations", authorization())

    assert (await acme.call("POST", "/reports", order, headers=key)).status == 202


# --- lists --------------------------------------------------------------------------------------------------------


async def test_pages_stay_whole_while_others_add(lab: Lab) -> None:
    company = await lab.company()
    ids = [(await company.must("POST", "/candidates", ORDINARY))["id"] for _ in range(5)]

    page = await company.must("GET", "/candidates?limit=2")
    seen = [one["id"] for one in page["data"]]
    while page["has_more"]:
        await company.must("POST", "/candidates", ORDINARY)
        page = await company.must("GET", f"/candidates?limit=2&cursor={page['next']}")
        seen += [one["id"] for one in page["data"]]

    assert seen == ids[::-1]
    assert page["next"] is None


async def test_foreign_and_altered_cursors(acme: Company, globex: Company) -> None:
    for company in (acme, globex):
        for _ in range(2):
            await company.add_candidate(ORDINARY)
    cursor = (await acme.must("GET", "/candidates?limit=1"))["next"]
    altered = cursor[:-1] + ("A" if cursor[-1] != "A" else "B")

    for company, path in (
        (globex, f"/candidates?cursor={cursor}"),
        (acme, f"/reports?cursor={cursor}"),
        (acme, f"/candidates?cursor={altered}"),
        (acme, f"/candidates?cursor={cursor}AAAA"),
        (acme, "/candidates?cursor=nonsense!"),
    ):
        reply = await company.call("GET", path)
        assert (reply.status, code(reply)) == (400, "invalid_cursor"), path


@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "1e2", "99999999999", "1&limit=2"])
async def test_limit(acme: Company, limit: str) -> None:
    reply = await acme.call("GET", f"/candidates?limit={limit}")

    assert (reply.status, code(reply)) == (400, "invalid_limit")


async def test_reports_by_status(lab: Lab) -> None:
    company = await lab.company()
    candidate_id = await company.add_candidate(ORDINARY)
    done, canceled = [(await company.order(candidate_id))["id"] for _ in range(2)]
    await company.must("POST", f"/reports/{canceled}/cancel")
    await lab.report(company, done)

    for status, expected in (("canceled", [canceled]), ("complete", [done]), ("paused", [])):
        found = await company.must("GET", f"/reports?status={status}")
        assert [one["id"] for one in found["data"]] == expected
    reply = await company.call("GET", "/reports?status=finished")
    assert (reply.status, code(reply)) == (400, "invalid_status")


# --- ETags --------------------------------------------------------------------------------------------------------


async def test_change_needs_the_newest_etag(acme: Company) -> None:
    path = f"/candidates/{await acme.add_candidate(ORDINARY)}"
    shown = await acme.call("GET", path)
    etag = shown.headers["ETag"]

    without = await acme.call("PATCH", path, {"email": "a@example.com"})
    changed = await acme.call("PATCH", path, {"email": "a@example.com", "phone": None}, headers={"If-Match": etag})
    late = await acme.call("PATCH", path, {"email": "b@example.com"}, headers={"If-Match": etag})

    assert (without.status, code(without)) == (428, "if_match_required")
    assert (changed.status, changed.json["email"], changed.json["phone"]) == (200, "a@example.com", None)
    assert (late.status, code(late)) == (412, "changed_meanwhile")
    again = await acme.call("GET", path)
    assert (again.json, again.headers["ETag"]) == (changed.json, changed.headers["ETag"])


async def test_package_is_created_once(globex: Company) -> None:
    path, body = "/packages/interns", {"name": "Interns", "screenings": ["watchlist"]}

    assert (await globex.call("PUT", path, body)).status == 428
    made = await globex.call("PUT", path, body, headers={"If-Match": "*"})
    again = await globex.call("PUT", path, body, headers={"If-Match": "*"})
    changed = await globex.call("PUT", path, body | {"name": "Trainees"}, headers={"If-Match": made.headers["ETag"]})

    assert (made.status, again.status, changed.status) == (201, 412, 200)
    assert (await globex.must("GET", path))["name"] == "Trainees"


# --- erasure ------------------------------------------------------------------------------------------------------


async def test_ssn_is_shown_masked_only(acme: Company) -> None:
    made = await acme.must("POST", "/candidates", ORDINARY)

    shown = await acme.call("GET", f"/candidates/{made['id']}")

    assert made["ssn"] == shown.json["ssn"] == "XXX-XX-4086"
    assert "773-21" not in shown.text


async def test_erased_candidate_leaves_no_trace(lab: Lab) -> None:
    company = await lab.company()
    person = candidate("F-2001") | {"custom_id": f"only-{uuid.uuid4()}"}
    personal = [*leaks.personal_data(person), ("custom_id", person["custom_id"])]
    candidate_id = await company.add_candidate(person)
    done = await lab.report(company, (await company.order(candidate_id))["id"])
    pending = await company.order(candidate_id)
    assert leaks.scan(leaks.stored_items(lab.state, account=company.account), personal).leaks

    assert (await company.call("DELETE", f"/candidates/{candidate_id}")).status == 204

    for method, path in (("GET", f"/candidates/{candidate_id}"), ("DELETE", f"/candidates/{candidate_id}")):
        assert (await company.call(method, path)).status == 404
    assert (await company.must("GET", f"/reports/{done['id']}")) == done
    report = await lab.report(company, pending["id"])
    assert {one["cancellation_reason"] for one in report["screenings"]} == {"candidate_erased"}
    assert not leaks.scan(leaks.stored_items(lab.state, account=company.account), personal).leaks


# --- the rest -----------------------------------------------------------------------------------------------------


async def test_description_names_every_route(lab: Lab) -> None:
    document = (await lab.client.api("GET", "/openapi.json")).json

    assert document["openapi"].startswith("3.1")
    for path in ("/candidates/{candidate_id}", "/reports", "/tenants", "/access_log", "/packages/{slug}"):
        assert f"/api{path}" in document["paths"] or path in document["paths"]


async def test_health(lab: Lab) -> None:
    assert (await lab.client.api("GET", "/health/live")).status == 200
    assert (await lab.client.api("GET", "/health/ready")).json == {"status": "ok", "registry": "ok"}
    broken = {"service": "cosmos", "target": "bulkhead-registry", "status": 503}

    async with lab.weather(broken):
        began = time.monotonic()
        while (reply := await lab.client.api("GET", "/health/ready")).status == 200:
            assert time.monotonic() - began < 20  # an answer of the registry is good for two seconds
            await asyncio.sleep(0.1)

    assert (reply.status, reply.json["status"]) == (503, "unavailable")
    assert time.monotonic() - began < 20


async def test_every_answer_says_who_it_is_for(lab: Lab, acme: Company) -> None:
    replies = [await acme.call("GET", "/packages"), await lab.client.api("GET", "/health/live")]

    for reply in replies:
        assert reply.headers["X-Request-Id"].startswith("req_")
        assert reply.headers["Cache-Control"] == "no-store"
    assert len({reply.headers["X-Request-Id"] for reply in replies}) == 2


async def test_methods_and_paths_beside_the_routes(lab: Lab, acme: Company) -> None:
    wrong = await lab.client.api("DELETE", "/tenant")
    assert (wrong.status, code(wrong), wrong.headers["Allow"]) == (
        405,
        "method_not_allowed",
        "GET, HEAD, OPTIONS, PATCH",
    )
    asked = await lab.client.api("OPTIONS", "/reports/x")
    assert (asked.status, asked.text, asked.headers["Allow"]) == (204, "", "GET, HEAD, OPTIONS")
    nowhere = await lab.client.api("GET", "/nowhere")
    assert (nowhere.status, code(nowhere)) == (404, "not_found")

    got, head = await acme.call("GET", "/tenant"), await acme.call("HEAD", "/tenant")
    assert (head.status, head.headers["ETag"], head.text) == (200, got.headers["ETag"], "")


async def test_headers_of_bytes_that_are_no_text(lab: Lab, acme: Company) -> None:
    """As they come from the wire: the host must not turn them into a failure of the app."""
    address = lab.client.endpoints.functions.removeprefix("http://")
    token = (await lab.client.token(acme.name, ("Tenant.Admin",))).encode()
    for header, status in (
        (b'If-Match: "\xff"', 400), (b"Bulkhead-Tenant: \xff", 404),
        (b"Authorization: Bearer \xff", 401),
    ):  # fmt: skip
        reader, writer = await asyncio.open_connection(*address.split(":"))
        credential = b"" if b"Authorization" in header else b"Authorization: Bearer " + token + b"\r\n"
        writer.write(
            b"PUT /api/packages/x HTTP/1.1\r\nHost: " + address.encode() + b"\r\n" + credential + header
            + b"\r\nConnection: close\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"
        )  # fmt: skip
        answer = (await reader.read()).decode()
        writer.close()
        assert answer.startswith(f"HTTP/1.1 {status} "), header
        assert "application/problem+json" in answer


async def test_header_that_cannot_be_read_is_not_logged(lab: Lab) -> None:
    host, _, port = lab.client.endpoints.functions.removeprefix("http://").partition(":")
    log = lab.state / "logs" / "functions.log"
    before = log.read_text().count("Error handling request from 127.0.0.1")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"GET /api/reports HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer Zq7canary\x08\r\nConnection: close\r\n\r\n"
    )
    answer = await reader.read()
    writer.close()

    assert b" 400 Bad Request" in answer
    await lab.logged("Error handling request from 127.0.0.1", count=before + 1)
    assert "Zq7canary" not in log.read_text()
