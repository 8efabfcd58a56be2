"""How Azure Cosmos DB refuses: status, code, sub-status and body.

Sources: learn.microsoft.com/rest/api/cosmos-db/http-status-codes-for-cosmosdb (statuses), azure-cosmos
`http_constants.SubStatusCodes` (sub-statuses), the service's messages as the troubleshooting pages quote them.
"""

from http.client import responses

from infra.local.standin.wire import Answer

_CODES = {413: "RequestEntityTooLarge", 429: "429", 449: "RetryWith"}  # which are not HTTP's own words


class CosmosError(Exception):
    """A refusal. `substatus` becomes the header x-ms-substatus, `retry_after_ms` x-ms-retry-after-ms."""

    def __init__(
        self, status: int, message: str, *, substatus: int | None = None, retry_after_ms: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.substatus = substatus
        self.retry_after_ms = retry_after_ms

    def answer(self, activity_id: str = "00000000-0000-0000-0000-000000000000") -> Answer:
        """The answer as Azure words it: `{code, message}`, the message closed by activity id and component."""
        body = {
            "code": _CODES.get(self.status) or responses.get(self.status, str(self.status)).replace(" ", ""),
            "message": f"{self.message}\r\nActivityId: {activity_id}, Microsoft.Azure.Documents.Common/2.14.0",
        }
        headers = {"x-ms-activity-id": activity_id, "x-ms-request-charge": "0"}
        if self.substatus is not None:
            headers["x-ms-substatus"] = str(self.substatus)
        if self.retry_after_ms is not None:
            headers["x-ms-retry-after-ms"] = str(self.retry_after_ms)
        return Answer(self.status, body, headers)


def bad_request(message: str) -> CosmosError:
    """400: the request itself is wrong."""
    return CosmosError(400, message)


def needs_plan() -> CosmosError:
    """400 / 1004 (CROSS_PARTITION_QUERY_NOT_SERVABLE): the results must be merged, so the SDK asks for a plan."""
    return CosmosError(
        400,
        "The provided cross partition query can not be directly served by the gateway. This is a first chance "
        "(internal) exception that all newer clients will know how to handle gracefully. This exception is traced, "
        "but unless you see it bubble up as an exception (which only happens on older SDK clients), then you can "
        "safely ignore this message.",
        substatus=1004,
    )


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
        retry_after_ms=retry_after_ms,
    )


def generic(status: int, retry_after: float | None) -> CosmosError:
    """The service's error of that status, for injected faults; `retry_after` in seconds."""
    milliseconds = None if retry_after is None else round(retry_after * 1000)
    if status == 429:
        return too_many_requests(10 if milliseconds is None else milliseconds)
    return CosmosError(status, "The request could not be served.", retry_after_ms=milliseconds)
