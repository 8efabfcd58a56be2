"""The calls on a container's items: point operations, batches, queries."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from infra.local.standin.cosmos import documents, errors
from infra.local.standin.cosmos.batch import run_batch
from infra.local.standin.cosmos.documents import Change, parse_body
from infra.local.standin.cosmos.errors import CosmosError
from infra.local.standin.cosmos.partitions import PHYSICAL_PARTITIONS, PartitionKey
from infra.local.standin.cosmos.query.execution import DEFAULT_PAGE, Page, run
from infra.local.standin.cosmos.query.language import Query, parse_query
from infra.local.standin.cosmos.query.planning import make_plan, needs_plan_error
from infra.local.standin.cosmos.store import Container, to_json
from infra.local.standin.cosmos.throughput import read_charge, write_charge
from infra.local.standin.wire import Answer, Call

type ItemHandler = Callable[[Container, Call, str], Answer]

_RANGE_GONE = 1002  # SubStatusCodes.PARTITION_KEY_RANGE_GONE


def changing(kind: Change) -> ItemHandler:
    """The handler of POST /docs, and of PUT, PATCH and DELETE /docs/{id}."""

    def handle(container: Container, call: Call, item_id: str) -> Answer:
        key = _key(container, call)
        body = {} if kind == "Delete" else parse_body(call.body)
        with container.unit():
            status, item = documents.change(container, key, kind, item_id, body, call.headers.get("if-match"))
        headers = _headers(container, call, key.physical, write_charge(len(item.text)))
        if kind == "Delete":
            return Answer(status, b"", headers)
        return Answer(status, item.text, headers | {"etag": item.etag})

    return handle


def read_item(container: Container, call: Call, item_id: str) -> Answer:
    """GET /docs/{id}."""
    key = _key(container, call)
    item = documents.read(container, key, item_id)
    headers = _headers(container, call, key.physical, read_charge(len(item.text)))
    return Answer(200, item.text, headers | {"etag": item.etag})


def batch(container: Container, call: Call, _: str) -> Answer:
    """POST /docs with x-ms-cosmos-is-batch-request."""
    key = _key(container, call)
    if call.headers.get("x-ms-cosmos-batch-atomic", "").lower() != "true":
        raise errors.not_implemented("batches that are not atomic")
    outcome = run_batch(container, key, call.body)
    return Answer(outcome.status, to_json(outcome.results), _headers(container, call, key.physical, outcome.charge))


def query(container: Container, call: Call, _: str) -> Answer:
    """POST /docs with x-ms-documentdb-isquery: in one logical partition, one physical partition, or over all."""
    parsed, parameters = _query_of(call)
    token = call.headers.get("x-ms-continuation")
    size = _page_size(call)
    if (header := call.headers.get("x-ms-documentdb-partitionkey")) is not None:
        key = container.partition_key.of_header(header)
        page = run(parsed, container.in_logical_partition(key), parameters, token, size)
        return _feed(container, call, key.physical, page)
    if (range_id := call.headers.get("x-ms-documentdb-partitionkeyrangeid")) is not None:
        index = _physical(range_id)
        page = run(parsed, container.in_physical_partition(index), parameters, token, size)
        return _feed(container, call, index, page)
    if call.headers.get("x-ms-documentdb-query-enablecrosspartition", "").lower() != "true":
        raise errors.bad_request(
            "Cross partition query is required but disabled. Please set x-ms-documentdb-query-enablecrosspartition to "
            "true, specify x-ms-documentdb-partitionkey, or revise your query to avoid this exception."
        )
    if parsed.order:
        raise needs_plan_error()

    def on_partition(index: int, inner: str | None) -> Page:
        return run(parsed, container.in_physical_partition(index), parameters, inner, size)

    return _fan_out(container, call, on_partition, token)


def query_plan(container: Container, call: Call, _: str) -> Answer:
    """POST /docs with x-ms-cosmos-is-query-plan-request."""
    parsed, _parameters = _query_of(call)
    return Answer(200, to_json(make_plan(parsed)), _headers(container, call, 0, 1))


def _fan_out(
    container: Container, call: Call, on_partition: Callable[[int, str | None], Page], token: str | None
) -> Answer:
    """One page over all physical partitions, one after the other; the token tells which comes next."""
    index, inner = 0, None
    if token is not None:
        range_id, _, inner = token.partition("|")
        index, inner = _physical(range_id), inner or None
    while True:
        page = on_partition(index, inner)
        following = f"{index}|{page.continuation}" if page.continuation else f"{index + 1}|"
        if page.continuation is None and index + 1 == len(PHYSICAL_PARTITIONS):
            return _feed(container, call, index, page)
        if page.results:
            return _feed(container, call, index, Page(page.results, following, page.charge))
        index, inner = index + 1, None


def _feed(container: Container, call: Call, physical: int, page: Page) -> Answer:
    headers = _headers(container, call, physical, page.charge)
    headers["x-ms-item-count"] = str(len(page.results))
    if page.continuation is not None:
        headers["x-ms-continuation"] = page.continuation
    start = f'{{"_rid":"{container.rid}","Documents":['.encode()
    end = f'],"_count":{len(page.results)}}}'.encode()
    return Answer(200, start + b",".join(page.results) + end, headers)


def _headers(container: Container, call: Call, physical: int, charge: float) -> dict[str, str]:
    """The headers of every answer; counts the charge.

    The SDK follows a session by session token, alternate path and range id; without the latter three it reads the
    ranges again before every read (azure-cosmos `_session.py`).
    """
    container.throughput.use(charge)
    return {
        "content-type": "application/json",
        "x-ms-activity-id": call.headers.get("x-ms-activity-id", ""),
        "x-ms-request-charge": str(charge),
        "x-ms-session-token": f"{PHYSICAL_PARTITIONS[physical].id}:-1#{container.lsn[physical]}",
        "lsn": str(container.lsn[physical]),
        "x-ms-documentdb-partitionkeyrangeid": PHYSICAL_PARTITIONS[physical].id,
        "x-ms-alt-content-path": container.path,
        "x-ms-content-path": container.rid,
    }


def _key(container: Container, call: Call) -> PartitionKey:
    header = call.headers.get("x-ms-documentdb-partitionkey")
    if header is None:
        raise errors.bad_request("PartitionKey value must be supplied for this operation.")
    return container.partition_key.of_header(header)


def _physical(range_id: str) -> int:
    for index, partition in enumerate(PHYSICAL_PARTITIONS):
        if partition.id == range_id:
            return index
    raise CosmosError(410, "The requested partition key range does not exist.", substatus=_RANGE_GONE)


def _page_size(call: Call) -> int:
    try:
        size = int(call.headers.get("x-ms-max-item-count") or DEFAULT_PAGE)
    except ValueError:
        size = 0
    if size < -1 or size == 0:
        raise errors.bad_request("The value of x-ms-max-item-count is invalid: it must be -1 or positive.")
    return size


def _query_of(call: Call) -> tuple[Query, dict[str, Any]]:
    """Query and parameters of `{"query": ..., "parameters": [{"name": "@a", "value": ...}]}`."""
    try:
        body = json.loads(call.body)
        given: Iterable[dict[str, Any]] = body.get("parameters") or ()
        text, parameters = str(body["query"]), {entry["name"]: entry["value"] for entry in given}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise errors.bad_request("The query payload is invalid.") from None
    return parse_query(text), parameters


ITEM_HANDLERS: dict[str, ItemHandler] = {
    "create_item": changing("Create"),
    "upsert_item": changing("Upsert"),
    "read_item": read_item,
    "replace_item": changing("Replace"),
    "patch_item": changing("Patch"),
    "delete_item": changing("Delete"),
    "batch": batch,
    "query": query,
    "query_plan": query_plan,
}
