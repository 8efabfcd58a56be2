import json
import logging
from typing import Any

import pytest

from shared import telemetry
from shared.core.secret import Secret

CANARY = "Zq7canary"


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.DEBUG)
    return caplog


def test_an_event_is_one_line_of_json(log: Any) -> None:
    telemetry.event("screening_run", tenant_id="ten_1", attempt=2, code=None, reason='a "quoted"\nreason')
    (message,) = log.messages
    assert "\n" not in message
    assert json.loads(message) == {
        "event": "screening_run", "tenant_id": "ten_1", "attempt": 2, "reason": 'a "quoted"\nreason',
    }  # fmt: skip
    assert log.records[0].levelno == logging.INFO


@pytest.mark.parametrize("field", ["name", "ssn", "email", "message", "body", "token", "key", "text", "exception"])
def test_a_field_that_is_not_on_the_list_raises(log: Any, field: Any) -> None:
    for emit in (telemetry.event, lambda name, **fields: telemetry.failure(name, ValueError(), **fields)):
        with pytest.raises((ValueError, TypeError)) as caught:
            emit("event", **{field: CANARY})
        assert CANARY not in str(caught.value)
    assert log.messages == []


@pytest.mark.parametrize(
    "name",
    ["first_name", "last_name", "dob", "ssn", "email", "phone", "address", "candidate_id", "authorization", "url"],
)
def test_the_list_has_no_room_for_persons(name: str) -> None:
    assert name not in telemetry.FIELDS


def test_a_secret_cannot_be_logged_even_in_an_allowed_field(log: Any) -> None:
    with pytest.raises(TypeError):
        telemetry.event("event", reason=Secret(CANARY))
    assert CANARY not in log.text


def test_a_failure_is_logged_by_type_and_place_without_its_text(log: Any) -> None:
    def deep(person: str) -> None:
        raise KeyError(person)

    try:
        try:
            deep(CANARY)
        except KeyError as inner:
            raise RuntimeError(f"could not work on {CANARY}") from inner
    except RuntimeError as error:
        telemetry.failure("job_failed", error, function="run_screening")
    assert CANARY not in log.text
    event = json.loads(log.messages[0])
    assert (event["event"], event["error"], event["function"]) == ("job_failed", "RuntimeError", "run_screening")
    assert event["where"].startswith("test_a_failure_is_logged_by_type_and_place_without_its_text:")
    assert log.records[0].levelno == logging.ERROR
    assert log.records[0].exc_info is None


def test_the_sdks_are_quiet() -> None:
    loggers = [logging.getLogger(name) for name in ("azure", "msal", "aiohttp")]
    levels = [logger.level for logger in loggers]
    try:
        telemetry.quieten_sdks()
        for name in ("azure.core.pipeline.policies.http_logging_policy", "azure.identity", "azure.servicebus", "msal"):
            assert not logging.getLogger(name).isEnabledFor(logging.WARNING)
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
