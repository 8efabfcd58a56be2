"""One tenant's users, daemon and keys on another tenant: refused, whatever they try."""

import asyncio

import pytest
import pytest_asyncio
from azure.core.exceptions import HttpResponseError

from infra.local.company import Company, authorization
from infra.local.demo.intruder import Intruder
from infra.local.people import candidate

pytestmark = pytest.mark.asyncio(loop_scope="session")

ORDINARY = candidate("C-1001")


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def theirs(globex: Company) -> dict[str, str]:
    """Ids of objects of globex, which acme has learnt somehow."""
    candidate_id = await globex.add_candidate(ORDINARY)
    report = await globex.order(candidate_id)
    return {
        "candidate": candidate_id,
        "report": report["id"],
        "screening": report["screenings"][0]["id"],
        "authorization": report["authorization_id"],
    }


@pytest.mark.parametrize("header", [False, True], ids=["plain", "with Bulkhead-Tenant"])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/candidates/{candidate}", None),
        ("PATCH", "/candidates/{candidate}", {"email": "x@example.com"}),
        ("DELETE", "/candidates/{candidate}", None),
        ("POST", "/candidates/{candidate}/authorizations", authorization()),
        ("DELETE", "/candidates/{candidate}/authorizations/{authorization}", None),
        ("GET", "/reports/{report}", None),
        ("POST", "/reports/{report}/cancel", None),
        ("POST", "/reports/{report}/screenings/{screening}/review", {"decision": "dismissed"}),
    ],
)
async def test_foreign_object_is_not_there(
    acme: Company, globex: Company, theirs: dict[str, str], method: str, path: str, body: object, *, header: bool
) -> None:
    headers = {"If-Match": '"x"'} | ({"Bulkhead-Tenant": globex.id} if header else {})

    reply = await acme.call(method, path.format(**theirs), body, headers=headers)

    assert (reply.status, reply.json["type"]) == (404, "urn:bulkhead:problem:not_found")


async def test_foreign_candidate_cannot_be_ordered(acme: Company, theirs: dict[str, str]) -> None:
    before = await acme.reports()

    reply = await acme.call("POST", "/reports", {"candidate_id": theirs["candidate"], "package": "essential"})

    assert (reply.status, reply.json["errors"][0]["pointer"]) == (422, "/candidate_id")
    assert await acme.reports() == before


async def test_lists_hold_only_the_own(acme: Company, globex: Company, theirs: dict[str, str]) -> None:
    await acme.add_candidate(ORDINARY)
    for path in ("/candidates?limit=100", "/reports?limit=100", f"/reports?candidate_id={theirs['candidate']}"):
        reply = await acme.call("GET", path)
        assert reply.status == 200
        assert not any(one in reply.text for one in (*theirs.values(), globex.id)), path
    log = await acme.must("GET", "/access_log?limit=100")
    assert {record["tenant_id"] for record in log["data"]} == {acme.id}


async def test_daemon_opens_its_own_account_only(acme: Company, globex: Company, intruder: Intruder) -> None:
    async def attempt(own: Company, foreign: Company) -> None:
        daemon = await intruder.daemon(own)
        try:
            keys = await intruder.list_keys(daemon, own)
            await intruder.read_reports(own, keys["primaryReadonly"])
            with pytest.raises(HttpResponseError) as refused:
                await intruder.list_keys(daemon, foreign)
        finally:
            await daemon.close()
        assert (refused.value.status_code, refused.value.error.code) == (403, "AuthorizationFailed")
        with pytest.raises(HttpResponseError) as refused:
            await intruder.read_reports(foreign, keys["primary"])
        assert refused.value.status_code == 401

    await asyncio.gather(attempt(acme, globex), attempt(globex, acme))


@pytest.mark.parametrize("setting", ["BULKHEAD_IDENTITY_CLIENT_ID", "BULKHEAD_CONTROL_IDENTITY_CLIENT_ID"])
async def test_managed_identities_have_no_right_on_an_account(acme: Company, intruder: Intruder, setting: str) -> None:
    identity = intruder.managed_identity(setting)
    try:
        with pytest.raises(HttpResponseError) as refused:
            await intruder.list_keys(identity, acme)
    finally:
        await identity.close()
    assert (refused.value.status_code, refused.value.error.code) == (403, "AuthorizationFailed")
