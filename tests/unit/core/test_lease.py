"""A lease signs for one account, with a key in force, until it ends; and its keys can be taken away from it."""

import base64
import hashlib
import hmac
import traceback
from typing import Any
from urllib.parse import unquote

import pytest

from shared.core.ids import LeaseId
from shared.core.lease import (
    READING,
    WRITING,
    AccountKey,
    Keyring,
    Lease,
    LeaseEndedError,
    LeaseExpiredError,
    Purpose,
)
from shared.core.secret import Secret
from tests.fakes import ManualClock

ENDPOINT = "https://contoso.documents.azure.com:443/"
# "Access control on Azure Cosmos DB resources" (REST reference): the example's key, request and header.
KEY = "dsZQi3KtZmCv1ljt3VNWNm7sQUF1y5rJfC6kv5JiwvW0EndXdDku/dkKBp8/ufDToSxLzR4y+O/0H/t4bQtVNw=="
REQUEST = ("GET", "dbs", "dbs/ToDoList", "Thu, 27 Apr 2017 00:51:12 GMT")
HEADER = "type%3dmaster%26ver%3d1.0%26sig%3dc09PEVJrgp2uQRkr934kFbTqhByc7TVr3OHyqlu%2bc%2bc%3d"


@pytest.fixture
def clock() -> Any:
    return ManualClock()


@pytest.fixture
def key() -> Any:
    return AccountKey("primary", Secret(KEY), "fingerprint")


@pytest.fixture
def lease(clock: ManualClock) -> Any:
    purpose = Purpose("user:1", "candidates.read", "cand_1", "req_1", writes=False)
    return Lease(LeaseId("lea_1"), ENDPOINT, purpose, clock.monotonic)


def test_it_signs_as_the_reference_says(lease: Lease, key: AccountKey, clock: ManualClock) -> None:
    lease.hold(key, clock.monotonic() + 60)
    assert unquote(lease.sign(ENDPOINT, *REQUEST)) == unquote(HEADER)


def test_the_header_is_encoded_as_a_whole(lease: Lease, key: AccountKey, clock: ManualClock) -> None:
    lease.hold(key, clock.monotonic() + 60)
    assert not set("=&+/;: ") & set(lease.sign(ENDPOINT, *REQUEST))


def test_verb_type_and_date_are_signed_in_lower_case_and_the_link_as_it_is(
    lease: Lease, key: AccountKey, clock: ManualClock
) -> None:
    lease.hold(key, clock.monotonic() + 60)
    text = "post\ndocs\ndbs/Bulkhead/colls/C\nthu, 1 jan 2026 00:00:00 gmt\n\n"
    digest = base64.b64encode(hmac.digest(base64.b64decode(KEY), text.encode(), hashlib.sha256)).decode()
    signed = lease.sign(ENDPOINT, "POST", "Docs", "dbs/Bulkhead/colls/C", "Thu, 1 Jan 2026 00:00:00 GMT")
    assert unquote(signed) == f"type=master&ver=1.0&sig={digest}"


def test_without_a_key_it_signs_nothing(lease: Lease) -> None:
    assert not lease.live
    with pytest.raises(LeaseExpiredError):
        lease.sign(ENDPOINT, *REQUEST)


def test_it_signs_up_to_its_maximum_age_and_not_at_it(lease: Lease, key: AccountKey, clock: ManualClock) -> None:
    lease.hold(key, clock.monotonic() + 60)
    clock.advance(59.999)
    assert lease.sign(ENDPOINT, *REQUEST)
    clock.advance(0.001)
    assert not lease.live
    with pytest.raises(LeaseExpiredError):
        lease.sign(ENDPOINT, *REQUEST)
    assert lease._key is None
    lease.hold(key, clock.monotonic() + 1)
    assert lease.sign(ENDPOINT, *REQUEST), "it may be renewed"


def test_it_signs_for_no_other_account(lease: Lease, key: AccountKey, clock: ManualClock) -> None:
    lease.hold(key, clock.monotonic() + 60)
    for other in ("https://fabrikam.documents.azure.com:443/", ENDPOINT.removesuffix("/"), ""):
        with pytest.raises(LeaseEndedError) as caught:
            lease.sign(other, *REQUEST)
        assert not isinstance(caught.value, LeaseExpiredError), "nobody renews it for that"


def test_it_stays_ended(lease: Lease, key: AccountKey, clock: ManualClock) -> None:
    lease.hold(key, clock.monotonic() + 60)
    assert not lease.ended
    lease.end()
    lease.end()
    assert lease.ended
    assert not lease.live
    for use in (lambda: lease.sign(ENDPOINT, *REQUEST), lambda: lease.hold(key, clock.monotonic() + 60)):
        with pytest.raises(LeaseEndedError) as caught:
            use()
        assert not isinstance(caught.value, LeaseExpiredError)
    assert lease._key is None


def test_a_keyring_that_forgets_takes_the_key_out_of_every_lease(lease: Lease, clock: ManualClock) -> None:
    keyring = Keyring("account", [("primary", Secret(KEY))])
    key = keyring.choose(WRITING)
    assert key is not None
    lease.hold(key, clock.monotonic() + 60)
    assert lease.live
    keyring.forget()
    keyring.forget()
    assert key.secret.forgotten
    assert keyring.choose(WRITING) is None
    with pytest.raises(LeaseExpiredError):
        lease.sign(ENDPOINT, *REQUEST)


def test_a_keyring_gives_the_first_key_that_was_not_refused() -> None:
    listed = [
        (kind, Secret(f"{kind}==")) for kind in ("secondary_readonly", "secondary", "primary", "primary_readonly")
    ]
    keyring: Any = Keyring("account", listed)
    for kinds in (WRITING, READING):
        first = keyring.choose(kinds)
        second = keyring.choose(kinds, {first.fingerprint})
        assert (first.kind, second.kind) == kinds
        assert keyring.choose(kinds, {first.fingerprint, second.fingerprint}) is None


def test_a_kind_that_was_not_listed_is_not_given() -> None:
    keyring: Any = Keyring("account", [("secondary", Secret("x"))])
    assert keyring.choose(READING) is None
    assert keyring.choose(WRITING).kind == "secondary"


def test_one_key_at_two_accounts_has_two_fingerprints() -> None:
    one: Any = Keyring("account-a", [("primary", Secret(KEY))]).choose(WRITING)
    other: Any = Keyring("account-b", [("primary", Secret(KEY))]).choose(WRITING)
    assert one.fingerprint != other.fingerprint


def test_a_traceback_out_of_signing_shows_no_key(lease: Lease, clock: ManualClock) -> None:
    text = "Zq7xx"  # of a length that base64 never has
    lease.hold(AccountKey("primary", Secret(text), "f"), clock.monotonic() + 60)
    with pytest.raises(ValueError, match="characters") as caught:
        lease.sign(ENDPOINT, *REQUEST)
    shown = traceback.TracebackException(ValueError, caught.value, caught.tb.tb_next, capture_locals=True)
    assert "in sign" in "".join(shown.format())
    assert text not in "".join(shown.format())


def test_a_key_shows_nothing_of_itself(key: AccountKey) -> None:
    assert KEY not in f"{key} {key!r}"
