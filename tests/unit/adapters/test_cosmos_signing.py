"""No request of the SDK leaves for a tenant's account without a lease of it; no two accounts share a connection."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from azure.core.pipeline.transport import HttpRequest
from azure.cosmos.exceptions import CosmosHttpResponseError

from shared.access import broker
from shared.adapters import cosmos
from shared.adapters.cosmos import SigningTransport, TenantAccounts
from shared.core.errors import BulkheadError
from shared.core.lease import LeaseEndedError, LeaseExpiredError
from tests.fakes import CONTOSO_HR, CONTOSO_RETAIL, FABRIKAM_HR

HOST = CONTOSO_HR.account.endpoint.removesuffix(":443/")


class Sent(Exception):  # noqa: N818 - a request that would have left
    pass


class Wire:
    """In place of aiohttp's session: keeps what would leave, and lets nothing out."""

    def __init__(self) -> None:
        self.headers: list[Any] = []

    async def request(self, method: str, url: str, **options: Any) -> None:
        self.headers.append(options["headers"])
        raise Sent(method, url)


class Signer:
    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def sign(self, *asked: str) -> str:
        self.asked.append(asked)
        return "signed by the lease"


@pytest.fixture
async def signer() -> AsyncIterator[Signer]:
    made = Signer()
    token = cosmos._SIGNER.set(made)
    yield made
    cosmos._SIGNER.reset(token)


def transport(wire: Wire) -> SigningTransport:
    return SigningTransport(wire, None, CONTOSO_HR.account.endpoint)


def request(host: str = HOST, path: str = "/dbs/bulkhead/colls/reports/docs/rep_1") -> HttpRequest:
    made = HttpRequest("GET", host + path)
    made.headers["authorization"] = "what the SDK signed with its constant"
    return made


async def test_without_a_lease_nothing_leaves() -> None:
    wire = Wire()
    with pytest.raises(LeaseEndedError):
        await transport(wire).send(request())
    assert wire.headers == []


@pytest.mark.parametrize(
    "host",
    [
        FABRIKAM_HR.account.endpoint.removesuffix(":443/"),
        "https://forger.example",
        HOST + ".forger.example",
        HOST.replace("https://", "https://x"),
        HOST.replace(".documents.azure.com", "-westeurope.documents.azure.com.forger.example"),
        HOST.replace(".documents", "xdocuments"),
        HOST.replace(".documents", "-westeurope.documents"),  # may be an account of that name
    ],
)
async def test_a_lease_signs_for_its_accounts_host_only(signer: Signer, host: str) -> None:
    """Even if the account named another host as one of its regions, or redirected there."""
    wire = Wire()
    with pytest.raises(LeaseEndedError):
        await transport(wire).send(request(host))
    assert wire.headers == signer.asked == []


async def test_the_leases_signature_replaces_what_the_sdk_signed(signer: Signer) -> None:
    wire = Wire()
    with pytest.raises(Sent):
        await transport(wire).send(request(HOST))
    ((endpoint, verb, kind, link, date),) = signer.asked
    assert (endpoint, verb, kind, link) == (
        CONTOSO_HR.account.endpoint, "GET", "docs", "dbs/bulkhead/colls/reports/docs/rep_1",
    )  # fmt: skip
    (headers,) = wire.headers
    assert headers["authorization"] == "signed by the lease"
    assert headers["x-ms-date"] == date


async def test_each_account_has_connections_of_its_own() -> None:
    accounts = TenantAccounts(None)
    ours, again, theirs = (
        accounts.open(one.account, Signer())._client for one in (CONTOSO_HR, CONTOSO_HR, FABRIKAM_HR)
    )
    assert ours is again
    assert ours._session is not theirs._session
    await accounts.close()
    assert ours._session.closed
    assert theirs._session.closed


async def test_a_client_is_given_up_only_when_nobody_holds_its_documents() -> None:
    """An invocation that is between two requests would else find its connections closed."""
    accounts = TenantAccounts(None, limit=1)
    held = accounts.open(CONTOSO_HR.account, Signer())
    ours, theirs = held._client, accounts.open(FABRIKAM_HR.account, Signer())._client
    await asyncio.sleep(0.01)
    assert not ours._session.closed
    del held
    accounts.open(CONTOSO_RETAIL.account, Signer())
    await accounts.close()
    assert ours._session.closed
    assert theirs._session.closed
    assert not accounts._clients


async def test_the_client_used_longest_ago_is_given_up() -> None:
    accounts = TenantAccounts(None, limit=2)
    for one in (CONTOSO_HR, FABRIKAM_HR, CONTOSO_HR, CONTOSO_RETAIL):
        accounts.open(one.account, Signer())
    assert list(accounts._clients) == [CONTOSO_HR.account.endpoint, CONTOSO_RETAIL.account.endpoint]
    await accounts.close()


class Renewing(Signer):
    """Notes each renewal and the signer of the context in which it takes place."""

    def __init__(self) -> None:
        super().__init__()
        self.renewed: list[Any] = []

    async def renew(self, *, refused: bool) -> None:
        self.renewed.append((refused, cosmos._SIGNER.get()))


async def answered(*outcomes: Any, answers: tuple[int, ...] = ()) -> tuple[Any, list[Any]]:
    """What an operation ends with whose attempts end so, and the renewals."""

    async def attempt(_: Any) -> Any:
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        if isinstance(outcome, asyncio.Event):
            await outcome.wait()
        return outcome

    left, signer, accounts = list(outcomes), Renewing(), TenantAccounts(None)
    documents = accounts.open(CONTOSO_HR.account, signer)
    documents._client._ready = True  # as if it had read its account
    try:
        return await documents._call("reports", attempt, *answers), signer.renewed
    except BulkheadError as error:
        return error.code, signer.renewed
    finally:
        documents._client._ready = False
        await accounts.close()


REFUSED: Any = CosmosHttpResponseError(status_code=401, message="no")
EXPIRED = LeaseExpiredError()


@pytest.mark.parametrize(
    ("outcomes", "answer", "renewals"),
    [
        ([1], 1, []),
        ([REFUSED, 1], 1, [True]),
        ([EXPIRED, 1], 1, [False]),
        ([REFUSED, EXPIRED, 1], 1, [True, False]),
        ([EXPIRED, REFUSED, 1], 1, [False, True]),
        ([REFUSED] * 3, "account_unavailable", [True, True]),
        ([EXPIRED] * 3, "account_unavailable", [False, False]),
    ],
)
async def test_a_key_is_renewed_twice_at_most_outside_of_the_call_that_it_is_for(
    outcomes: Any, answer: Any, renewals: Any
) -> None:
    """What a renewal starts, and what others share, must not run under this one's signature."""
    assert await answered(*outcomes) == (answer, [(refused, None) for refused in renewals])


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cosmos, "_PAUSE", 0)
    monkeypatch.setattr(cosmos, "_BUSY", 0)


def error(status: int, sub_status: int | None = None) -> Any:
    return CosmosHttpResponseError(status_code=status, sub_status=sub_status, message="no")


@pytest.mark.parametrize(
    ("status", "sub_status", "code"),
    [
        (404, 1002, "account_unavailable"),  # a replica is behind: whether there is a document is not known
        (404, 1003, "account_refused"),
        (410, 1002, "account_unavailable"),
        (449, None, "account_unavailable"),
        (429, 3200, "account_throttled"),
        (413, None, "document_too_large"),
        (400, None, "account_refused"),
        (403, None, "account_unavailable"),  # a firewall, or a key whose regeneration has not spread: may pass later
    ],
)
@pytest.mark.usefixtures("at_once")
async def test_what_is_no_word_about_the_document(status: int, sub_status: Any, code: Any) -> None:
    """Else a candidate would be taken for erased, and the screening canceled."""
    assert await answered(*[error(status, sub_status)] * 3, answers=(404, 409, 412)) == (code, [])


@pytest.mark.parametrize("status", [408, 410, 449, 500, 502, 503, 504])
@pytest.mark.usefixtures("at_once")
async def test_what_passes_is_tried_again_twice(status: int) -> None:
    assert await answered(error(status), error(status), 1) == (1, [])
    assert await answered(*[error(status)] * 3, 1) == ("account_unavailable", [])


@pytest.mark.parametrize("told", [{"x-ms-retry-after-ms": "20"}, {"x-ms-retry-after-ms": "0"}])
async def test_a_busy_account_is_tried_again_when_it_says(told: Any) -> None:
    busy: Any = error(429, 3200)
    busy.headers = told
    assert await answered(busy, busy, 1) == (1, [])
    assert await answered(*[busy] * 3, 1) == ("account_throttled", [])


@pytest.mark.parametrize(("told", "seconds"), [("2001", 3), ("999999999", 1_000_000), ("soon", 1), ("-5", 1), ("", 1)])
def test_how_long_a_busy_account_wants_to_be_left_alone(told: str, seconds: int) -> None:
    busy: Any = error(429, 3200)
    busy.headers = {"x-ms-retry-after-ms": told}
    assert cosmos._unavailable(busy).retry_after == seconds


@pytest.mark.parametrize("status", [400, 403])
async def test_what_does_not_pass_is_told_at_once(status: int) -> None:
    assert (await answered(error(status), 1))[0] != 1


@pytest.mark.parametrize("sub_status", [None, 0])
async def test_a_missing_document_is_an_answer(sub_status: Any) -> None:
    with pytest.raises(CosmosHttpResponseError):
        await answered(error(404, sub_status), answers=(404,))


async def test_an_operation_that_hangs_comes_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cosmos, "_WITHIN", 0.05)
    assert await answered(asyncio.Event()) == ("account_unavailable", [])


async def test_an_entry_of_the_registry_is_not_too_old_when_it_comes_for_a_lock_within_5_seconds() -> None:
    """Whoever has asked for it just before the lock enters with it, and is looked after from then on."""
    identity: Any = cosmos._NO_KEY
    documents = cosmos.registry_documents(transport(Wire()), "https://registry.documents.azure.com:443/", identity)
    oldest = documents._client._client.client_connection.connection_policy.ReadTimeout
    assert oldest + broker._STANDING_EVERY + broker._STANDING_WITHIN < 5
