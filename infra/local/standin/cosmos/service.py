"""The data plane of Azure Cosmos DB for NoSQL as an HTTP service: routing, accounts, databases, containers.

Source: learn.microsoft.com/rest/api/cosmos-db/ (resources, headers, statuses), azure-cosmos for what it needs.
"""

from collections.abc import Mapping
from typing import Any

from infra.local.standin.cosmos import errors
from infra.local.standin.cosmos.access import OPERATIONS, Gate
from infra.local.standin.cosmos.accounts import Account, Accounts
from infra.local.standin.cosmos.errors import CosmosError
from infra.local.standin.cosmos.items import ITEM_HANDLERS
from infra.local.standin.cosmos.links import Link, parse_link
from infra.local.standin.cosmos.metadata import HOST_SUFFIX, REGION_SUFFIX, Metadata
from infra.local.standin.cosmos.store import Store
from infra.local.standin.jwt import TokenIssuer
from infra.local.standin.wire import Answer, Call, Handler, ServiceName, World

_OPERATIONS: Mapping[tuple[str, str, bool], str] = {
    # (method, resource type, of the feed?)
    ("GET", "", False): "read_account",
    ("POST", "dbs", True): "create_database",
    ("GET", "dbs", False): "read_database",
    ("POST", "colls", True): "create_collection",
    ("GET", "colls", False): "read_collection",
    ("GET", "pkranges", True): "list_pk_ranges",
    ("POST", "docs", True): "create_item",
    ("GET", "docs", False): "read_item",
    ("PUT", "docs", False): "replace_item",
    ("PATCH", "docs", False): "patch_item",
    ("DELETE", "docs", False): "delete_item",
}
_POSTS = (
    ("x-ms-documentdb-isquery", "query"),
    ("x-ms-cosmos-is-query-plan-request", "query_plan"),
    ("x-ms-cosmos-is-batch-request", "batch"),
    ("x-ms-documentdb-is-upsert", "upsert_item"),
)


class CosmosService:
    """All accounts' data planes, told apart by host: `{account}.documents.azure.com`, also with its region."""

    name: ServiceName = "cosmos"
    operations = frozenset(OPERATIONS)

    def __init__(self, world: World, accounts: Accounts, tokens: TokenIssuer) -> None:
        self._accounts = accounts
        self._gate = Gate(world, tokens)
        self._store = Store(world)
        self._metadata = Metadata(self._store)

    def route(self, call: Call) -> Handler | None:
        """See `HttpService.route`."""
        link = parse_link(call.path)
        account = self._account_of(call.host)
        name = account.name if account else call.host.removesuffix(HOST_SUFFIX)
        call.target = f"{name}/{link.resource_link}".rstrip("/")
        operation = _operation(call, link)
        if operation is None:
            return None
        call.operation = operation

        async def handle() -> Answer:
            try:
                if account is None:
                    raise errors.resource_not_found()
                self._gate.admit(account, call, link)
                return self._carry_out(account, call, link)
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
        label = host.removesuffix(HOST_SUFFIX)
        if label == host:
            return None
        return self._accounts.get(label) or self._accounts.get(label.removesuffix(REGION_SUFFIX))

    def _carry_out(self, account: Account, call: Call, link: Link) -> Answer:
        if call.operation not in ITEM_HANDLERS:
            return self._metadata.handlers[call.operation](account, call, link)
        container = self._metadata.container(account, link)
        container.throughput.check()
        return ITEM_HANDLERS[call.operation](container, call, link.item or "")


def _operation(call: Call, link: Link) -> str | None:
    operation = _OPERATIONS.get((call.method, link.resource_type, link.is_feed))
    if operation == "create_item":
        for header, name in _POSTS:
            if call.headers.get(header, "").lower() == "true":
                return name
    elif call.method == "POST" and call.headers.get("x-ms-documentdb-isquery", "").lower() == "true":
        return None  # queries for databases and containers
    return operation
