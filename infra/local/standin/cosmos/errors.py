"""How Azure Cosmos DB refuses: status, code, sub-status and body.

Sources: learn.microsoft.com/rest/api/cosmos-db/http-status-codes-for-cosmosdb (statuses), azure-cosmos
`http_constants.SubStatusCodes` (sub-statuses), the service's messages as the troubleshooting pages quote them.
"""

from typing import Any

from infra.local.standin.wire import Answer

_CODES = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    408: "RequestTimeout",
    409: "Conflict",
    410: "Gone",
    412: "PreconditionFailed",
    413: "RequestEntityTooLarge",
    429: "429",
    449: "RetryWith",
    500: "InternalServerError",
    501: "NotImplemented",
    503: "ServiceUnavailable",
}


class CosmosError(Exception):
    """A refusal. `substatus` becomes the header x-ms-substatus."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        substatus: int | None = None,
        headers: dict[str, str] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.substatus = substatus
        self.headers = headers or {}
        self.extra = extra or {}

    def answer(self, activity_id: str = "00000000-0000-0000-0000-000000000000") -> Answer:
        """The answer as Azure words it: `{code, message}`, the message closed by activity id and component."""
        body = {
            "code": _CODES.get(self.status, str(self.status)),
            "message": f"{self.message}\r\nActivityId: {activity_id}, Microsoft.Azure.Documents.Common/2.14.0",
            **self.extra,
        }
        headers = {"x-ms-activity-id": activity_id, "x-ms-request-charge": "0", **self.headers}
        if self.substatus is not None:
            headers["x-ms-substatus"] = str(self.substatus)
        return Answer(self.status, body, headers)


def bad_request(message: str, substatus: int | None = None) -> CosmosError:
    """400: the request itself is wrong."""
    return CosmosError(400, message, substatus=substatus)


def not_implemented(what: str) -> CosmosError:
    """501: Azure offers it, the stand-in does not."""
    return CosmosError(501, f"The stand-in does not implement {what}.")


def item_not_found() -> CosmosError:
    """404 for an item that is not in the logical partition, or has expired."""
    return CosmosError(
        404,
        "Entity with the specified id does not exist in the system. Learn more: https://aka.ms/cosmosdb-tsg-not-found",
    )


def owner_not_found() -> CosmosError:
    """404 with sub-status 1003 (OWNER_RESOURCE_NOT_FOUND): the database or container of the resource is missing."""
    return CosmosError(
        404,
        'Message: {"Errors":["Owner resource does not exist. Learn more: https://aka.ms/cosmosdb-tsg-not-found"]}',
        substatus=1003,
    )


def resource_not_found() -> CosmosError:
    """404 for a database or container itself."""
    return CosmosError(404, "Resource Not Found. Learn more: https://aka.ms/cosmosdb-tsg-not-found")


def conflict() -> CosmosError:
    """409: the id is taken in its logical partition."""
    return CosmosError(
        409,
        "Entity with the specified id already exists in the system. Learn more: https://aka.ms/cosmosdb-tsg-conflict",
    )


def unique_key_violation() -> CosmosError:
    """409: another item of the logical partition has the same values in a unique key."""
    return CosmosError(409, "Unique index constraint violation. Learn more: https://aka.ms/cosmosdb-tsg-conflict")


def precondition_failed() -> CosmosError:
    """412: the item's ETag is not the one that the caller named, or a patch's condition does not hold."""
    return CosmosError(
        412,
        "Operation cannot be performed because one of the specified precondition is not met. "
        "Learn more: https://aka.ms/CosmosDB/sql/errors/precondition-failed",
    )


def too_large() -> CosmosError:
    """413: an item or a batch above 2 MB."""
    return CosmosError(
        413, "Request size is too large. Learn more: https://aka.ms/cosmosdb-tsg-request-entity-too-large"
    )


def too_many_requests(retry_after_ms: int) -> CosmosError:
    """429 with sub-status 3200 and x-ms-retry-after-ms: the container's throughput is used up."""
    return CosmosError(
        429,
        'Message: {"Errors":["Request rate is large. More Request Units may be needed, so no changes were made. '
        'Please retry this request later. Learn more: http://aka.ms/cosmosdb-error-429"]}',
        substatus=3200,
        headers={"x-ms-retry-after-ms": str(retry_after_ms)},
    )


def generic(status: int, retry_after: float | None) -> CosmosError:
    """The service's error of that status, for injected faults; `retry_after` in seconds."""
    if status == 429:
        return too_many_requests(round((retry_after if retry_after is not None else 0.01) * 1000))
    headers = {} if retry_after is None else {"x-ms-retry-after-ms": str(round(retry_after * 1000))}
    return CosmosError(status, "The request could not be served.", headers=headers)
