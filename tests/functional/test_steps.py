"""The five steps of an invocation, as Azure sees them, and how often each is taken.

Besides the steps there are first-time probes of the SDKs, once for each process: Entra's signing keys; a token of the
managed identity for each resource; Cosmos DB's account, and, for each container, its properties (and its partition key
ranges, when it is first queried).
"""

import asyncio
from typing import Any

import pytest

from infra.local.company import Company
from infra.local.journal import step
from infra.local.lab import Lab
from infra.local.people import candidate

pytestmark = pytest.mark.asyncio(loop_scope="session")

ORDINARY = candidate("C-1001")
PROBES = {
    ("entra", "jwks"),
    ("managed_identity", "issue_token"),
    ("cosmos", "read_account"),
    ("cosmos", "read_collection"),
    ("cosmos", "list_pk_ranges"),
}
STEPS = ["get_secret", "issue_token", "list_keys"]
READ_BACK = {("resource_manager", name) for name in ("get_application", "get_subscription", "list_accounts")}
"""What registering a tenant reads with the control plane's identity."""


async def of_request(lab: Lab, request_id: str) -> list[dict[str, Any]]:
    """What an invocation did to Azure, without its use of the publisher's registry."""
    entries, _ = await lab.client.journal()
    return [
        one
        for one in entries
        if one["correlation_id"] == request_id and not one["target"].startswith("bulkhead-registry")
    ]


def steps(entries: list[dict[str, Any]]) -> list[str]:
    return [one["operation"] for one in entries if step(one) in ("1", "2", "3+4")]


async def test_access_record_whose_answer_is_lost_is_written_once(lab: Lab) -> None:
    company = await lab.company()
    candidate_id = await company.add_candidate(ORDINARY)
    lost = {"service": "cosmos", "operation": "batch", "target": company.account, "drop": "answer", "times": 1}

    async with lab.weather(lost):
        assert (await company.call("GET", f"/candidates/{candidate_id}")).status == 200
        assert (await lab.client.control("GET", "/faults"))["rules"][0]["times"] == 0

    log = (await company.must("GET", "/access_log?limit=100"))["data"]
    assert sum(one["action"] == "candidates.read" for one in log) == 1


async def test_passing_failure_of_the_account_is_not_noticed(lab: Lab) -> None:
    company = await lab.company()
    candidate_id = await company.add_candidate(ORDINARY)
    for operation in ("batch", "read_item"):
        fails = {"service": "cosmos", "operation": operation, "target": company.account, "status": 503, "times": 2}
        async with lab.weather(fails):
            assert (await company.call("GET", f"/candidates/{candidate_id}")).status == 200
            assert (await lab.client.control("GET", "/faults"))["rules"][0]["times"] == 0


async def test_warm_invocation_does_exactly_the_steps(lab: Lab) -> None:
    companies = [await lab.company("secret"), await lab.company("certificate")]
    async with lab.weather(latency="azure"):
        await asyncio.gather(*(_exactly_the_steps(lab, company) for company in companies))


async def _exactly_the_steps(lab: Lab, company: Company) -> None:
    ordered = await company.order(await company.add_candidate(ORDINARY))
    await lab.queues.idle(company)  # a job beside what follows would share its steps

    report = await company.call("GET", f"/reports/{ordered['id']}")

    entries = await of_request(lab, report.headers["X-Request-Id"])

    assert [(one["service"], one["operation"], one["status"]) for one in entries] == [
        ("key_vault", "get_secret", 200),  # 1
        ("entra", "issue_token", 200),  # 2
        ("resource_manager", "list_keys", 200),  # 3 and 4
        ("cosmos", "batch", 200),  # the access record, before anything else
        ("cosmos", "read_item", 200),  # 5
    ]
    identity, daemon, daemon_again, writing, reading = (one["principal"] for one in entries)
    assert identity == "identity:bulkhead-data"
    assert daemon == daemon_again == f"app:{company.registered['daemon_client_id']}"
    assert (writing, reading) == ("key:primary", "key:primaryReadonly")
    assert [one["target"].partition("/")[0] for one in entries[3:]] == [company.account] * 2


async def test_every_invocation_takes_each_step_once(lab: Lab) -> None:
    company = await lab.company()
    async with lab.weather(latency="azure"):
        over_http = await company.add_candidate(ORDINARY)
        await company.order(over_http)
        await lab.queues.idle(company)  # a job beside what follows would share its steps
        await lab.queues.send([lab.queues.system(company).order(over_http, "watchlist")])
        await lab.queues.idle(company)  # a job beside what follows would share its steps
        log = (await company.must("GET", "/access_log?limit=100"))["data"]

    actions = [record["action"] for record in log]
    assert sorted(actions) == sorted([
        "tenants.register", "candidates.write", "authorizations.write", "reports.write", "screenings.run",
        "screenings.run", "reports.write", "screenings.run", "access_log.read",
    ])  # fmt: skip
    for record in log:
        entries = await of_request(lab, record["request_id"])
        assert steps(entries) == STEPS, record["action"]
        others = {
            (one["service"], one["operation"]) for one in entries if not step(one) and one["service"] != "service_bus"
        }
        assert others <= (PROBES | READ_BACK if record["action"] == "tenants.register" else PROBES)


async def test_access_is_recorded_before_the_key_is_used(lab: Lab, acme: Company) -> None:
    broken = {"service": "cosmos", "operation": "batch", "target": f"{acme.account}/dbs/bulkhead/colls/access_log",
              "status": 503}  # fmt: skip
    candidate_id = await acme.add_candidate(ORDINARY)

    async with lab.weather(broken):
        reply = await acme.call("GET", f"/candidates/{candidate_id}")

    assert reply.status == 503
    assert int(reply.headers["Retry-After"]) > 0
    entries = await of_request(lab, reply.headers["X-Request-Id"])
    assert not [one for one in entries if "/colls/candidates" in one["target"]]


async def test_key_regenerated_while_a_job_holds_it(lab: Lab) -> None:
    company = await lab.company()
    reports = f"{company.account}/dbs/bulkhead/colls/reports"
    held = {"service": "cosmos", "operation": "replace_item", "target": reports, "delay_ms": 700, "times": 1}
    candidate_id = await company.add_candidate(ORDINARY)
    since = await lab.now()

    async with lab.weather(held):
        ordered = await company.order(candidate_id, "watchlist")
        await lab.seen(
            since, operation="read_item", target=f"{company.account}/dbs/bulkhead/colls/candidates/docs/auth_"
        )
        await company.regenerate("primary", "primaryReadonly")
        await lab.queues.idle(company)  # a job beside what follows would share its steps

    assert (await lab.report(company, ordered["id"]))["status"] == "complete"
    (refused,) = await lab.seen(since, service="cosmos", status=401, target=reports)
    entries = await of_request(lab, refused["correlation_id"])
    assert steps(entries) == STEPS * 2
    (written,) = [one for one in entries if one["operation"] == "replace_item" and one["status"] == 200]
    assert written["principal"] == "key:primary"
    assert written["seq"] > refused["seq"]


async def test_keys_regenerated_between_invocations(lab: Lab) -> None:
    company = await lab.company()
    candidate_id = await company.add_candidate(ORDINARY)

    for kinds in (("primaryReadonly",), ("primary",), ("secondary", "secondaryReadonly", "primary", "primaryReadonly")):
        await company.regenerate(*kinds)
        since = await lab.now()
        await company.must("GET", f"/candidates/{candidate_id}")
        entries, _ = await lab.client.journal(since)
        assert not [one for one in entries if one["status"] == 401], kinds
