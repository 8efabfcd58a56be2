"""Transactional batches: up to 100 operations on one logical partition, all or nothing.

Source: learn.microsoft.com/azure/cosmos-db/nosql/transactional-batch: the answer has one result for each operation;
when one fails the answer's status is 207, the failed one has its own status and the others 424, nothing is kept.
"""

from typing import Any, Literal

import msgspec

from infra.local.standin.cosmos import documents, errors
from infra.local.standin.cosmos.errors import CosmosError
from infra.local.standin.cosmos.partitions import PartitionKey
from infra.local.standin.cosmos.store import Container
from infra.local.standin.cosmos.throughput import write_charge

_MAX_OPERATIONS = 100
_FAILED_DEPENDENCY = 424


class _Operation(msgspec.Struct, rename="camel"):
    operation_type: documents.Change | Literal["Read"]
    id: str = ""
    if_match: str | None = None
    if_none_match: str | None = None
    resource_body: dict[str, Any] = {}


def run_batch(container: Container, key: PartitionKey, raw: bytes) -> tuple[int, list[dict[str, Any]], float]:
    """Carry out a batch: 200 or 207, a result for each operation, the charge in RU.

    Raises CosmosError 400 or 413 when the request as a whole is wrong, 501 for an operation that is not played.
    """
    operations = _parse(raw)
    results: list[dict[str, Any]] = []
    try:
        with container.unit():
            for operation in operations:
                results.append(_run(container, key, operation))  # noqa: PERF401 - their number tells which one fails
    except CosmosError as failed:
        if failed.status == 501:
            raise
        failed_at = len(results)
        results = [{"statusCode": _FAILED_DEPENDENCY, "requestCharge": 0} for _ in operations]
        results[failed_at] = {"statusCode": failed.status, "requestCharge": 1}
        if failed.substatus is not None:
            results[failed_at]["subStatusCode"] = failed.substatus
        return 207, results, float(len(operations))
    return 200, results, round(sum(result["requestCharge"] for result in results), 2)


def _parse(raw: bytes) -> list[_Operation]:
    if len(raw) > documents.MAX_SIZE:
        raise errors.too_large()
    try:
        operations = msgspec.json.decode(raw, type=list[_Operation])
    except ValueError as error:
        raise errors.bad_request(f"The batch request payload is invalid: {error}.") from None
    if not operations:
        raise errors.bad_request("The batch request must have at least one operation.")
    if len(operations) > _MAX_OPERATIONS:
        raise errors.bad_request(f"Batch request has more operations than what is supported: {_MAX_OPERATIONS}.")
    return operations


def _run(container: Container, key: PartitionKey, operation: _Operation) -> dict[str, Any]:
    kind = operation.operation_type
    if kind == "Read" or operation.if_none_match is not None:
        raise errors.not_implemented("reads and ifNoneMatch within a batch")
    status, item = documents.change(container, key, kind, operation.id, operation.resource_body, operation.if_match)
    result = {"statusCode": status, "requestCharge": write_charge(len(item.text))}
    return result if kind == "Delete" else {**result, "eTag": item.etag, "resourceBody": item.body}
