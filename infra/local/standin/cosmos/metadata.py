"""The calls on an account's resources above items: the account itself, databases, containers, partition key ranges."""

from collections.abc import Mapping
from typing import Any

from infra.local.standin.cosmos import errors
from infra.local.standin.cosmos.accounts import Account
from infra.local.standin.cosmos.documents import parse_body
from infra.local.standin.cosmos.links import Link
from infra.local.standin.cosmos.partitions import PHYSICAL_PARTITIONS
from infra.local.standin.cosmos.store import Container, Database, Store, to_json
from infra.local.standin.wire import Answer, Call

HOST_SUFFIX = ".documents.azure.com"
REGION = "West Europe"
REGION_SUFFIX = "-" + REGION.replace(" ", "").lower()


class Metadata:
    """Answers metadata calls; `handlers` has one for each operation."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.handlers = {
            "read_account": self._read_account,
            "create_database": self._create_database,
            "read_database": self._read_database,
            "create_collection": self._create_collection,
            "read_collection": self._read_collection,
            "list_pk_ranges": self._list_pk_ranges,
        }

    def database(self, account: Account, link: Link) -> Database:
        """The database that the link names. Raises CosmosError 404."""
        database = self._store.databases(account.name).get(link.database or "")
        if database is None:
            raise errors.resource_not_found() if link.resource_type == "dbs" else errors.owner_not_found()
        return database

    def container(self, account: Account, link: Link) -> Container:
        """The container that the link names. Raises CosmosError 404."""
        container = self.database(account, link).containers.get(link.container or "")
        if container is None:
            raise errors.resource_not_found() if link.resource_type == "colls" else errors.owner_not_found()
        return container

    def _read_account(self, account: Account, call: Call, _: Link) -> Answer:
        location = {
            "name": REGION,
            "databaseAccountEndpoint": f"https://{account.name}{REGION_SUFFIX}{HOST_SUFFIX}:443/",
        }
        properties = {
            "_self": "",
            "id": account.name,
            "_rid": f"{account.name}{HOST_SUFFIX}",
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
        return _reply(call, 200, properties)

    def _create_database(self, account: Account, call: Call, _: Link) -> Answer:
        database_id = _new_id(call, self._store.databases(account.name))
        return _reply(call, 201, self._store.add_database(account.name, database_id).properties)

    def _read_database(self, account: Account, call: Call, link: Link) -> Answer:
        return _reply(call, 200, self.database(account, link).properties)

    def _create_collection(self, account: Account, call: Call, link: Link) -> Answer:
        database = self.database(account, link)
        _new_id(call, database.containers)
        definition = parse_body(call.body)
        if "partitionKey" not in definition:
            raise errors.bad_request("The partition key definition is missing.")
        container = self._store.add_container(account.name, database, definition)
        return _reply(call, 201, container.properties, container)

    def _read_collection(self, account: Account, call: Call, link: Link) -> Answer:
        container = self.container(account, link)
        return _reply(call, 200, container.properties, container)

    def _list_pk_ranges(self, account: Account, call: Call, link: Link) -> Answer:
        """The ranges of physical partitions; 304 once the caller has them, which ends the SDK's reading.

        Source: azure-cosmos `_routing/_routing_map_provider_common.py`, evaluate_drain_page.
        """
        container = self.container(account, link)
        etag = container.properties["_etag"]
        if call.headers.get("if-none-match") == etag:
            answer = _reply(call, 304, None)
        else:
            ranges = [
                {
                    "_rid": container.rid,
                    "id": partition.id,
                    "_etag": etag,
                    "minInclusive": partition.lower,
                    "maxExclusive": partition.upper,
                    "ridPrefix": int(partition.id),
                    "_self": f"{container.properties['_self']}pkranges/{partition.id}/",
                    "throughputFraction": 1 / len(PHYSICAL_PARTITIONS),
                    "status": "online",
                    "parents": [],
                    "_ts": container.properties["_ts"],
                }
                for partition in PHYSICAL_PARTITIONS
            ]
            body = {"_rid": container.rid, "PartitionKeyRanges": ranges, "_count": len(ranges)}
            answer = _reply(call, 200, body)
        answer.headers["etag"] = etag
        return answer


def _new_id(call: Call, existing: Mapping[str, Any]) -> str:
    new_id = parse_body(call.body).get("id")
    if not isinstance(new_id, str) or not new_id or set(new_id) & set("/\\?#"):
        raise errors.bad_request("The input content is invalid because the required properties - 'id; ' - are missing")
    if new_id in existing:
        raise errors.conflict()
    return new_id


def _reply(call: Call, status: int, body: dict[str, Any] | None, container: Container | None = None) -> Answer:
    headers = {
        "content-type": "application/json",
        "x-ms-activity-id": call.headers.get("x-ms-activity-id", ""),
        "x-ms-request-charge": "1",
    }
    if body is None:
        return Answer(status, b"", headers)
    if "_etag" in body:
        headers["etag"] = body["_etag"]
    if container is not None:
        headers["x-ms-alt-content-path"] = container.path.rpartition("/colls/")[0]
        headers["x-ms-content-path"] = container.rid
    return Answer(status, to_json(body), headers)
