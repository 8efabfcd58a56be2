"""The data plane of Azure Cosmos DB for NoSQL as an HTTP service: routing, accounts, databases, containers.

Source: learn.microsoft.com/rest/api/cosmos-db/ (resources, headers, statuses), azure-cosmos for what it needs.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from infra.local.standin.cosmos import errors, items, metadata
from infra.local.standin.cosmos.access import Action, Gate
from infra.local.standin.cosmos.accounts import Account, Accounts
from infra.local.standin.cosmos.errors import CosmosError
from infra.local.standin.cosmos.links import parse_link
from infra.local.standin.cosmos.request import Request
from infra.local.standin.cosmos.store import Store
from infra.local.standin.jwt import TokenIssuer
from infra.local.standin.wire import Answer, Call, Handler, ServiceName, World


class _Operation(NamedTuple):
    name: str
    action: Action
    carry_out: Callable[[Request], Answer]


_QUERY, _PLAN, _BATCH, _UPSERT = _MARKERS = (
    "x-ms-documentdb-isquery",
    "x-ms-cosmos-is-query-plan-request",
    "x-ms-cosmos-is-batch-request",
    "x-ms-documentdb-is-upsert",
)
_OPERATIONS = {
    # (method, resource type, of the feed?, the header that makes something else of a POST)
    ("GET", "", False, ""): _Operation("read_account", Action.METADATA, metadata.read_account),
    ("POST", "dbs", True, ""): _Operation("create_database", Action.MANAGE, metadata.create_database),
    ("GET", "dbs", False, ""): _Operation("read_database", Action.METADATA, metadata.read_database),
    ("POST", "colls", True, ""): _Operation("create_collection", Action.MANAGE, metadata.create_collection),
    ("GET", "colls", False, ""): _Operation("read_collection", Action.METADATA, metadata.read_collection),
    ("GET", "pkranges", True, ""): _Operation("list_pk_ranges", Action.METADATA, metadata.list_pk_ranges),
    ("POST", "docs", True, ""): _Operation("create_item", Action.CREATE, items.changing("Create")),
    ("POST", "docs", True, _QUERY): _Operation("query", Action.QUERY, items.query),
    ("POST", "docs", True, _PLAN): _Operation("query_plan", Action.QUERY, items.query_plan),
    ("POST", "docs", True, _BATCH): _Operation("batch", Action.CREATE, items.batch),
    ("POST", "docs", True, _UPSERT): _Operation("upsert_item", Action.UPSERT, items.changing("Upsert")),
    ("GET", "docs", False, ""): _Operation("read_item", Action.READ, items.read_item),
    ("PUT", "docs", False, ""): _Operation("replace_item", Action.REPLACE, items.changing("Replace")),
    ("PATCH", "docs", False, ""): _Operation("patch_item", Action.REPLACE, items.changing("Patch")),
    ("DELETE", "docs", False, ""): _Operation("delete_item", Action.DELETE, items.changing("Delete")),
}


class CosmosService:
    """All accounts' data planes, told apart by host: `{account}.documents.azure.com`, also with its region."""

    name: ServiceName = "cosmos"
    operations = frozenset(operation.name for operation in _OPERATIONS.values())

    def __init__(self, world: World, accounts: Accounts, tokens: TokenIssuer) -> None:
        self._accounts = accounts
        self._gate = Gate(world, tokens)
        self._store = Store(world)

    def route(self, call: Call) -> Handler | None:
        """See `HttpService.route`."""
        link = parse_link(call.path)
        account = self._account_of(call.host)
        name = account.name if account else call.host.removesuffix(metadata.HOST_SUFFIX)
        call.target = f"{name}/{link.resource_link}".rstrip("/")
        marker = next((one for one in _MARKERS if call.headers.get(one, "").lower() == "true"), "")
        operation = _OPERATIONS.get((call.method, link.resource_type, link.is_feed, marker))
        if operation is None:
            return None
        call.operation = operation.name

        def handle() -> Answer:
            try:
                if account is None:
                    raise errors.resource_not_found()
                request = Request(call, link, account, self._store)
                self._gate.admit(request, operation.action)
                if link.resource_type == "docs":
                    if "if-none-match" in call.headers:
                        raise errors.not_implemented("If-None-Match on items")
                    request.container.throughput.check()
                return operation.carry_out(request)
            except CosmosError as refused:
                return refused.answer(call.headers.get("x-ms-activity-id", ""))

        return handle

    def error(self, status: int, retry_after: float | None) -> Answer:
        """See `HttpService.error`."""
        return errors.generic(status, retry_after).answer()

    def create_database(self, account: str, database_id: str) -> None:
        """Create a database as Resource Manager does; no error when it exists."""
        if database_id not in self._store.databases(account):
            self._store.add_database(account, database_id)

    def create_container(self, account: str, database_id: str, definition: Mapping[str, Any]) -> None:
        """Create a container from a template's `resource` (id, partitionKey, defaultTtl, uniqueKeyPolicy, ...).

        No error when it exists. KeyError without the database, CosmosError for a bad definition.
        """
        database = self._store.databases(account)[database_id]
        if definition["id"] not in database.containers:
            self._store.add_container(account, database, dict(definition))

    def drop_account(self, account: str) -> None:
        """Delete all data of an account."""
        self._store.drop_account(account)

    def _account_of(self, host: str) -> Account | None:
        label = host.removesuffix(metadata.HOST_SUFFIX)
        if label == host:
            return None
        return self._accounts.get(label) or self._accounts.get(label.removesuffix(metadata.REGION_SUFFIX))
