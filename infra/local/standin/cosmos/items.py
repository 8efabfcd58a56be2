"""The calls on a container's items: point operations, batches, queries."""

from collections.abc import Callable
from typing import Any

import msgspec

from infra.local.standin.cosmos import documents, errors
from infra.local.standin.cosmos.batch import run_batch
from infra.local.standin.cosmos.documents import Change, parse_body
from infra.local.standin.cosmos.errors import CosmosError
from infra.local.standin.cosmos.partitions import RANGES, PartitionKey
from infra.local.standin.cosmos.query.execution import DEFAULT_PAGE, run
from infra.local.standin.cosmos.query.language import Query, parse_query
from infra.local.standin.cosmos.query.planning import make_plan
from infra.local.standin.cosmos.request import Request
from infra.local.standin.cosmos.store import to_json
from infra.local.standin.cosmos.throughput import read_charge, write_charge
from infra.local.standin.wire import Answer

_PARTITION_KEY = "x-ms-documentdb-partitionkey"


def changing(kind: Change) -> Callable[[Request], Answer]:
    """The handler of POST /docs, and of PUT, PATCH and DELETE /docs/{id}."""

    def handle(request: Request) -> Answer:
        container, key = request.container, _key(request)
        body = {} if kind == "Delete" else parse_body(request.call.body)
        with container.unit():
            if_match = request.call.headers.get("if-match")
            status, item = documents.change(container, key, kind, request.link.item, body, if_match)
        charge = write_charge(len(item.text))
        if kind == "Delete":
            return _answer(request, status, b"", charge, key.physical)
        return _answer(request, status, item.text, charge, key.physical, {"etag": item.etag})

    return handle


def read_item(request: Request) -> Answer:
    """GET /docs/{id}."""
    key = _key(request)
    item = documents.read(request.container, key, request.link.item)
    return _answer(request, 200, item.text, read_charge(len(item.text)), key.physical, {"etag": item.etag})


def batch(request: Request) -> Answer:
    """POST /docs with x-ms-cosmos-is-batch-request."""
    key = _key(request)
    if not request.asks("x-ms-cosmos-batch-atomic"):
        raise errors.not_implemented("batches that are not atomic")
    status, results, charge = run_batch(request.container, key, request.call.body)
    return _answer(request, status, to_json(results), charge, key.physical)


def query(request: Request) -> Answer:
    """POST /docs with x-ms-documentdb-isquery: in one logical partition, one physical partition, or over all."""
    container, headers = request.container, request.call.headers
    parsed, parameters = _query_of(request)
    physical: int | None = None  # all
    if _PARTITION_KEY in headers:
        key = _key(request)
        physical, items = key.physical, container.in_logical_partition(key)
    elif (range_id := headers.get("x-ms-documentdb-partitionkeyrangeid")) is not None:
        if range_id not in map(str, range(len(RANGES))):
            raise CosmosError(410, "The requested partition key range does not exist.", substatus=1002)
        physical, items = int(range_id), container.in_physical_partition(int(range_id))
    elif not request.asks("x-ms-documentdb-query-enablecrosspartition"):
        raise errors.bad_request(
            "Cross partition query is required but disabled. Please set x-ms-documentdb-query-enablecrosspartition to "
            "true, specify x-ms-documentdb-partitionkey, or revise your query to avoid this exception."
        )
    elif parsed.order:
        raise errors.needs_plan()
    else:
        items = container.in_physical_partition(None)
    page = run(parsed, items, parameters, headers.get("x-ms-continuation"), _page_size(request))
    more = {"x-ms-item-count": str(len(page.results))}
    if page.continuation is not None:
        more["x-ms-continuation"] = page.continuation
    start = f'{{"_rid":"{container.rid}","Documents":['.encode()
    end = f'],"_count":{len(page.results)}}}'.encode()
    return _answer(request, 200, start + b",".join(page.results) + end, page.charge, physical or 0, more)


def query_plan(request: Request) -> Answer:
    """POST /docs with x-ms-cosmos-is-query-plan-request."""
    parsed, _ = _query_of(request)
    return _answer(request, 200, to_json(make_plan(parsed)), 1, 0)


def _answer(
    request: Request, status: int, body: bytes, charge: float, physical: int, more: dict[str, str] | None = None
) -> Answer:
    """An answer with the headers of all, and `more`; counts the charge.

    The SDK follows a session by session token, alternate path and range id; without the latter three it reads the
    ranges again before every read (azure-cosmos `_session.py`).
    """
    container = request.container
    container.throughput.use(charge)
    lsn = container.lsn[physical]
    headers = {
        "x-ms-session-token": f"{physical}:-1#{lsn}",
        "lsn": str(lsn),
        "x-ms-documentdb-partitionkeyrangeid": str(physical),
        "x-ms-alt-content-path": container.path,
        "x-ms-content-path": container.rid,
    }
    return Answer(status, body, request.headers(charge) | headers | (more or {}))


def _key(request: Request) -> PartitionKey:
    header = request.call.headers.get(_PARTITION_KEY)
    if header is None:
        raise errors.bad_request("PartitionKey value must be supplied for this operation.")
    return request.container.partition_key.of_header(header)


def _page_size(request: Request) -> int:
    try:
        size = int(request.call.headers.get("x-ms-max-item-count") or DEFAULT_PAGE)
    except ValueError:
        size = 0
    if size < -1 or size == 0:
        raise errors.bad_request("The value of x-ms-max-item-count is invalid: it must be -1 or positive.")
    return size


class _Parameter(msgspec.Struct):
    name: str
    value: Any


class _QueryBody(msgspec.Struct):
    query: str
    parameters: list[_Parameter] | None = None


def _query_of(request: Request) -> tuple[Query, dict[str, Any]]:
    try:
        body = msgspec.json.decode(request.call.body, type=_QueryBody)
    except ValueError:
        raise errors.bad_request("The query payload is invalid.") from None
    return parse_query(body.query), {given.name: given.value for given in body.parameters or ()}
