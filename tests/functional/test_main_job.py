"""The main job: checks are ordered over HTTP and over the queue, run as jobs, reviewed, read."""

import asyncio
from typing import Any

import pytest

from infra.local.company import Company
from infra.local.lab import Lab
from infra.local.people import candidate, samples

pytestmark = pytest.mark.asyncio(loop_scope="session")

ORDINARY = candidate("C-1001")
LISTED = candidate("C-1003")


async def test_report_ordered_over_http(lab: Lab, acme: Company) -> None:
    candidate_id = await acme.add_candidate(ORDINARY)

    reply = await acme.call("POST", "/reports", {"candidate_id": candidate_id, "package": "essential"})

    assert reply.status == 202
    assert reply.json["status"] == "pending"
    assert reply.json["source"] == "api"
    assert reply.headers["Location"] == f"/api/reports/{reply.json['id']}"
    assert int(reply.headers["Retry-After"]) > 0
    report = await lab.report(acme, reply.json["id"])
    assert (report["status"], report["result"]) == ("complete", "clear")
    assert {one["type"]: one["result"] for one in report["screenings"]} == {"ssn_trace": "clear", "watchlist": "clear"}
    assert all(one["engine_version"] and one["completed_at"] for one in report["screenings"])


async def test_report_ordered_over_the_queue(lab: Lab, globex: Company) -> None:
    candidate_id = await globex.add_candidate(ORDINARY)

    await lab.queues.send([lab.queues.system(globex).order(candidate_id, "watchlist")])

    (found,) = (await globex.must("GET", f"/reports?candidate_id={candidate_id}"))["data"]
    report = await lab.report(globex, found["id"])
    assert (report["source"], report["status"], report["result"]) == ("queue", "complete", "clear")


async def test_samples_get_what_they_are_there_to_show(lab: Lab, acme: Company) -> None:
    chosen = [one for one in samples() if set(one["expect"].values()) != {"clear"}]
    assert {word for one in chosen for word in one["expect"].values()} >= {"consider", "needs_review", "canceled"}

    async def check(sample: dict[str, Any]) -> None:
        ordered = await acme.order(await acme.add_candidate(sample["candidate"]))
        report = await lab.report(acme, ordered["id"])
        for screening in report["screenings"]:
            match sample["expect"][screening["type"]]:
                case "needs_review":
                    assert (screening["status"], screening["result"]) == ("pending", None)
                    assert screening["review_required"]
                    assert report["status"] == "paused"
                case "canceled":
                    assert (screening["status"], screening["result"]) == ("canceled", None)
                    assert screening["cancellation_reason"] == "missing_required_information"
                    assert report["includes_canceled"]
                case result:
                    assert (screening["status"], screening["result"]) == ("complete", result)

    await asyncio.gather(*map(check, chosen))


@pytest.mark.parametrize(("decision", "result"), [("confirmed", "consider"), ("dismissed", "clear")])
async def test_potential_match_is_reviewed(lab: Lab, acme: Company, decision: str, result: str) -> None:
    ordered = await acme.order(await acme.add_candidate(LISTED))
    report = await lab.report(acme, ordered["id"])
    assert (report["status"], report["result"]) == ("paused", None)
    waiting = next(one for one in report["screenings"] if one["review_required"])
    done = next(one for one in report["screenings"] if not one["review_required"])
    path, roles = f"/reports/{report['id']}/screenings/{waiting['id']}/review", ("Adjudications.ReadWrite",)

    assert (await acme.call("POST", path, {"decision": decision}, roles=("Reports.ReadWrite",))).status == 403
    assert (await acme.call("POST", path, {"decision": "perhaps"}, roles=roles)).status == 422
    other = f"/reports/{report['id']}/screenings/{done['id']}/review"
    assert (await acme.call("POST", other, {"decision": decision}, roles=roles)).status == 409
    reviewed = await acme.must("POST", path, {"decision": decision}, roles=roles)

    assert (reviewed["status"], reviewed["result"]) == ("complete", result)
    screening = next(one for one in reviewed["screenings"] if one["id"] == waiting["id"])
    assert screening["review"]["decision"] == decision
    assert screening["review"]["reviewed_by"].startswith("user:")
    assert (await acme.call("POST", path, {"decision": decision}, roles=roles)).status == 409


async def test_canceled_report_stays_canceled(lab: Lab, acme: Company) -> None:
    ordered = await acme.order(await acme.add_candidate(ORDINARY))

    canceled = await acme.must("POST", f"/reports/{ordered['id']}/cancel")

    assert (canceled["status"], canceled["result"]) == ("canceled", None)
    assert {one["cancellation_reason"] for one in canceled["screenings"]} == {"requested"}
    await lab.queues.idle(acme)
    assert (await acme.must("GET", f"/reports/{ordered['id']}")) == canceled


async def test_withdrawn_consent_cancels_what_is_pending(lab: Lab, acme: Company) -> None:
    candidate_id = await acme.add_candidate(ORDINARY)
    ordered = await acme.order(candidate_id)
    path = f"/candidates/{candidate_id}/authorizations/{ordered['authorization_id']}"

    assert (await acme.call("DELETE", path)).status == 204

    report = await lab.report(acme, ordered["id"])
    assert report["status"] == "canceled"
    assert {one["cancellation_reason"] for one in report["screenings"]} == {"candidate_withdrew_consent"}
    again = await acme.call("POST", "/reports", {"candidate_id": candidate_id, "package": "essential"})
    assert (again.status, again.json["type"]) == (409, "urn:bulkhead:problem:authorization_required")


async def test_own_package(lab: Lab, globex: Company) -> None:
    made = await globex.call(
        "PUT", "/packages/drivers", {"name": "Drivers", "screenings": ["ssn_trace"]}, headers={"If-Match": "*"}
    )
    assert made.status == 201
    assert {one["slug"] for one in (await globex.must("GET", "/packages"))["data"]} >= {
        "drivers",
        "essential",
        "watchlist",
    }

    ordered = await globex.order(await globex.add_candidate(ORDINARY), "drivers")

    report = await lab.report(globex, ordered["id"])
    assert [one["type"] for one in report["screenings"]] == ["ssn_trace"]
    assert report["status"] == "complete"
