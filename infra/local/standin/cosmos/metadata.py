"""The calls on an account's resources above items: the account itself, databases, containers, partition key ranges."""

from collections.abc import Mapping
from typing import Any

from infra.local.standin.cosmos import errors
from infra.local.standin.cosmos.documents import checked_id, parse_body
from infra.local.standin.cosmos.partitions import RANGES
from infra.local.standin.cosmos.request import Request
from infra.local.standin.cosmos.store import to_json
from infra.local.standin.wire import Answer

HOST_SUFFIX = ".documents.azure.com"
_REGION = "West Europe"
REGION_SUFFIX = "-" + _REGION.replace(" ", "").lower()


def read_account(request: Request) -> Answer:
    """GET /."""
    name = request.account.name
    location = {"name": _REGION, "databaseAccountEndpoint": f"https://{name}{REGION_SUFFIX}{HOST_SUFFIX}:443/"}
    properties = {
        "_self": "",
        "id": name,
        "_rid": f"{name}{HOST_SUFFIX}",
        "media": "//media/",
        "addresses": "//addresses/",
        "_dbs": "//dbs/",
        "writableLocations": [location],
        "readableLocations": [location],
        "enableMultipleWriteLocations": False,
        "userReplicationPolicy": {"asyncReplication": False, "minReplicaSetSize": 3, "maxReplicasetSize": 4},
        "userConsistencyPolicy": {"defaultConsistencyLevel": "Session"},
        "systemReplicationPolicy": {"minReplicaSetSize": 3, "maxReplicasetSize": 4},
        "readPolicy": {"primaryReadCoefficient": 1, "secondaryReadCoefficient": 1},
        "queryEngineConfiguration": "{}",
    }
    return Answer(200, to_json(properties), request.headers(1))


def create_database(request: Request) -> Answer:
    """POST /dbs."""
    name = request.account.name
    database_id = _new_id(parse_body(request.call.body), request.store.databases(name))
    return _resource(request, 201, request.store.add_database(name, database_id).properties)


def read_database(request: Request) -> Answer:
    """GET /dbs/{id}."""
    return _resource(request, 200, request.database.properties)


def create_collection(request: Request) -> Answer:
    """POST /dbs/{id}/colls."""
    database, definition = request.database, parse_body(request.call.body)
    _new_id(definition, database.containers)
    if "partitionKey" not in definition:
        raise errors.bad_request("The partition key definition is missing.")
    return _resource(request, 201, request.store.add_container(request.account.name, database, definition).properties)


def read_collection(request: Request) -> Answer:
    """GET /dbs/{id}/colls/{id}."""
    return _resource(request, 200, request.container.properties)


def list_pk_ranges(request: Request) -> Answer:
    """The ranges of physical partitions; 304 once the caller has them, which ends the SDK's reading.

    Source: azure-cosmos `_routing/_routing_map_provider_common.py`, evaluate_drain_page.
    """
    properties = request.container.properties
    headers = request.headers(1) | {"etag": properties["_etag"]}
    if request.call.headers.get("if-none-match") == properties["_etag"]:
        return Answer(304, b"", headers)
    ranges = [
        {
            "_rid": properties["_rid"],
            "id": f"{index}",
            "_etag": properties["_etag"],
            "minInclusive": lower,
            "maxExclusive": upper,
            "ridPrefix": index,
            "_self": f"{properties['_self']}pkranges/{index}/",
            "throughputFraction": 1 / len(RANGES),
            "status": "online",
            "parents": [],
            "_ts": properties["_ts"],
        }
        for index, (lower, upper) in enumerate(RANGES)
    ]
    body = {"_rid": properties["_rid"], "PartitionKeyRanges": ranges, "_count": len(ranges)}
    return Answer(200, to_json(body), headers)


def _new_id(definition: dict[str, Any], existing: Mapping[str, Any]) -> str:
    new_id = checked_id(definition)
    if new_id in existing:
        raise errors.conflict()
    return new_id


def _resource(request: Request, status: int, properties: dict[str, Any]) -> Answer:
    return Answer(status, to_json(properties), request.headers(1) | {"etag": properties["_etag"]})
