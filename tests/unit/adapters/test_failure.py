from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ServiceRequestError, ServiceResponseError
from azure.core.rest import HttpRequest

from shared.access.failures import REACTIONS, AccessError, Failure, unavailable
from shared.adapters.failure import access_error, retry_after
from shared.core.errors import Kind
from tests.transports import response

REQUEST = HttpRequest("GET", "https://x.example")


def refusal(status: int, **headers: Any) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpResponseError(message="canary", response=response(REQUEST, status, {"error": "canary"}, named))


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (400, Failure.MISCONFIGURED), (401, Failure.DENIED), (403, Failure.DENIED), (404, Failure.NOT_FOUND),
        (405, Failure.MISCONFIGURED), (408, Failure.TRANSIENT), (409, Failure.MISCONFIGURED),
        (412, Failure.MISCONFIGURED), (429, Failure.THROTTLED), (500, Failure.TRANSIENT), (502, Failure.TRANSIENT),
        (503, Failure.TRANSIENT), (504, Failure.TRANSIENT), (302, Failure.MISCONFIGURED),
    ],
)  # fmt: skip
@pytest.mark.parametrize("step", [1, 2, 3, 5])
def test_a_failure_is_told_by_its_status(step: Any, status: int, failure: Any) -> None:
    error = access_error(step, refusal(status))
    assert (error.step, error.failure, error.status, error.retry_after) == (step, failure, status, None)
    assert "canary" not in str(error)


@pytest.mark.parametrize(
    "error", [ServiceRequestError("canary"), ServiceResponseError("canary"), HttpResponseError("canary")]
)
def test_an_error_without_an_answer_is_a_lost_connection(error: Any) -> None:
    told = access_error(1, error)
    assert (told.failure, told.status) == (Failure.TRANSIENT, None)
    assert "canary" not in str(told)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("5", 5), ("0", 0), ("1.5", 1.5), ("-3", None), ("", None), ("soon", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("nan", None), ("inf", None), ("1e400", None), ("9" * 400, None),
    ],
)  # fmt: skip
def test_retry_after(header: Any, seconds: Any) -> None:
    assert retry_after(refusal(429, Retry_After=header)) == seconds


def test_retry_after_may_be_absent() -> None:
    assert retry_after(refusal(429)) is None
    assert retry_after(HttpResponseError("no answer")) is None


@pytest.mark.parametrize("failure", Failure)
@pytest.mark.parametrize("asked", [None, 7.0])
def test_every_failure_has_a_reaction_and_an_answer(failure: Any, asked: Any) -> None:
    told = unavailable(AccessError(3, failure, retry_after=asked))
    assert told.kind is Kind.UNAVAILABLE
    assert told.code == REACTIONS[failure].code
    assert told.retry_after == (asked or REACTIONS[failure].retry_after)
    assert "step 3" in told.detail
