import gc
from typing import Any

import pytest
from azure.core.exceptions import ServiceResponseError

from shared.access.failures import AccessError, Failure
from shared.adapters.resource_manager import ResourceManager
from shared.core.lease import READING, WRITING
from shared.core.secret import Secret
from tests.fakes import CONTOSO_HR
from tests.transports import FakeTransport

TOKEN = "Zq7-daemon-token"
KEYS = {
    "primaryMasterKey": "cHJpbWFyeQ==",
    "secondaryMasterKey": "c2Vjb25kYXJ5",
    "primaryReadonlyMasterKey": "cHJpbWFyeS1ybw==",
    "secondaryReadonlyMasterKey": "c2Vjb25kYXJ5LXJv",
}


async def list_keys(answer: Any) -> Any:
    transport = FakeTransport(answer)
    return transport, await ResourceManager(transport).list_keys(CONTOSO_HR.account, Secret(TOKEN))


async def refused(answer: Any) -> Any:
    with pytest.raises(AccessError) as caught:
        await list_keys(answer)
    assert caught.value.step == 3
    assert TOKEN not in str(caught.value)
    return caught.value


async def test_the_four_keys_are_listed_with_the_daemons_token() -> None:
    sent = []

    def answer(request: Any) -> Any:
        sent.append((request.method, request.url, request.headers["Authorization"]))
        return 200, KEYS

    transport, keyring = await list_keys(answer)
    assert sent == [
        (
            "POST",
            f"https://management.azure.com{CONTOSO_HR.account.resource_id}/listKeys?api-version=2024-11-15",
            f"Bearer {TOKEN}",
        )
    ]
    for kinds in (WRITING, READING):
        assert keyring.choose(kinds).kind == kinds[0]
        assert keyring.choose(kinds, {keyring.choose(kinds).fingerprint}).kind == kinds[1]
    assert keyring.choose(WRITING).secret.reveal() == KEYS["primaryMasterKey"]
    assert "Authorization" not in transport.requests[0].headers  # sent, and kept nowhere


async def test_keys_that_are_not_there_are_left_out() -> None:
    _, keyring = await list_keys(lambda _: (200, {"secondaryMasterKey": "c2Vjb25kYXJ5"}))
    assert keyring.choose(WRITING).kind == "secondary"
    assert keyring.choose(READING) is None


@pytest.mark.parametrize("body", [{}, {"primaryMasterKey": ""}, {"other": "x"}])
async def test_an_answer_without_keys_is_a_mistake_of_an_operator(body: Any) -> None:
    assert (await refused(lambda _: (200, body))).failure is Failure.MISCONFIGURED


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (401, Failure.DENIED), (403, Failure.DENIED), (404, Failure.NOT_FOUND), (409, Failure.MISCONFIGURED),
        (429, Failure.THROTTLED), (500, Failure.TRANSIENT), (503, Failure.TRANSIENT),
    ],
)  # fmt: skip
async def test_refusals(status: int, failure: Any) -> None:
    body = {"error": {"code": "AuthorizationFailed", "message": "x"}}
    error = await refused(lambda _: (status, body, {"Retry-After": "11"}))
    assert (error.failure, error.status, error.retry_after) == (failure, status, 11)


async def test_it_is_asked_once() -> None:
    """A listKeys counts against the account's budget: the broker decides on attempts, not the SDK."""
    for status in (429, 500, 503):
        transport = FakeTransport(lambda _, status=status: (status, {}))
        with pytest.raises(AccessError):
            await ResourceManager(transport).list_keys(CONTOSO_HR.account, Secret(TOKEN))
        assert len(transport.requests) == 1


async def test_a_lost_connection() -> None:
    def lost(_: Any) -> None:
        raise ServiceResponseError("reset")

    error = await refused(lost)
    assert (error.failure, error.status) == (Failure.TRANSIENT, None)


@pytest.mark.parametrize("body", [b"<html>", [], "text", None, 5])
async def test_what_is_no_answer_of_resource_manager_is_a_failure_like_others(body: Any) -> None:
    assert (await refused(lambda _: (200, body))).failure in (Failure.MISCONFIGURED, Failure.TRANSIENT)


async def test_after_a_refusal_no_error_keeps_the_token() -> None:
    error = await refused(lambda _: (403, {"error": {"code": "AuthorizationFailed"}}))
    seen, found = set(), []
    todo = [error]
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, str) and TOKEN in one and one != TOKEN:
            found.append(one)
        if isinstance(one, BaseException | dict | list | tuple) or hasattr(one, "headers"):
            todo += gc.get_referents(one)
    assert found == []
