"""The queue of signed orders: what is ordered, rejected, postponed; and what another process registered just before."""

import asyncio
import json
import logging
from typing import Any

import jwt
import msgspec
import pytest

from shared.core.errors import BulkheadError, Kind
from shared.core.ids import new_id
from shared.entrypoints.jobs import JobFailedError
from shared.screening import candidates
from shared.screening.store import ScreeningStore
from shared.tenants.models import SigningKey
from tests.fakes import AUDIENCE, CONTOSO, CONTOSO_HR, FABRIKAM, FABRIKAM_HR, rsa_key
from tests.stage import CONSENT, PERSON

THROTTLED = BulkheadError(Kind.THROTTLED, "account_throttled", "Busy.", retry_after=5)


def events(caplog: pytest.LogCaptureFixture) -> Any:
    return [json.loads(record.message) for record in caplog.records if record.name == "bulkhead"]


async def run(world: Any, job: Any) -> None:
    await world.deliver("run_screening", msgspec.json.encode(job))


KEY = rsa_key("hr")


def signing_key(key: Any = KEY) -> Any:
    fields = json.loads(jwt.get_algorithm_by_name("RS256").to_jwk(key.public_key()))
    return SigningKey(kid="hr-1", kty="RSA", alg="RS256", n=fields["n"], e=fields["e"])


@pytest.fixture
async def candidate(world: Any) -> Any:
    """A candidate with consent, of a tenant whose HR system may order over the queue."""
    stored_tenant = await world.registry.read(CONTOSO_HR.tenant_id)
    signing = CONTOSO_HR.tenant(signing_keys=(signing_key(),))
    await world.registry.replace(signing, stored_tenant.etag)
    now, store = world.clock.now(), ScreeningStore(world.account(CONTOSO_HR))
    made = await candidates.create(store, PERSON, new_id("cand", now), now)
    await candidates.authorize(store, made.id, new_id("auth", now), CONSENT, "user:hr", now)
    return made


def message(world: Any, candidate: Any, *, key: Any = KEY, kid: str = "hr-1", **changes: Any) -> Any:
    now = int(world.clock.now().timestamp())
    claims = {
        "iss": CONTOSO, "aud": AUDIENCE, "jti": "order-1", "iat": now, "exp": now + 3600,
        "candidate_id": candidate.id, "package": "essential",
    } | changes  # fmt: skip
    return jwt.PyJWS().encode(json.dumps(claims).encode(), key, algorithm="RS256", headers={"kid": kid})


async def accept(world: Any, text: str, **properties: Any) -> None:
    await world.deliver("accept_check_request", text, **properties)


async def test_a_signed_order_makes_a_report_once_per_jti(world: Any, candidate: Any) -> None:
    text = message(world, candidate)
    for _ in range(3):
        await accept(world, text)
        world.clock.advance(10)
    (report,) = world.account(CONTOSO_HR).all("reports")
    assert (report["source"], report["candidate_id"]) == ("queue", candidate.id)
    await accept(world, message(world, candidate, jti="order-2"))
    assert len(world.account(CONTOSO_HR).all("reports")) == 2
    assert world.requests.rejected == world.requests.retried == []
    assert {purpose.actor for _, purpose in world.broker.leases} == {"message:hr-1"}


async def test_an_order_that_is_signed_anew_under_its_jti_makes_no_second_report(world: Any, candidate: Any) -> None:
    """As an HR system does that lost sight of its order."""
    await accept(world, message(world, candidate))
    world.clock.advance(23 * 3600)
    await accept(world, message(world, candidate))
    assert len(world.account(CONTOSO_HR).all("reports")) == 1
    other = message(world, candidate, package="watchlist")
    await accept(world, other)
    assert world.requests.rejected == [(other.encode(), "idempotency_key_reused")]
    assert len(world.account(CONTOSO_HR).all("reports")) == 1


async def test_the_reports_jobs_are_on_the_queue(world: Any, candidate: Any) -> None:
    text = message(world, candidate)
    await accept(world, text)
    await accept(world, text)
    for job in world.screenings.jobs:
        await run(world, job)
    (report,) = world.account(CONTOSO_HR).all("reports")
    assert report["status"] == "complete"


async def test_while_the_queues_take_nothing_an_order_is_given_back_after_a_while(world: Any, candidate: Any) -> None:
    """It can be neither done nor put off: see test_jobs."""
    closed = BulkheadError(Kind.UNAVAILABLE, "queue_unavailable", "No.")
    world.screenings.failures, world.requests.failures = [closed], [closed]
    begun = asyncio.get_running_loop().time()
    with pytest.raises(JobFailedError, match="queue_unavailable"):
        await accept(world, message(world, candidate))
    assert asyncio.get_running_loop().time() - begun >= 60


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"aud": "other"}, "wrong_audience"),
        ({"exp": 1, "iat": 0}, "expired"),
        ({"iat": 10**11, "exp": 10**11 + 60}, "not_yet_valid"),
        ({"exp": 10**11}, "too_long_lived"),
        ({"jti": ""}, "malformed"),
        ({"iss": "e0000000-0000-4000-8000-000000000009"}, "unknown_issuer"),
        ({"iss": FABRIKAM}, "unknown_key"),
        ({"tenant": FABRIKAM_HR.tenant_id}, "unknown_tenant"),
        ({"kid": "hr-2"}, "unknown_key"),
        ({"key": rsa_key("forger")}, "bad_signature"),
        ({"candidate_id": "cand_unknown"}, "validation_failed"),
        ({"package": "unknown"}, "validation_failed"),
        ({"package": "../../candidates/docs/x"}, "validation_failed"),
    ],
)
async def test_what_is_not_accepted_is_moved_with_its_reason(
    world: Any, candidate: Any, caplog: pytest.LogCaptureFixture, changes: Any, reason: Any
) -> None:
    text = message(world, candidate, **changes)
    with caplog.at_level(logging.DEBUG):
        await accept(world, text)
    assert world.requests.rejected == [(text.encode(), reason)]
    assert world.requests.retried == world.screenings.jobs == []
    assert world.account(CONTOSO_HR).all("reports") == []
    (event,) = events(caplog)
    assert (event["event"], event["reason"]) == ("check_request_rejected", reason)
    assert candidate.id not in caplog.text


@pytest.mark.parametrize(
    "body",
    [
        b"", b"canary", b"\xff\xfe", b"{}", b"a.b.c",
        pytest.param(b"x" * 20_000, id="long"), pytest.param(b"\xff" * 200_000, id="no text"),
    ],
)  # fmt: skip
async def test_what_is_no_order_is_moved_as_malformed(world: Any, body: Any) -> None:
    await accept(world, body)
    ((moved, reason),) = world.requests.rejected
    assert moved == body  # as it came: as text it could become too large for the queue
    assert reason in ("malformed", "too_long")
    assert world.broker.leases == []


async def test_without_consent_the_order_is_rejected(world: Any, candidate: Any) -> None:
    (authorization,) = await ScreeningStore(world.account(CONTOSO_HR)).authorizations(candidate.id)
    store = ScreeningStore(world.account(CONTOSO_HR))
    await candidates.withdraw(store, candidate.id, authorization.id, world.clock.now())
    text = message(world, candidate)
    await accept(world, text)
    assert world.requests.rejected == [(text.encode(), "authorization_required")]


async def test_a_locked_tenants_order_is_rejected(world: Any, candidate: Any) -> None:
    await world.app.tenant_settings.set_status(CONTOSO_HR.tenant_id, "locked", world.clock.now())
    text = message(world, candidate)
    await accept(world, text)
    assert world.requests.rejected == [(text.encode(), "tenant_locked")]
    assert world.broker.leases == []


@pytest.mark.parametrize(
    ("attempt", "pause"),
    [(None, 5), (1, 5), (2, 5), (3, 8), (8, 256), (9, 300), (1000, 300), ("x", 5), (0, 5), (-3, 5)],
)
async def test_an_order_that_cannot_be_taken_now_comes_again(
    world: Any, candidate: Any, attempt: Any, pause: Any
) -> None:
    text = message(world, candidate)
    world.broker.failures = [THROTTLED]
    await accept(world, text, **({} if attempt is None else {"attempt": attempt}))
    counted = attempt if isinstance(attempt, int) and attempt > 0 else 1
    assert world.requests.retried == [(text.encode(), counted + 1, pause)]
    assert world.requests.rejected == []
    await accept(world, text)
    assert len(world.account(CONTOSO_HR).all("reports")) == 1


async def test_a_postponed_order_ends_with_its_own_life(world: Any, candidate: Any) -> None:
    text = message(world, candidate)
    world.clock.advance(3661)
    world.broker.failures = [THROTTLED]
    await accept(world, text)
    assert world.requests.rejected == [(text.encode(), "expired")]


@pytest.mark.parametrize("kind", [Kind.BROKEN, Kind.INVALID, Kind.TOO_LARGE])
async def test_what_an_operator_must_see_fails(world: Any, candidate: Any, kind: Kind) -> None:
    world.broker.failures = [BulkheadError(kind, "some_code", "Detail.")]
    with pytest.raises(JobFailedError, match="some_code"):
        await accept(world, message(world, candidate))
    assert world.requests.rejected == world.requests.retried == []


async def test_an_order_cut_off_in_the_middle_is_finished_by_its_repetition(world: Any, candidate: Any) -> None:
    text = message(world, candidate)
    world.account(CONTOSO_HR).failures = [None] * 4 + [THROTTLED]  # jobs are on the queue, the report is not written
    await accept(world, text)
    assert world.account(CONTOSO_HR).all("reports") == []
    world.clock.advance(5)
    await accept(world, text, attempt=2)
    (report,) = world.account(CONTOSO_HR).all("reports")
    for job in list(world.screenings.jobs):
        await run(world, job)
    assert (await ScreeningStore(world.account(CONTOSO_HR)).report(report["id"])).value.status == "complete"
    assert len(world.account(CONTOSO_HR).all("reports")) == 1


# --- an order whose key, or tenant, another process has registered a moment ago ---


class Elsewhere:
    """Another process: it changes the registry without this one's noticing. `readings` counts what this one reads."""

    def __init__(self, world: Any) -> None:
        self._documents = world.registry_documents

    def change(self, **fields: Any) -> None:
        self._documents.put("tenants", msgspec.to_builtins(CONTOSO_HR.tenant(**fields)))

    @property
    def readings(self) -> int:
        return sum(call[0] == "query" for call in self._documents.calls)


async def look(world: Any) -> None:
    """This process reads the directory; what is in its cache then is half a second old."""
    world.clock.advance(2)
    await world.registry.of_directory(CONTOSO)
    world.clock.advance(0.5)


@pytest.fixture
async def elsewhere(world: Any, candidate: Any) -> Any:  # noqa: ARG001 - its tenant and its key are there first
    """This process has just read the tenant, with another key than its HR system's."""
    made = Elsewhere(world)
    made.change(signing_keys=(signing_key(rsa_key("old")),))
    await look(world)
    return made


@pytest.mark.parametrize(
    ("before", "changes"),
    [
        ({"signing_keys": ()}, {}),
        ({"status": "locked", "signing_keys": (signing_key(),)}, {}),
        ({"id": "ten_00000000000000000000000009", "signing_keys": (signing_key(),)}, {"tenant": CONTOSO_HR.tenant_id}),
        ({"directory_id": FABRIKAM}, {}),
    ],
    ids=["unknown_key", "tenant_locked", "unknown_tenant", "unknown_issuer"],
)
async def test_what_was_allowed_elsewhere_a_moment_ago_is_accepted(
    world: Any, candidate: Any, before: Any, changes: Any
) -> None:
    elsewhere = Elsewhere(world)
    elsewhere.change(**before)
    if "id" in before:
        await world.registry_documents.delete("tenants", "tenant", CONTOSO_HR.tenant_id)
    await look(world)
    elsewhere.change(signing_keys=(signing_key(),))
    if "id" in before:
        await world.registry_documents.delete("tenants", "tenant", before["id"])
    await accept(world, message(world, candidate, **changes))
    assert world.requests.rejected == world.requests.retried == []
    assert len(world.account(CONTOSO_HR).all("reports")) == 1


async def test_a_signature_with_a_key_replaced_elsewhere_is_accepted(
    world: Any, candidate: Any, elsewhere: Elsewhere
) -> None:
    elsewhere.change(signing_keys=(signing_key(),))
    await accept(world, message(world, candidate))
    assert world.requests.rejected == world.requests.retried == []
    assert len(world.account(CONTOSO_HR).all("reports")) == 1


async def test_junk_makes_us_read_once_a_second_and_destroys_no_order(
    world: Any, candidate: Any, elsewhere: Elsewhere, caplog: pytest.LogCaptureFixture
) -> None:
    before = elsewhere.readings
    junk = [message(world, candidate, key=rsa_key("forger"), jti=f"junk-{number}") for number in range(5)]
    await accept(world, junk[0])
    assert world.requests.rejected == [(junk[0].encode(), "bad_signature")]
    assert elsewhere.readings == before + 1
    elsewhere.change(signing_keys=(signing_key(),))  # after the reading that junk brought about
    world.clock.advance(0.2)
    order_ = message(world, candidate)
    with caplog.at_level(logging.INFO):
        for text in (*junk[1:], order_):
            await accept(world, text)
    assert elsewhere.readings == before + 1
    assert world.requests.retried == [(text.encode(), 2, 2) for text in (*junk[1:], order_)]
    assert {(one["event"], one["code"]) for one in events(caplog)} == {("check_request_postponed", "bad_signature")}

    world.clock.advance(2)  # the pause; now junk comes first again
    for text in (*junk[1:], order_):
        await accept(world, text, attempt=2)
    assert elsewhere.readings == before + 2
    assert len(world.requests.retried) == 5
    assert [text for text, _ in world.requests.rejected] == [text.encode() for text in junk]
    assert len(world.account(CONTOSO_HR).all("reports")) == 1


async def test_a_message_that_waited_is_decided_by_what_was_read_meanwhile(
    world: Any, candidate: Any, elsewhere: Elsewhere
) -> None:
    """Else whoever sends junk without a pause would have it postponed for ever, and read for each piece."""
    junk = message(world, candidate, key=rsa_key("forger"))
    await accept(world, junk)
    world.clock.advance(0.5)
    before = elsewhere.readings
    await accept(world, junk, attempt=2)
    assert world.requests.rejected == [(junk.encode(), "bad_signature")] * 2
    assert world.requests.retried == []
    assert elsewhere.readings == before


async def test_what_lies_in_the_message_is_rejected_without_reading_anew(
    world: Any, candidate: Any, elsewhere: Elsewhere
) -> None:
    elsewhere.change(signing_keys=(signing_key(),))
    await look(world)
    before = elsewhere.readings
    text = message(world, candidate, aud="other")
    await accept(world, text)
    assert world.requests.rejected == [(text.encode(), "wrong_audience")]
    assert elsewhere.readings == before


async def test_while_the_registry_does_not_answer_no_order_is_rejected(
    world: Any, candidate: Any, elsewhere: Elsewhere
) -> None:
    elsewhere.change(signing_keys=(signing_key(),))
    world.registry_documents.failures.append(BulkheadError(Kind.UNAVAILABLE, "account_unavailable", "No."))
    text = message(world, candidate)
    await accept(world, text)
    assert world.requests.rejected == []
    assert world.requests.retried == [(text.encode(), 2, 2)]
