"""Errors to HTTP answers: RFC 9457 problem documents. The one table from kinds of error to status codes."""

import math
from typing import Any

import azure.functions as func
import msgspec

from shared.core.errors import BulkheadError, Kind
from shared.core.ids import RequestId

STATUS: dict[Kind, tuple[int, str]] = {
    Kind.INVALID: (400, "Bad request"),
    Kind.UNAUTHENTICATED: (401, "Not authenticated"),
    Kind.FORBIDDEN: (403, "Forbidden"),
    Kind.NOT_FOUND: (404, "Not found"),
    Kind.NOT_ALLOWED: (405, "Method not allowed"),
    Kind.CONFLICT: (409, "Conflict"),
    Kind.PRECONDITION_FAILED: (412, "Precondition failed"),
    Kind.TOO_LARGE: (413, "Content too large"),
    Kind.UNSUPPORTED_MEDIA_TYPE: (415, "Unsupported media type"),
    Kind.UNPROCESSABLE: (422, "Unprocessable content"),
    Kind.PRECONDITION_REQUIRED: (428, "Precondition required"),
    Kind.THROTTLED: (429, "Too many requests"),
    Kind.BROKEN: (500, "Internal error"),
    Kind.UNAVAILABLE: (503, "Service unavailable"),
}


def problem(error: BulkheadError, request_id: RequestId) -> func.HttpResponse:
    """The answer for `error`. Says nothing of the input's values."""
    status, title = STATUS[error.kind]
    document: dict[str, Any] = {
        "type": f"urn:bulkhead:problem:{error.code}",
        "title": title,
        "status": status,
        "detail": error.detail,
        "instance": f"urn:bulkhead:request:{request_id}",
    }
    if error.fields:
        document["errors"] = [{"pointer": field.pointer, "detail": field.detail} for field in error.fields]
    headers = {"X-Request-Id": request_id, "Cache-Control": "no-store"}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if error.kind is Kind.UNAUTHENTICATED:
        # RFC 6750, section 3.1: no error code where no token was sent
        headers["WWW-Authenticate"] = "Bearer" if error.code == "token_required" else 'Bearer error="invalid_token"'
    return func.HttpResponse(
        msgspec.json.encode(document), status_code=status, mimetype="application/problem+json", headers=headers
    )
