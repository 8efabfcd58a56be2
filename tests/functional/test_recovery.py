"""The app's process is killed at the worst moments: what was accepted is finished, and nothing is made twice."""

import asyncio
from typing import Any

import aiohttp
import pytest

from infra.local.company import Company
from infra.local.lab import Lab
from infra.local.people import candidate
from infra.local.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

ORDINARY = candidate("C-1001")


async def written(lab: Lab, since: int, company: Company) -> list[dict[str, Any]]:
    """Outcomes of screenings written into the company's reports."""
    entries, _ = await lab.client.journal(since)
    reports = f"{company.account}/dbs/bulkhead/colls/reports/docs/"
    return [
        one for one in entries
        if one["operation"] == "replace_item" and one["status"] == 200 and one["target"].startswith(reports)
    ]  # fmt: skip


async def test_killed_again_and_again_while_many_reports_are_in_flight(lab: Lab) -> None:
    company = await lab.company()
    candidates = [await company.add_candidate(ORDINARY) for _ in range(3)]
    since = await lab.now()
    async with lab.weather(latency="azure", lock_seconds=2):
        orders = [company.order(candidates[number % 3], key=f"order-{number}") for number in range(12)]
        accepted = {report["id"] for report in await asyncio.gather(*orders)}
        messages = [lab.queues.system(company).order(candidates[0], "essential") for _ in range(3)]
        await lab.queues.put(messages)
        for part in (4, 14):
            target = f"{company.account}/dbs/bulkhead/colls/reports"
            await lab.seen(since, count=part, operation="replace_item", status=200, target=target)
            await lab.kill_app()
        reports = await lab.all_reports(company, 15)
        await lab.queues.idle(company)

    assert len(reports) == 15
    assert accepted <= {report["id"] for report in reports}
    assert {(report["status"], report["result"]) for report in reports} == {("complete", "clear")}
    outcomes = await written(lab, since, company)
    assert sorted(one["target"].rpartition("/")[2] for one in outcomes) == sorted(
        report["id"] for report in reports for _ in report["screenings"]
    ), "each screening's outcome is written once"


async def test_killed_between_enqueue_and_write_of_an_http_order(lab: Lab) -> None:
    company = await lab.company()
    candidate_id = await company.add_candidate(ORDINARY)

    async with lab.weather(_on_the_way(company, drop="request")):
        order = asyncio.create_task(company.order(candidate_id))
        await lab.struck()
        await lab.kill_app()
        with pytest.raises(aiohttp.ClientError):
            await order

    # It was not accepted, and it left nothing but jobs that find no report. The caller orders again.
    assert await company.reports() == []
    ordered = await company.order(candidate_id)
    assert (await lab.report(company, ordered["id"]))["status"] == "complete"
    assert [report["id"] for report in await company.reports()] == [ordered["id"]]


@pytest.mark.parametrize("fate", [{"drop": "request"}, {}], ids=["lost", "written"])
async def test_killed_in_the_middle_of_an_order_that_is_sent_again_with_its_key(lab: Lab, fate: dict[str, Any]) -> None:
    company = await lab.company()
    candidate_id = await company.add_candidate(ORDINARY)
    since = await lab.now()

    async with lab.weather(_on_the_way(company, **fate)):
        order = asyncio.create_task(company.order(candidate_id, key="k"))
        await lab.struck()
        await lab.kill_app()
        with pytest.raises(aiohttp.ClientError):
            await order

        async def look() -> dict[str, Any] | None:
            body = {"candidate_id": candidate_id, "package": "essential"}
            reply = await company.call("POST", "/reports", body, headers={"Idempotency-Key": "k"})
            assert reply.status in (202, 409)
            return reply.json if reply.status == 202 else None

        ordered = await until(look, 20)

    assert (await lab.report(company, ordered["id"]))["status"] == "complete"
    assert [report["id"] for report in await company.reports()] == [ordered["id"]]
    assert len(await written(lab, since, company)) == len(ordered["screenings"])


async def test_killed_after_the_write_before_the_answer(lab: Lab) -> None:
    company = await lab.company()
    candidate_id = await company.add_candidate(ORDINARY)

    async with lab.weather(_on_the_way(company)):  # the write arrives although its sender is gone
        order = asyncio.create_task(company.order(candidate_id))
        await lab.struck()
        await lab.kill_app()
        with pytest.raises(aiohttp.ClientError):
            await order
        (report,) = await lab.all_reports(company, 1)

    assert report["status"] == "complete"


async def test_killed_between_enqueue_and_write_of_a_queued_order(lab: Lab) -> None:
    company = await lab.company()
    candidate_id = await company.add_candidate(ORDINARY)
    since = await lab.now()

    async with lab.weather(_on_the_way(company, drop="request"), lock_seconds=2):
        await lab.queues.put([lab.queues.system(company).order(candidate_id, "essential")])
        await lab.struck()
        await lab.kill_app()
        (report,) = await lab.all_reports(company, 1)
        await lab.queues.idle(company)

    assert (report["status"], report["source"]) == ("complete", "queue")
    assert len(await company.reports()) == 1
    assert len(await written(lab, since, company)) == len(report["screenings"])


def _on_the_way(company: Company, **more: Any) -> dict[str, Any]:
    """The first report is held on its way to the account, long enough to kill its sender."""
    target = f"{company.account}/dbs/bulkhead/colls/reports"
    return {"service": "cosmos", "operation": "create_item", "target": target, "delay_ms": 800, "times": 1, **more}
