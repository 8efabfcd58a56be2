"""Every POST that takes an Idempotency-Key, when its process ends after the work and before the answer is kept."""

import json
from typing import Any

import pytest

from shared.core.errors import BulkheadError, Kind
from tests.fakes import CONTOSO_HR, PUBLISHER
from tests.stage import CONSENT, HIT, FakeEngine
from tests.world import ADMIN, OPERATE, World

PERSON = {"first_name": "Ada", "last_name": "Ferrero"}
TEXT = {"version": CONSENT.disclosure.version, "sha256": CONSENT.disclosure.sha256}
AUTHORIZATION = {
    "permissible_purpose": "employment", "employer_certification": True, "disclosure": TEXT, "authorization": TEXT,
    "signed_at": CONSENT.signed_at,
}  # fmt: skip
REGISTRATION = {
    "name": "Contoso Retail", "credential": "secret",
    "application_id": "/subscriptions/50000000-0000-4000-8000-000000000001/resourceGroups/apps/providers"
    "/Microsoft.Solutions/applications/contoso2",
    "daemon_client_id": "da000000-0000-4000-8000-000000000002", "credential_name": "daemon-retail",
}  # fmt: skip


class Client:
    """Sends requests of a tenant's administrator, or of an operator."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def post(self, path: str, body: Any = None, operator: str = "", **headers: str) -> Any:
        tenants = path.startswith("tenants")
        if tenants:
            headers["token"] = self._world.tokens.token(PUBLISHER, OPERATE, oid=operator or "o-1")
        return await self._world.call("POST", path, body, roles=ADMIN, **headers)

    async def candidate(self) -> str:
        return str((await self.post("candidates", PERSON)).json["id"])

    async def report(self) -> Any:
        candidate_id = await self.candidate()
        await self.post(f"candidates/{candidate_id}/authorizations", AUTHORIZATION)
        return (await self.post("reports", {"candidate_id": candidate_id, "package": "watchlist"})).json

    async def to_review(self) -> str:
        self._world.engines["watchlist"] = FakeEngine(HIT)
        report = await self.report()
        self._world.clock.advance(1)
        for job in self._world.screenings.jobs:
            body = json.dumps({name: getattr(job, name) for name in job.__struct_fields__})
            await self._world.deliver("run_screening", body)
        return f"reports/{report['id']}/screenings/{report['screenings'][0]['id']}/review"

    async def request(self, what: str) -> tuple[str, Any]:
        """Path and body of a request, once all that it needs is there."""
        path = f"tenants/{CONTOSO_HR.tenant_id}/{what}"
        body: Any = None
        match what:
            case "candidate":
                path, body = "candidates", PERSON
            case "authorization":
                path, body = f"candidates/{await self.candidate()}/authorizations", AUTHORIZATION
            case "report":
                candidate_id = (await self.report())["candidate_id"]
                path, body = "reports", {"candidate_id": candidate_id, "package": "essential"}
            case "cancel":
                path = f"reports/{(await self.report())['id']}/cancel"
            case "review":
                path, body = await self.to_review(), {"decision": "confirmed"}
            case "tenant":
                path, body = "tenants", REGISTRATION
        return path, body


@pytest.fixture
def client(world: World) -> Client:
    return Client(world)


def lose_the_next_answer(documents: Any) -> None:
    """The next answer is not kept with its key."""
    replace = documents.replace

    async def refuse(container: str, body: Any, etag: str) -> Any:
        if container != "idempotency":
            return await replace(container, body, etag)
        documents.replace = replace
        raise BulkheadError(Kind.UNAVAILABLE, "account_unavailable", "No.")

    documents.replace = refuse


@pytest.mark.parametrize(
    "what", ["candidate", "authorization", "report", "cancel", "review", "tenant", "lock", "unlock"]
)
async def test_a_retry_takes_over_and_makes_nothing_twice(world: World, client: Client, what: str) -> None:
    path, body = await client.request(what)
    documents = world.registry_documents if path.startswith("tenants") else world.account(CONTOSO_HR)
    lose_the_next_answer(documents)

    async def again() -> Any:
        return await client.post(path, body, Idempotency_Key="k")

    assert (await again()).code == "account_unavailable"
    early = await again()
    assert (early.code, early.headers["Retry-After"]) == ("request_in_progress", "10")
    done = {name: documents.all(name) for name in ("candidates", "reports", "tenants")}
    world.clock.advance(10)
    answered = await again()
    assert answered.status in (200, 201, 202)
    assert (await again()).text == answered.text
    assert {name: documents.all(name) for name in done} == done


async def test_canceled_by_another_request_it_is_refused(client: Client) -> None:
    path, _ = await client.request("cancel")
    assert (await client.post(path, Idempotency_Key="k")).status == 200
    assert (await client.post(path, Idempotency_Key="other")).code == "report_ended"


async def test_an_operators_key_stands_for_the_first_answer(world: World, client: Client) -> None:
    first = await client.post("tenants", REGISTRATION, Idempotency_Key="k")
    again = await client.post("tenants", REGISTRATION, Idempotency_Key="k")
    assert (again.status, again.text, again.headers["Location"]) == (201, first.text, first.headers["Location"])
    other = await client.post("tenants", REGISTRATION | {"name": "Other"}, Idempotency_Key="k")
    assert (other.status, other.code) == (422, "idempotency_key_reused")
    assert len(world.broker.leases) == 1


async def test_keys_of_two_operators_do_not_meet(client: Client) -> None:
    await client.post("tenants", REGISTRATION, Idempotency_Key="k")
    other = await client.post("tenants", REGISTRATION | {"name": "Other"}, "o-2", Idempotency_Key="k")
    assert other.code == "already_registered"


async def test_a_lock_asked_for_again_does_not_undo_what_came_after(world: World, client: Client) -> None:
    path = f"tenants/{CONTOSO_HR.tenant_id}"
    assert (await client.post(f"{path}/lock", Idempotency_Key="k")).json["status"] == "locked"
    assert (await client.post(f"{path}/unlock", Idempotency_Key="k")).json["status"] == "active"
    assert (await client.post(f"{path}/lock", Idempotency_Key="k")).json["status"] == "locked"
    assert (await world.registry.read(CONTOSO_HR.tenant_id)).tenant.status == "active"
