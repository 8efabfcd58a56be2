"""Secrets and personal data stay where they belong; the search for them is shown to find them."""

import asyncio

import pytest

from infra.local import leaks
from infra.local.company import Company
from infra.local.lab import Lab
from infra.local.people import samples

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_nothing_leaks(lab: Lab, acme: Company, globex: Company) -> None:
    """Also of what the tests before this one did, in whatever order."""
    people = [sample["candidate"] for sample in samples()]
    ids = await asyncio.gather(*map(acme.add_candidate, people))
    ordered = [await acme.order(candidate_id) for candidate_id in ids]
    for report in ordered:
        await lab.report(acme, report["id"])
    await globex.regenerate("primary", "primaryReadonly")
    await globex.order(await globex.add_candidate(people[0]), key=people[0]["email"])
    # what goes wrong must be as silent
    await lab.queues.send([lab.queues.system(acme).order(people[0]["email"], "essential")])
    await lab.client.api("POST", "/candidates", await lab.client.token(acme.name, (), key="forged"), people[0])
    await acme.call("POST", "/candidates", people[0] | {"ssn": people[1]["ssn"] + "0"})
    broken = {"service": "cosmos", "target": acme.account, "status": 400}
    async with lab.weather(broken):
        await acme.call("POST", "/candidates", people[0])

    secrets = list(leaks.secrets((await lab.client.control("GET", "/secrets"))["secrets"]))
    personal = [piece for person in people for piece in leaks.personal_data(person)]
    sent = (await lab.client.control("GET", "/messages"))["messages"]
    logs = list(leaks.logs(lab.state))
    messages = [(message["queue"], message["text"]) for message in sent]
    # a tenant's own message may say what it likes; it is moved as it is
    of_ours = [message for message in messages if not message[0].startswith("check-requests")]
    registry = list(leaks.stored_items(lab.state, account="bulkhead-registry"))
    answers = [("answer", text) for text in lab.client.answers]

    for texts in (logs, messages, list(leaks.stored_items(lab.state)), answers):
        assert texts
        assert leaks.scan(texts, secrets).leaks == ()
    for texts in (logs, of_ours, registry):
        assert texts
        assert leaks.scan(texts, personal).leaks == ()


async def test_search_finds_what_is_there(lab: Lab) -> None:
    company = await lab.company()
    person = samples()[1]["candidate"]
    await company.add_candidate(person)
    issued = (await lab.client.control("GET", "/secrets"))["secrets"]
    kinds = {secret["kind"] for secret in issued}
    assert kinds >= {"account_key", "daemon_secret", "private_key", "access_token", "service_bus_key"}

    for secret in issued:
        for _, piece in leaks.secrets([secret]):
            assert leaks.scan([("here", f"before {piece} after")], leaks.secrets([secret])).leaks
    found = leaks.scan(leaks.stored_items(lab.state, account=company.account), leaks.personal_data(person)).leaks
    assert {leak.kind for leak in found} == {"name", "ssn", "email", "phone", "address"}
