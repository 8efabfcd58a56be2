"""Transactional batches: up to 100 operations on one logical partition, all or nothing.

Source: learn.microsoft.com/azure/cosmos-db/nosql/transactional-batch: the answer has one result for each operation;
when one fails the answer's status is 207, the failed one has its own status and the others 424, nothing is kept.
"""

import json
from dataclasses import dataclass
from typing import Any

from infra.local.standin.cosmos import documents, errors
from infra.local.standin.cosmos.errors import CosmosError
from infra.local.standin.cosmos.partitions import PartitionKey
from infra.local.standin.cosmos.store import Container
from infra.local.standin.cosmos.throughput import write_charge

_MAX_OPERATIONS = 100
_FAILED_DEPENDENCY = 424


@dataclass(slots=True, frozen=True)
class Outcome:
    """The answer of a batch: 200 or 207, a result for each operation, the charge in RU."""

    status: int
    results: list[dict[str, Any]]
    charge: float


class _Failed(Exception):  # noqa: N818 - ends the unit, so that it is undone
    def __init__(self, index: int, cause: CosmosError) -> None:
        super().__init__(str(cause))
        self.index = index
        self.cause = cause


def run_batch(container: Container, key: PartitionKey, raw: bytes) -> Outcome:
    """Carry out a batch. Raises CosmosError 400 or 413 when the request as a whole is wrong."""
    operations = _parse(raw)
    results: list[dict[str, Any]] = []
    try:
        with container.unit():
            for index, operation in enumerate(operations):
                try:
                    results.append(_run(container, key, operation))
                except CosmosError as refused:
                    raise _Failed(index, refused) from refused
    except _Failed as failed:
        results = [{"statusCode": _FAILED_DEPENDENCY, "requestCharge": 0} for _ in operations]
        results[failed.index] = {"statusCode": failed.cause.status, "requestCharge": 1}
        if failed.cause.substatus is not None:
            results[failed.index]["subStatusCode"] = failed.cause.substatus
        return Outcome(207, results, float(len(operations)))
    return Outcome(200, results, round(sum(result["requestCharge"] for result in results), 2))


def _parse(raw: bytes) -> list[dict[str, Any]]:
    if len(raw) > documents.MAX_SIZE:
        raise errors.too_large()
    try:
        operations = json.loads(raw)
    except ValueError:
        operations = None
    if not isinstance(operations, list) or not all(isinstance(operation, dict) for operation in operations):
        raise errors.bad_request("The batch request payload is invalid.")
    if not operations:
        raise errors.bad_request("The batch request must have at least one operation.")
    if len(operations) > _MAX_OPERATIONS:
        raise errors.bad_request(f"Batch request has more operations than what is supported: {_MAX_OPERATIONS}.")
    return operations


def _run(container: Container, key: PartitionKey, operation: dict[str, Any]) -> dict[str, Any]:
    body, wanted = operation.get("resourceBody"), operation.get("operationType")
    kind = next((kind for kind in documents.CHANGES if kind == wanted), None)
    if kind is None:
        raise errors.bad_request(f"The batch operation type '{wanted}' is not supported.")
    if kind != "Delete" and not isinstance(body, dict):
        raise errors.bad_request("The batch operation needs a resourceBody.")
    item_id = str(operation.get("id", ""))
    status, item = documents.change(container, key, kind, item_id, body or {}, operation.get("ifMatch"))
    result = {"statusCode": status, "requestCharge": write_charge(len(item.text))}
    return result if kind == "Delete" else {**result, "eTag": item.etag, "resourceBody": item.body}
