"""`python -m shared.operations` against the running stack, as an operator uses it."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from azure.cosmos.aio import CosmosClient
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from infra.local.company import Company
from infra.local.demo.intruder import Intruder
from infra.local.lab import Lab
from infra.local.people import candidate
from shared.adapters.waiting_messages import WaitingMessages

pytestmark = pytest.mark.asyncio(loop_scope="session")

PROJECT = Path(__file__).parents[2]


async def operate(lab: Lab, *arguments: str, **settings: str) -> tuple[int, str, str]:
    """Run a command in the deployment's environment: exit code, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "shared.operations", *arguments, cwd=PROJECT,
        env=os.environ | lab.client.endpoints.env | settings,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, error = await process.communicate()
    return process.returncode or 0, out.decode(), error.decode()


async def verified(lab: Lab, company: Company) -> tuple[int, dict[str, Any]]:
    code, out, error = await operate(lab, "access-log", "verify", "--tenant", company.id, "--json")
    assert error == ""
    return code, json.loads(out)


async def test_whole_log_verifies_and_the_look_itself_is_on_record(lab: Lab) -> None:
    company = await lab.company()
    await asyncio.gather(*(company.must("GET", "/packages") for _ in range(5)))

    code, result = await verified(lab, company)

    log = (await company.must("GET", "/access_log?limit=100"))["data"]
    assert result.pop("anchors") in (0, 1)  # of one process, which writes it when it has time
    assert (code, result) == (0, {"tenant_id": company.id, "records": len(log) - 1, "flaws": []})
    (look,) = [record for record in log if record["action"] == "access_log.verify"]
    assert (look["actor"], look["object_id"], look["key_source"]) == ("service:operations", "access_log", "retrieved")


async def test_changed_and_removed_records_are_found(lab: Lab, intruder: Intruder) -> None:
    company = await lab.company()
    for _ in range(3):
        await company.must("GET", "/packages")
    records = sorted(
        (await company.must("GET", "/access_log?limit=100"))["data"], key=lambda one: (one["writer"], one["number"])
    )
    of_app = [one for one in records if one["writer"] == records[-1]["writer"]]
    daemon = await intruder.daemon(company)
    key = (await intruder.list_keys(daemon, company))["primary"]
    await daemon.close()
    endpoint = f"https://{company.account}.documents.azure.com:443/"
    async with CosmosClient(endpoint, key, transport=intruder._transport) as client:
        container = client.get_database_client("bulkhead").get_container_client("access_log")
        changed, removed = of_app[0], of_app[2]
        month = changed["time"][:7]
        item = await container.read_item(changed["id"], month)
        await container.replace_item(changed["id"], item | {"actor": "user:somebody-else"})
        await container.delete_item(removed["id"], month)

    code, result = await verified(lab, company)
    _, shown, _ = await operate(lab, "access-log", "verify", "--tenant", company.id)

    writer = changed["writer"]
    assert code == 1
    assert result["flaws"] == [
        {"writer": writer, "number": changed["number"], "what": "changed"},
        {"writer": writer, "number": removed["number"], "what": "missing"},
    ]
    assert f"changed: record {changed['number']} of writer {writer}" in shown


async def test_what_cannot_be_verified_says_why(lab: Lab) -> None:
    company = await lab.company()
    await company.must("POST", "/tenant/lock")
    locked, unknown, unset = await asyncio.gather(
        operate(lab, "access-log", "verify", "--tenant", company.id),
        operate(lab, "access-log", "verify", "--tenant", "ten_x"),
        operate(lab, "access-log", "verify", "--tenant", "ten_x", BULKHEAD_VAULT_URL="", BULKHEAD_PLANE="none"),
    )
    assert [one[0] for one in (locked, unknown, unset)] == [2, 2, 2]
    assert locked[2].startswith("tenant_locked: ")
    assert unknown[2].startswith("not_found: ")
    assert "BULKHEAD_VAULT_URL is missing; BULKHEAD_PLANE must be" in unset[2] or "BULKHEAD_PLANE must be" in unset[2]


async def test_rejected_order_is_read_and_sent_again(lab: Lab) -> None:
    company = await Company.found(lab.client, f"late-{os.getpid()}", "secret")
    system = lab.queues.system(company)
    order = system.order(await company.add_candidate(candidate("C-1001")), "watchlist")
    await lab.queues.send([order])  # its key is not registered yet

    async with service_bus(lab) as bus:
        waiting = await WaitingMessages(bus).all("check-requests-rejected")
    (found,) = [one for one in waiting if one.body == order]
    (_, listed, _), (code, read, _) = await asyncio.gather(
        operate(lab, "messages", "list", "check-requests-rejected", "--json"),
        operate(lab, "messages", "read", "check-requests-rejected", str(found.number)),
    )
    assert [(one["number"], one["reason"]) for one in json.loads(listed)["messages"] if "body" not in one] == [
        (one.number, one.reason) for one in waiting
    ]
    assert (code, found.reason) == (0, "unknown_key")
    assert f"body: {order}" in read
    await system.register_key(lab.client)
    code, said, _ = await operate(lab, "messages", "send-again", "check-requests-rejected", str(found.number))

    assert (code, said.split()) == (0, [str(found.number), "sent", "again"])
    (report,) = await lab.all_reports(company, 1)
    assert report["source"] == "queue"


async def test_dead_letter_waits_and_is_sent_again(lab: Lab) -> None:
    since = await lab.now()
    abandoned = {"service": "service_bus", "operation": "abandon", "target": "screenings"}
    async with service_bus(lab) as bus:
        async with bus.get_queue_sender("screenings") as sender:
            for _ in range(2):  # of which one is taken
                await sender.send_messages(ServiceBusMessage(b"no job", session_id="broken-1", message_id="scr_1-1"))
        await lab.seen(since, count=10, **abandoned)
        places = WaitingMessages(bus)

        (dead,) = await places.all("screenings")
        sent = await places.send_again("screenings", [dead.number])

        assert (dead.reason, dead.deliveries, dead.body) == ("MaxDeliveryCountExceeded", 10, "no job")
        assert sent == {dead.number}
        await lab.seen(since, count=11, **abandoned)  # it is tried again, as broken as ever


def service_bus(lab: Lab) -> ServiceBusClient:
    return ServiceBusClient.from_connection_string(lab.client.endpoints.service_bus_connection_string)
