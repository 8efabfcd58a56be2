"""From the errors of azure-core to the broker's classes of failure, by status and code."""

import re
from typing import Any, cast

from azure.core.exceptions import AzureError, HttpResponseError

from shared.access.failures import AccessError, Failure, Step

_BY_STATUS = {
    401: Failure.DENIED,
    403: Failure.DENIED,
    404: Failure.NOT_FOUND,
    408: Failure.TRANSIENT,
    429: Failure.THROTTLED,
    501: Failure.MISCONFIGURED,
}
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]+)?")


def access_error(step: Step, error: AzureError) -> AccessError:
    """The class of `error` where a step has no rule of its own. An error without an answer is a lost connection."""
    if not isinstance(error, HttpResponseError) or error.status_code is None:
        return AccessError(step, Failure.TRANSIENT)
    status = error.status_code
    default = Failure.TRANSIENT if status >= 500 else Failure.MISCONFIGURED
    return AccessError(step, _BY_STATUS.get(status, default), status=status, retry_after=retry_after(error))


def retry_after(error: HttpResponseError) -> float | None:
    """Seconds of the answer's Retry-After header, if it has a usable one."""
    response = cast(Any, error.response)  # azure-core types only what its two generations of answers share
    value = response.headers.get("Retry-After", "") if response is not None else ""
    return float(value) if _SECONDS.fullmatch(value) else None  # a date is not read: Azure's services send seconds
