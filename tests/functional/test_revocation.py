"""What one process changes, in the others: what is forbidden is so within 5 seconds, what is allowed at once."""

import asyncio
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from infra.local import endpoints
from infra.local.client import Client, Reply
from infra.local.company import Company
from infra.local.endpoints import Endpoints
from infra.local.lab import Lab
from infra.local.people import candidate
from infra.local.stack import choose_ports
from infra.local.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

PROJECT = Path(__file__).parents[2]
WITHIN = 5.0  # seconds: what is promised


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Endpoints]]:
    state = tmp_path_factory.mktemp("two")
    command = [sys.executable, "-m", "infra.local", "up", "--state", str(state), "--json", "--instances", "2"]
    command += ["--base-port", str(choose_ports(2).first)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE) as process:  # noqa: S603 - our own command
        assert process.stdout is not None
        try:
            assert process.stdout.readline(), "the stack did not start"
            yield state, endpoints.load(state)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def lab(two_processes: tuple[Path, Endpoints]) -> AsyncIterator[Lab]:
    state, found = two_processes
    async with Client(found) as client:
        yield Lab(client, state)


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def at_each(lab: Lab) -> AsyncIterator[list[Client]]:
    """A client of each process by itself."""
    found = lab.client.endpoints
    clients = [Client(replace(found, functions=url)) for url in found.apps["data"]]
    yield clients
    await asyncio.gather(*(client.__aexit__(None, None, None) for client in clients))


async def test_lock_drops_live_leases_and_refuses_new_ones_everywhere(lab: Lab, at_each: list[Client]) -> None:
    company = await lab.company()
    candidate_id = await company.add_candidate(candidate("C-1001"))
    token = await lab.client.token(company.name, ("Tenant.Admin",))
    operator = await lab.client.token(roles=("Publisher.Operate",))
    order = {"candidate_id": candidate_id, "package": "watchlist"}
    slow = {"service": "cosmos", "target": company.account, "delay_ms": 1_000}
    since = await lab.now()

    async with lab.weather(slow):
        running = [asyncio.create_task(client.api("POST", "/reports", token, order)) for client in at_each]
        await lab.seen(since, count=2, operation="batch", target=company.account)  # both have their key
        locked = await lab.client.api("POST", f"/tenants/{company.id}/lock", operator)
        assert locked.status == 200
        async with asyncio.timeout(WITHIN):
            answers = await asyncio.gather(*running)
        assert [outcome(answer) for answer in answers] == [(403, "tenant_locked")] * 2
    assert await asyncio.gather(*(refused(client, token) for client in at_each)) == ["tenant_locked"] * 2

    entries, since = await lab.client.journal(since)
    assert not [one for one in entries if one["operation"] == "create_item" and company.account in one["target"]]
    unlocked = await lab.client.api("POST", f"/tenants/{company.id}/unlock", operator)
    assert unlocked.status == 200
    await asyncio.gather(*(served(client, token) for client in at_each))


async def test_change_of_the_daemons_credential_is_followed_everywhere(lab: Lab, at_each: list[Client]) -> None:
    company = await lab.company("secret")
    token = await lab.client.token(company.name, ("Tenant.Admin",))
    operator = await lab.client.token(roles=("Publisher.Operate",))
    await asyncio.gather(*(served(client, token) for client in at_each))
    made = await lab.client.control("POST", f"/daemons/{company.name}/rotate", {"credential": "federated"})
    changed = await lab.client.api(
        "PATCH", f"/tenants/{company.id}", operator, {"credential": made["credential"]}, {"If-Match": "*"}
    )
    assert changed.status == 200
    await asyncio.gather(*(served(client, token) for client in at_each))


@pytest.mark.parametrize("order", [1, -1])  # it is not for us to say which process gets the orders
async def test_an_order_is_accepted_by_whichever_process_as_soon_as_its_key_is_registered(
    lab: Lab, at_each: list[Client], order: int
) -> None:
    here, elsewhere = at_each[::order]
    company = await Company.found(here, f"c-{uuid.uuid4().hex[:12]}")
    candidate_id = await company.add_candidate(candidate("C-1001"))
    system = lab.queues.system(company)
    token = await lab.client.token(company.name, ("Tenant.Admin",))
    assert (await elsewhere.api("GET", "/tenant", token)).json["signing_keys"] == []  # and that is what it remembers

    await system.register_key(here)
    await lab.queues.put([system.order(candidate_id, "essential") for _ in range(8)])

    assert len(await lab.all_reports(company, 8, within=30)) == 8  # those that were rejected would never come


async def test_a_tenant_is_served_by_whichever_process_as_soon_as_it_is_registered(
    lab: Lab, at_each: list[Client]
) -> None:
    here, elsewhere = at_each
    name = f"c-{uuid.uuid4().hex[:12]}"
    await lab.client.control("POST", "/tenants", {"name": name})
    token = await lab.client.token(name, ("Tenant.Admin",))
    assert outcome(await elsewhere.api("GET", "/tenant", token)) == (403, "not_a_tenant")

    await here.register(name, "secret")

    assert (await elsewhere.api("GET", "/tenant", token)).status == 200


async def test_a_client_is_served_by_whichever_process_as_soon_as_it_is_allowed(
    lab: Lab, at_each: list[Client]
) -> None:
    here, elsewhere = at_each
    company, client_id = await Company.found(here, f"c-{uuid.uuid4().hex[:12]}"), str(uuid.uuid4())
    token = await lab.client.token(company.name, ("Tenant.Admin",))
    of_the_client = await lab.client.token(company.name, ("Tenant.Admin",), overrides={"azp": client_id})
    assert (await elsewhere.api("GET", "/tenant", token)).json["allowed_client_ids"] == []

    changed = await here.api("PATCH", "/tenant", token, {"allowed_client_ids": [client_id]}, {"If-Match": "*"})
    assert changed.status == 200

    assert (await elsewhere.api("GET", "/tenant", of_the_client)).status == 200


def outcome(answer: Reply) -> tuple[int, str]:
    return answer.status, str(answer.json.get("type", "")).rpartition(":")[2]


async def refused(client: Client, token: str) -> str:
    """How a process refuses, once it does."""

    async def look() -> str | None:
        status, code = outcome(await client.api("GET", "/packages", token))
        return code if status >= 400 else None

    return await until(look, WITHIN)


async def served(client: Client, token: str) -> None:
    """Wait until a process serves the tenant."""

    async def look() -> bool:
        return (await client.api("GET", "/packages", token)).status == 200

    await until(look, WITHIN)
