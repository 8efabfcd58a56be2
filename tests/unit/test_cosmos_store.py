"""The stand-in's containers: units of change, expiry, unique keys, and what a new start finds."""

from collections.abc import Iterator
from typing import Any

import pytest

from infra.local.standin.cosmos import documents
from infra.local.standin.cosmos.errors import CosmosError
from infra.local.standin.cosmos.store import Container, Item, Store
from infra.local.standin.storage import Storage
from infra.local.standin.wire import World

DEFINITION = {
    "id": "c",
    "partitionKey": {"paths": ["/pk"], "kind": "Hash", "version": 2},
    "uniqueKeyPolicy": {"uniqueKeys": [{"paths": ["/mail"]}]},
    "defaultTtl": -1,
}


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def world(clock: Clock) -> Iterator[World]:
    storage = Storage()
    yield World(storage, now=clock)
    storage.close()


@pytest.fixture
def container(world: World) -> Container:
    store = Store(world)
    return store.add_container("acme", store.add_database("acme", "d"), dict(DEFINITION))


def again(world: World) -> Container:
    """The container as the next start finds it."""
    return Store(world).databases("acme")["d"].containers["c"]


def create(container: Container, item_id: str, **more: Any) -> Item:
    body = {"id": item_id, "pk": "p", "mail": item_id, **more}
    with container.unit():
        return documents.change(container, container.partition_key.of_item(body), "Create", "", body, None)[1]


def held(container: Container) -> dict[str, Any]:
    key = container.partition_key.of_header('["p"]')
    return {item.id: item.body for item in container.in_logical_partition(key)}


def test_a_new_start_finds_what_was_written_and_goes_on(world: World, container: Container) -> None:
    key = container.partition_key.of_header('["p"]')
    first, second = create(container, "a"), create(container, "b")
    with container.unit():
        documents.change(container, key, "Replace", "a", {"id": "a", "pk": "p", "mail": "other"}, first.etag)
        documents.change(container, key, "Delete", "b", {}, second.etag)
    create(container, "c", mail="a")  # which the replaced item has no more
    later = again(world)
    assert held(later) == held(container)
    assert held(later).keys() == {"a", "c"}
    assert later.properties == container.properties
    assert create(later, "d").number > max(item.number for item in container.in_logical_partition(key))


def test_a_unit_that_fails_leaves_nothing(world: World, container: Container) -> None:
    key = container.partition_key.of_header('["p"]')
    kept = create(container, "kept")
    before = held(container)

    def fail() -> None:
        with container.unit():
            documents.change(container, key, "Create", "", {"id": "new", "pk": "p", "mail": "new"}, None)
            documents.change(container, key, "Delete", "kept", {}, kept.etag)
            documents.change(container, key, "Create", "", {"id": "kept", "pk": "p", "mail": "x"}, None)
            documents.change(container, key, "Replace", "missing", {"id": "missing", "pk": "p"}, None)

    with pytest.raises(CosmosError):
        fail()
    assert held(container) == held(again(world)) == before
    # Neither do the unique keys remember it.
    create(container, "other", mail="new")
    with pytest.raises(CosmosError, match="Unique index"):
        create(container, "third", mail="kept")


def test_items_expire_by_their_own_time(world: World, container: Container, clock: Clock) -> None:
    # learn.microsoft.com/azure/cosmos-db/time-to-live: -1 as the container's default leaves it to the items.
    create(container, "short", ttl=10)
    create(container, "long")
    clock.time += 11
    assert held(container).keys() == held(again(world)).keys() == {"long"}
    create(container, "next", mail="short")  # the expired one's unique key is free
    create(container, "short", mail="other")
    assert held(again(world)).keys() == {"long", "next", "short"}
    with pytest.raises(CosmosError, match="Unique index"):
        create(container, "third", mail="short")


def test_what_has_expired_is_gone_from_the_state_at_the_next_start(
    world: World, container: Container, clock: Clock
) -> None:
    create(container, "short", ttl=10)
    create(container, "long", ttl=20)
    clock.time += 11
    again(world)
    assert [place for place, _ in world.storage.load(container.stored_as)] == ['"p"/long']


def test_a_ttl_of_null_is_the_container_s(world: World, container: Container) -> None:
    assert create(container, "a", ttl=None).expires is None
    assert held(again(world)).keys() == {"a"}


def test_a_deleted_account_leaves_nothing_stored(world: World, container: Container) -> None:
    create(container, "a")
    store = Store(world)
    store.drop_account("acme")
    assert store.databases("acme") == {}
    assert [world.storage.load(kind) for kind in (container.stored_as, "cosmos/containers/acme")] == [[], []]
