"""The routes, each for what it does; what all of them share is in test_serving.py."""

import json
import logging
from typing import Any

import pytest

from shared.core.errors import BulkheadError, Kind
from shared.core.ids import is_id
from tests.fakes import CONTOSO_HR, FABRIKAM, FABRIKAM_HR, PUBLISHER
from tests.stage import HIT, FakeEngine
from tests.world import OPERATE

PERSON = {"first_name": "Ada", "last_name": "Ferrero", "ssn": "219-09-9998", "dob": "1990-02-28"}
TEXT = {"version": "2026-01", "sha256": "0" * 64}
CONSENT = {
    "permissible_purpose": "employment", "employer_certification": True, "disclosure": TEXT, "authorization": TEXT,
    "signed_at": "2026-11-23T10:00:00Z",
}  # fmt: skip


async def candidate(world: Any) -> Any:
    return (await world.call("POST", "candidates", PERSON)).json["id"]


async def authorized(world: Any) -> Any:
    candidate_id = await candidate(world)
    made = await world.call("POST", f"candidates/{candidate_id}/authorizations", CONSENT)
    return candidate_id, made.json["id"]


async def report(world: Any, package: Any = "essential") -> Any:
    candidate_id, _ = await authorized(world)
    return await world.call("POST", "reports", {"candidate_id": candidate_id, "package": package})


async def run_jobs(world: Any) -> None:
    world.clock.advance(1)
    jobs, world.screenings.jobs = world.screenings.jobs, []
    for job in jobs:
        body = {name: getattr(job, name) for name in job.__struct_fields__}
        await world.deliver("run_screening", json.dumps(body))


# --- candidates ---


async def test_a_candidate_from_creation_to_erasure(world: Any) -> None:
    made = await world.call("POST", "candidates", PERSON)
    assert (made.status, made.headers["Location"]) == (201, f"/api/candidates/{made.json['id']}")
    assert is_id("cand", made.json["id"])
    assert made.json["ssn"] == "XXX-XX-9998"
    path = f"candidates/{made.json['id']}"
    shown = await world.call("GET", path)
    assert shown.json == made.json
    patched = await world.call("PATCH", path, {"last_name": "Rossi"}, If_Match=shown.headers["ETag"])
    assert (patched.status, patched.json["last_name"]) == (200, "Rossi")
    assert patched.headers["ETag"] != shown.headers["ETag"]
    assert (await world.call("PATCH", path, {"last_name": "X"}, If_Match=shown.headers["ETag"])).status == 412
    assert (await world.call("PATCH", path, {"last_name": "X"})).status == 428
    assert (await world.call("PATCH", path, {"first_name": "Eva"}, If_Match="*")).json["first_name"] == "Eva"
    gone = await world.call("DELETE", path)
    assert (gone.status, gone.text) == (204, "")
    assert (await world.call("GET", path)).status == 404
    assert (await world.call("DELETE", path)).status == 404


async def test_erasure_reaches_the_answer_kept_for_an_idempotency_key(world: Any) -> None:
    made = await world.call("POST", "candidates", PERSON, Idempotency_Key="k")
    other = await world.call("POST", "candidates", PERSON, Idempotency_Key="other")
    assert (await world.call("DELETE", f"candidates/{made.json['id']}")).status == 204
    (kept,) = world.account(CONTOSO_HR).all("idempotency")
    assert kept["object_id"] == other.json["id"]


async def test_an_erasure_that_fails_midway_can_be_sent_again(world: Any) -> None:
    made = await world.call("POST", "candidates", PERSON, Idempotency_Key="k")
    for failing in range(4):
        world.account(CONTOSO_HR).failures = [*[None] * failing, BulkheadError(Kind.UNAVAILABLE, "x", "x")]
        assert (await world.call("DELETE", f"candidates/{made.json['id']}")).status == 503
    assert (await world.call("DELETE", f"candidates/{made.json['id']}")).status == 204
    assert "Ferrero" not in str([world.account(CONTOSO_HR).all(one) for one in ("candidates", "idempotency")])


async def test_faults_of_a_candidate_are_named(world: Any) -> None:
    answer = await world.call("POST", "candidates", {"first_name": "", "ssn": "canary"})
    assert answer.status == 422
    assert {one["pointer"] for one in answer.json["errors"]} == {"/first_name", "/last_name", "/ssn"}
    assert "canary" not in answer.text
    assert (await world.call("POST", "candidates", raw=b"{")).status == 400
    assert (await world.call("POST", "candidates", raw=b"x", Content_Type="text/plain")).status == 415
    assert (await world.call("POST", "candidates", raw=b"x" * 300_000)).status == 413


async def test_the_same_request_again_gives_the_first_answer(world: Any) -> None:
    first = await world.call("POST", "candidates", PERSON, Idempotency_Key="k1")
    again = await world.call("POST", "candidates", PERSON, Idempotency_Key='"k1"')
    assert (again.status, again.text, again.headers["Location"]) == (201, first.text, first.headers["Location"])
    assert again.headers["X-Request-Id"] != first.headers["X-Request-Id"]
    other = await world.call("POST", "candidates", PERSON | {"last_name": "X"}, Idempotency_Key="k1")
    assert (other.status, other.code) == (422, "idempotency_key_reused")
    foreign = await world.call("POST", "candidates", PERSON, Idempotency_Key="k1", directory=FABRIKAM)
    assert foreign.json["id"] != first.json["id"]
    assert len(world.account(CONTOSO_HR).all("candidates")) == 1


async def test_consent_and_its_withdrawal(world: Any) -> None:
    candidate_id, authorization_id = await authorized(world)
    ordered = await world.call("POST", "reports", {"candidate_id": candidate_id, "package": "watchlist"})
    path = f"candidates/{candidate_id}/authorizations/{authorization_id}"
    for _ in range(2):
        assert (await world.call("DELETE", path)).status == 204
    shown = await world.call("GET", f"reports/{ordered.json['id']}")
    assert shown.json["status"] == "canceled"
    refused = await world.call("POST", "reports", {"candidate_id": candidate_id, "package": "watchlist"})
    assert (refused.status, refused.code) == (409, "authorization_required")


# --- packages ---


async def test_packages(world: Any) -> None:
    built_in = await world.call("GET", "packages")
    assert [one["slug"] for one in built_in.json["data"]] == ["essential", "watchlist"]
    assert "ETag" not in (await world.call("GET", "packages/essential")).headers
    data = {"name": "Ours", "screenings": ["watchlist"]}
    made = await world.call("PUT", "packages/ours", data, If_Match="*")
    assert made.status == 201
    assert (await world.call("PUT", "packages/ours", data, If_Match="*")).status == 412
    assert (await world.call("PUT", "packages/ours", data, If_Match=made.headers["ETag"])).status == 200
    assert (await world.call("PUT", "packages/Ours!", data, If_Match="*")).status == 422
    assert (await world.call("PUT", "packages/ours", data)).status == 428
    assert (await world.call("GET", "packages/unknown")).status == 404
    assert (await world.call("GET", "packages/ours", directory=FABRIKAM)).status == 404


# --- reports ---


async def test_a_report_from_order_to_result(world: Any) -> None:
    ordered = await report(world)
    assert (ordered.status, ordered.headers["Retry-After"]) == (202, "2")
    assert ordered.headers["Location"] == f"/api/reports/{ordered.json['id']}"
    assert ordered.json["status"] == "pending"
    await run_jobs(world)
    shown = await world.call("GET", f"reports/{ordered.json['id']}")
    assert (shown.json["status"], shown.json["result"]) == ("complete", "clear")
    assert "ETag" in shown.headers
    assert (await world.call("POST", f"reports/{ordered.json['id']}/cancel")).status == 409


async def test_a_potential_match_waits_for_a_person(world: Any) -> None:
    world.engines["watchlist"] = FakeEngine(HIT)
    ordered = await report(world, "watchlist")
    await run_jobs(world)
    path = f"reports/{ordered.json['id']}"
    shown = await world.call("GET", path)
    assert (shown.json["status"], shown.json["result"]) == ("paused", None)
    review = f"{path}/screenings/{shown.json['screenings'][0]['id']}/review"
    reader = await world.call("POST", review, {"decision": "dismissed"}, roles="Reports.ReadWrite")
    assert reader.status == 403
    reviewed = await world.call("POST", review, {"decision": "dismissed"}, roles="Adjudications.ReadWrite")
    assert (reviewed.json["status"], reviewed.json["result"]) == ("complete", "clear")
    assert (await world.call("POST", review, {"decision": "confirmed"})).code == "no_review_required"
    assert (await world.call("POST", f"{path}/screenings/scr_x/review", {"decision": "dismissed"})).status == 404


async def test_lists_of_reports(world: Any) -> None:
    first = (await report(world)).json["id"]
    world.clock.advance(1)
    second = (await report(world)).json["id"]
    await world.call("POST", f"reports/{first}/cancel")
    assert [one["id"] for one in (await world.call("GET", "reports")).json["data"]] == [second, first]
    assert [one["id"] for one in (await world.call("GET", "reports?status=canceled")).json["data"]] == [first]
    page = (await world.call("GET", "reports?limit=1")).json
    assert [one["id"] for one in page["data"]] == [second]
    following = (await world.call("GET", f"reports?limit=1&cursor={page['next']}")).json
    assert ([one["id"] for one in following["data"]], following["has_more"], following["next"]) == (
        [first],
        False,
        None,
    )
    other_filter = await world.call("GET", f"reports?limit=1&status=pending&cursor={page['next']}")
    assert other_filter.code == "invalid_cursor"
    assert (await world.call("GET", "reports?status=canary")).code == "invalid_status"
    assert (await world.call("GET", "reports?limit=0")).code == "invalid_limit"
    assert (await world.call("GET", "reports", directory=FABRIKAM)).json["data"] == []


async def test_an_order_repeated_with_its_key_makes_one_report(world: Any) -> None:
    candidate_id, _ = await authorized(world)
    order = {"candidate_id": candidate_id, "package": "essential"}
    answers = [await world.call("POST", "reports", order, Idempotency_Key="k") for _ in range(3)]
    assert len({answer.json["id"] for answer in answers}) == 1
    assert len(world.account(CONTOSO_HR).all("reports")) == 1
    assert len(world.screenings.jobs) == 2


async def test_jobs_and_the_registry_hold_no_personal_data(world: Any) -> None:
    await report(world)
    kept = str(world.screenings.jobs) + str(world.registry_documents.all("tenants"))
    for personal in ("Ada", "Ferrero", "9998", "1990-02-28"):
        assert personal not in kept


# --- the tenant's own settings ---


async def test_the_tenants_own_settings(world: Any) -> None:
    shown = await world.call("GET", "tenant")
    assert shown.json["cosmos_account"] == CONTOSO_HR.account.resource_id
    etag = shown.headers["ETag"]
    assert (await world.call("PATCH", "tenant", {"allowed_client_ids": []})).status == 428
    assert (await world.call("PATCH", "tenant", {"status": "active"}, If_Match=etag)).status == 422
    patched = await world.call("PATCH", "tenant", {"allowed_client_ids": []}, If_Match=etag)
    assert patched.status == 200
    assert (await world.call("PATCH", "tenant", {"allowed_client_ids": []}, If_Match=etag)).status == 412
    assert (await world.call("PATCH", "tenant", {"allowed_client_ids": []}, If_Match="*")).status == 200
    assert (await world.call("PUT", "tenant/signing_keys", {"keys": []}, If_Match="*")).status == 200
    bad = {"keys": [{"kid": "k", "kty": "OKP", "alg": "EdDSA", "crv": "Ed25519", "x": "AAAA"}]}
    refused = await world.call("PUT", "tenant/signing_keys", bad, If_Match="*")
    assert [one["pointer"] for one in refused.json["errors"]] == ["/keys/0"]
    private = bad["keys"][0] | {"x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "x5t": "passed over"}
    assert (await world.call("PUT", "tenant/signing_keys", {"keys": [private]}, If_Match="*")).status == 200
    refused = await world.call("PUT", "tenant/signing_keys", {"keys": [private | {"d": "canary"}]}, If_Match="*")
    assert [one["pointer"] for one in refused.json["errors"]] == ["/keys/0/d"]
    for bits in (2040, 8300, 600_000):  # what is longer only costs time, at each verification
        rsa = {"kid": "k", "kty": "RSA", "alg": "RS256", "n": "_" * (bits // 6), "e": "AQAB"}
        refused = await world.call("PUT", "tenant/signing_keys", {"keys": [rsa]}, If_Match="*")
        assert refused.json["errors"][0]["pointer"].startswith("/keys/0"), bits


async def test_the_access_log_is_the_tenants_own(world: Any) -> None:
    answer = await world.call("GET", "access_log")
    assert (answer.status, answer.json["data"]) == (200, [])
    assert (await world.call("GET", "access_log", roles="Reports.ReadWrite")).status == 403


# --- the publisher ---


async def publisher(world: Any, method: Any, path: Any, body: Any = None, **headers: Any) -> Any:
    return await world.call(method, path, body, roles=OPERATE, directory=PUBLISHER, **headers)


async def test_the_publishers_list_of_tenants(world: Any) -> None:
    listed = (await publisher(world, "GET", "tenants")).json
    assert {one["id"] for one in listed["data"]} == {CONTOSO_HR.tenant_id, FABRIKAM_HR.tenant_id}
    found = await publisher(world, "GET", f"tenants?application_id={CONTOSO_HR.application_id.upper()}")
    assert [one["id"] for one in found.json["data"]] == [CONTOSO_HR.tenant_id]
    shown = await publisher(world, "GET", f"tenants/{CONTOSO_HR.tenant_id}")
    assert shown.json == found.json["data"][0]
    assert (await publisher(world, "GET", "tenants/ten_x")).status == 404
    assert (await publisher(world, "POST", "tenants/ten_x/lock")).status == 404


REGISTRATION = {
    "name": "Contoso Retail",
    "application_id": (
        "/subscriptions/50000000-0000-4000-8000-000000000001/resourceGroups/apps/providers"
        "/Microsoft.Solutions/applications/contoso2"
    ),
    "daemon_client_id": "da000000-0000-4000-8000-000000000002",
    "credential": "secret",
    "credential_name": "daemon-retail",
}


async def test_a_tenant_is_registered_by_hand(world: Any) -> None:
    made = await publisher(world, "POST", "tenants", REGISTRATION)
    assert (made.status, made.headers["Location"]) == (201, f"/api/tenants/{made.json['id']}")
    assert "ETag" in made.headers
    assert (await publisher(world, "POST", "tenants", REGISTRATION)).code == "already_registered"
    refused = await publisher(world, "POST", "tenants", REGISTRATION | {"directory_id": FABRIKAM})
    assert refused.status == 422


@pytest.mark.parametrize("field", ["client_secret", "value", "account", "endpoint"])
async def test_a_registration_takes_no_secret_and_no_account(world: Any, field: Any) -> None:
    answer = await publisher(world, "POST", "tenants", REGISTRATION | {field: "canary"})
    assert answer.status == 422
    assert "canary" not in answer.text


async def test_who_changed_a_tenant_is_noted(world: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    path = f"tenants/{CONTOSO_HR.tenant_id}"
    change = {"credential": "certificate", "credential_name": "daemon-2"}

    for method, rest, body in (("PATCH", "", change), ("POST", "/lock", None), ("POST", "/unlock", None)):
        assert (await publisher(world, method, path + rest, body, If_Match="*")).status == 200
    registered = (await publisher(world, "POST", "tenants", REGISTRATION)).json["id"]
    of_contoso = {"Bulkhead_Tenant": CONTOSO_HR.tenant_id}
    assert (await world.call("PATCH", "tenant", {"allowed_client_ids": []}, If_Match="*", **of_contoso)).status == 200
    assert (await world.call("PUT", "tenant/signing_keys", {"keys": []}, If_Match="*", **of_contoso)).status == 200
    assert (await world.call("POST", "tenant/lock", **of_contoso)).status == 200

    told = [json.loads(line) for line in caplog.messages]
    changes = [one for one in told if one["event"] == "tenant_changed"]
    assert [one["action"] for one in changes] == [
        "change_daemon", "lock", "unlock", "register", "patch_settings", "set_signing_keys", "lock",
    ]  # fmt: skip
    assert [one["tenant_id"] for one in changes] == [CONTOSO_HR.tenant_id] * 3 + [registered] + [
        CONTOSO_HR.tenant_id
    ] * 3
    assert {one["actor"] for one in changes} == {"user:0d000000-0000-4000-8000-000000000001"}
    assert (await publisher(world, "GET", path)).json["credential_name"] == "daemon-2"


async def test_packages_are_listed_page_by_page(world: Any) -> None:
    for slug in ("a", "z"):
        await world.call("PUT", f"packages/{slug}", {"name": slug, "screenings": ["watchlist"]}, If_Match="*")
    seen, cursor = [], ""
    for _ in range(2):
        page = (await world.call("GET", f"packages?limit=2{cursor}")).json
        seen += [one["slug"] for one in page["data"]]
        cursor = f"&cursor={page['next']}"
    assert (seen, page["has_more"]) == (["a", "essential", "watchlist", "z"], False)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "candidates/219-09-9998", None),
        ("PATCH", "candidates/Ada%20Ferrero", {}),
        ("DELETE", "candidates/rep_01arz3ndektsv4rrffq69g5fav", None),
        ("POST", "candidates/Ada%20Ferrero/authorizations", {}),
        ("DELETE", "candidates/Ada%20Ferrero/authorizations/x", None),
        ("GET", "packages/Ada%20Ferrero", None),
        ("GET", "reports/Ada%20Ferrero", None),
        ("POST", "reports/Ada%20Ferrero/cancel", None),
        ("POST", "reports/rep_01arz3ndektsv4rrffq69g5fav/screenings/Ada/review", {"decision": "confirmed"}),
    ],
)
async def test_what_cannot_be_an_id_gets_into_no_access_record(world: Any, method: str, path: str, body: Any) -> None:
    answer = await world.call(method, path, body, If_Match="*")
    assert (answer.status, answer.code) == (404, "not_found")
    assert world.broker.leases == []
