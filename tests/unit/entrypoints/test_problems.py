import json
from typing import Any

import pytest

from shared.core.errors import BulkheadError, FieldError, Kind
from shared.core.ids import RequestId
from shared.entrypoints.problems import STATUS, problem

REQUEST_ID = RequestId("req_1")

EXPECTED = {
    "invalid": 400, "unauthenticated": 401, "forbidden": 403, "not_found": 404, "not_allowed": 405,
    "conflict": 409, "precondition_failed": 412, "too_large": 413, "unsupported_media_type": 415, "unprocessable": 422,
    "precondition_required": 428, "throttled": 429, "broken": 500, "unavailable": 503,
}  # fmt: skip


def test_the_table_is_complete() -> None:
    assert {str(kind): status for kind, (status, _) in STATUS.items()} == EXPECTED
    assert set(STATUS) == set(Kind)


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_is_a_problem_document(kind: Kind) -> None:
    answer = problem(BulkheadError(kind, "some_code", "A detail."), REQUEST_ID)
    document = json.loads(answer.get_body())
    assert answer.status_code == document["status"] == EXPECTED[kind]
    assert answer.mimetype == "application/problem+json"
    assert document == {
        "type": "urn:bulkhead:problem:some_code",
        "title": STATUS[kind][1],
        "status": EXPECTED[kind],
        "detail": "A detail.",
        "instance": "urn:bulkhead:request:req_1",
    }
    assert answer.headers["X-Request-Id"] == REQUEST_ID
    assert answer.headers["Cache-Control"] == "no-store"
    assert ("WWW-Authenticate" in answer.headers) == (kind is Kind.UNAUTHENTICATED)
    assert "Retry-After" not in answer.headers


@pytest.mark.parametrize(("seconds", "header"), [(0, "1"), (0.2, "1"), (1, "1"), (1.01, "2"), (300, "300")])
def test_retry_after_is_whole_seconds(seconds: Any, header: Any) -> None:
    answer = problem(BulkheadError(Kind.UNAVAILABLE, "code", "Detail.", retry_after=seconds), REQUEST_ID)
    assert answer.headers["Retry-After"] == header


def test_faulty_fields_are_listed() -> None:
    error = BulkheadError(Kind.UNPROCESSABLE, "code", "Detail.", fields=(FieldError("/a/0", "Too long."),))
    assert json.loads(problem(error, REQUEST_ID).get_body())["errors"] == [{"pointer": "/a/0", "detail": "Too long."}]
