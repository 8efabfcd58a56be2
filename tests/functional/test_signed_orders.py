"""The queue of signed orders: what is not in order is moved to the rejected ones, and nothing else happens."""

import time
import uuid

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.local.company import Company
from infra.local.lab import Lab
from infra.local.people import candidate
from shared.access.failures import REACTIONS, Failure

pytestmark = pytest.mark.asyncio(loop_scope="session")

ORDINARY = candidate("C-1001")


async def jobs(lab: Lab, *companies: Company) -> int:
    """How many jobs were ever put on the queue for these."""
    sent = (await lab.client.control("GET", "/messages"))["messages"]
    return sum(one["queue"] == "screenings" and company.id in one["text"] for one in sent for company in companies)


async def test_what_is_rejected(lab: Lab, acme: Company, globex: Company) -> None:
    ours, theirs = lab.queues.system(acme), lab.queues.system(globex)
    good = await acme.add_candidate(ORDINARY)
    unsigned_for = (await acme.must("POST", "/candidates", ORDINARY))["id"]
    foreign = await globex.add_candidate(ORDINARY)
    now = int(time.time())
    whole = ours.order(good, "essential")
    head, claims, signature = whole.split(".")
    cases = {
        "nonsense": "malformed",
        f"{head}.{claims}.": "bad_signature",
        f"{head}.{claims}.{signature[:-8]}AAAAAAAA": "bad_signature",
        f"eyJhbGciOiJub25lIn0.{claims}.": "unknown_key",
        ours.order(good, "essential", iss=str(uuid.uuid4())): "unknown_issuer",
        ours.order(good, "essential", key_id="nobody"): "unknown_key",
        ours.order(good, "essential", key_id=theirs.key_id, iss=globex.deployed["directory_id"]): "bad_signature",
        theirs.order(good, "essential", iss=acme.deployed["directory_id"]): "unknown_key",
        ours.order(good, "essential", aud=str(uuid.uuid4())): "wrong_audience",
        ours.order(good, "essential", iat=now - 7200, exp=now - 3600): "expired",
        ours.order(good, "essential", iat=now + 3600, exp=now + 7200): "not_yet_valid",
        ours.order(good, "essential", exp=now + 25 * 3600): "too_long_lived",
        ours.order(good, "essential", tenant=globex.id): "unknown_tenant",
        ours.order(good, "essential", jti=""): "malformed",
        ours.order(good, "no-such-package"): "validation_failed",
        ours.order(foreign, "essential"): "validation_failed",
        ours.order(unsigned_for, "essential"): "authorization_required",
    }
    before = await jobs(lab, acme, globex)

    await lab.queues.send(list(cases))

    rejected = await lab.queues.rejected(cases)
    assert rejected == cases
    assert await jobs(lab, acme, globex) == before
    for company, candidate_id in ((acme, good), (acme, unsigned_for), (globex, foreign)):
        assert (await company.must("GET", f"/reports?candidate_id={candidate_id}"))["data"] == []


async def test_order_makes_one_report_however_often_it_comes(lab: Lab, acme: Company) -> None:
    candidate_id = await acme.add_candidate(ORDINARY)
    order = lab.queues.system(acme).order(candidate_id, "essential")

    await lab.queues.send([order] * 4)
    await lab.queues.send([order])

    (report,) = (await acme.must("GET", f"/reports?candidate_id={candidate_id}"))["data"]
    assert (await lab.report(acme, report["id"]))["status"] == "complete"
    assert await jobs(lab, acme), "what is counted would be seen"


async def test_order_waits_while_the_account_does_not_answer(lab: Lab) -> None:
    company = await lab.company()
    order = lab.queues.system(company).order(await company.add_candidate(ORDINARY), "watchlist")
    closed = {"service": "resource_manager", "operation": "list_keys", "target": company.account, "status": 503}
    since = await lab.now()

    async with lab.weather(closed):
        await lab.queues.put([order])
        await lab.seen(since, count=REACTIONS[Failure.TRANSIENT].attempts, **closed)  # then it is put off
    await lab.queues.dealt_with([order])

    (report,) = await lab.all_reports(company, 1)
    assert (report["source"], report["status"]) == ("queue", "complete")


async def test_key_set_that_is_no_key_set(acme: Company) -> None:
    private = Ed25519PrivateKey.generate()
    jwk = {"kid": "k", "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": "AAAA"}
    for keys, pointer in (
        ([jwk], "/keys/0"),
        ([jwk | {"alg": "ES256"}], "/keys/0"),
        ([jwk | {"alg": "HS256", "kty": "oct"}], "/keys"),
        ([jwk | {"d": private.private_bytes_raw().hex()}], "/keys"),
    ):
        reply = await acme.call("PUT", "/tenant/signing_keys", {"keys": keys}, headers={"If-Match": "*"})
        assert reply.status == 422, keys
        assert reply.json["errors"][0]["pointer"].startswith(pointer)
