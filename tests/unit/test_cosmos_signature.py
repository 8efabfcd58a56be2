"""Signatures and paths of the stand-in's Cosmos DB data plane."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from azure.cosmos import auth

from infra.local.standin.cosmos.accounts import KEY_KINDS, Accounts
from infra.local.standin.cosmos.errors import CosmosError
from infra.local.standin.cosmos.links import parse_link
from infra.local.standin.cosmos.signature import parse_authorization, sign, string_to_sign, verify_signature
from infra.local.standin.storage import Storage
from infra.local.standin.wire import World

# The worked example of learn.microsoft.com/rest/api/cosmos-db/access-control-on-cosmosdb-resources.
EXAMPLE_KEY = "dsZQi3KtZmCv1ljt3VNWNm7sQUF1y5rJfC6kv5JiwvW0EndXdDku/dkKBp8/ufDToSxLzR4y+O/0H/t4bQtVNw=="
EXAMPLE_DATE = "Thu, 27 Apr 2017 00:51:12 GMT"
EXAMPLE_HEADER = "type%3dmaster%26ver%3d1.0%26sig%3dc09PEVJrgp2uQRkr934kFbTqhByc7TVr3OHyqlu%2bc%2bc%3d"


@pytest.fixture
def world() -> Iterator[World]:
    storage = Storage()
    yield World(storage, now=lambda: datetime(2017, 4, 27, 0, 51, 12, tzinfo=UTC).timestamp())
    storage.close()


def test_signs_the_documented_example() -> None:
    text = string_to_sign("GET", parse_link("/dbs/ToDoList"), EXAMPLE_DATE)
    assert parse_authorization(EXAMPLE_HEADER) == ("master", sign(base64.b64decode(EXAMPLE_KEY), text))


@pytest.mark.parametrize(
    ("path", "resource_type", "link"),
    [
        # azure-cosmos: the SDK signs full names, unescaped, and the parent's name for a feed.
        ("/", "", ""),
        ("/dbs", "dbs", ""),
        ("/dbs/a", "dbs", "dbs/a"),
        ("/dbs/a/colls", "colls", "dbs/a"),
        ("/dbs/a/colls/b/", "colls", "dbs/a/colls/b"),
        ("/dbs/a/colls/b/docs", "docs", "dbs/a/colls/b"),
        ("/dbs/a/colls/b/docs/x%20%C3%A9", "docs", "dbs/a/colls/b/docs/x é"),
        ("/dbs/a/colls/b/pkranges", "pkranges", "dbs/a/colls/b"),
    ],
)
def test_derives_type_and_link_from_the_path(path: str, resource_type: str, link: str) -> None:
    parsed = parse_link(path)
    assert (parsed.resource_type, parsed.resource_link) == (resource_type, link)


@pytest.mark.parametrize("kind", KEY_KINDS)
def test_names_the_key_that_signed(world: World, kind: str) -> None:
    account = Accounts(world).create("acme", "/id", "directory")
    link = parse_link("/dbs/a/colls/b/docs/c")
    headers = {"x-ms-date": EXAMPLE_DATE}
    connection = type("Connection", (), {"master_key": account.keys[kind], "resource_tokens": None})()
    header = auth._get_authorization_header(
        connection, "get", "", link.resource_link, is_name_based=True, resource_type="docs", headers=headers
    )
    _, signature = parse_authorization(quote(header))
    text = string_to_sign("GET", link, EXAMPLE_DATE)
    assert verify_signature(account, signature, text, EXAMPLE_DATE, world.now()) == kind


def test_a_regenerated_key_is_refused_and_the_other_still_served(world: World) -> None:
    accounts = Accounts(world)
    account = accounts.create("acme", "/id", "directory")
    old = account.key_bytes("primary")
    accounts.regenerate("acme", "primary")
    text = string_to_sign("GET", parse_link("/dbs/a"), EXAMPLE_DATE)
    with pytest.raises(CosmosError) as refused:
        verify_signature(account, sign(old, text), text, EXAMPLE_DATE, world.now())
    assert refused.value.status == 401
    new = sign(account.key_bytes("primary"), text)
    assert verify_signature(account, new, text, EXAMPLE_DATE, world.now()) == "primary"
    secondary = sign(account.key_bytes("secondary"), text)
    assert verify_signature(account, secondary, text, EXAMPLE_DATE, world.now()) == "secondary"


@pytest.mark.parametrize("change", ["verb", "link", "date", "type"])
def test_a_signature_holds_for_one_request_only(world: World, change: str) -> None:
    account = Accounts(world).create("acme", "/id", "directory")
    signature = sign(
        account.key_bytes("primary"), string_to_sign("GET", parse_link("/dbs/a/colls/b/docs/c"), EXAMPLE_DATE)
    )
    verb = "DELETE" if change == "verb" else "GET"
    path = {"link": "/dbs/a/colls/b/docs/d", "type": "/dbs/a/colls/b/pkranges/c"}.get(change, "/dbs/a/colls/b/docs/c")
    date = "Thu, 27 Apr 2017 00:51:13 GMT" if change == "date" else EXAMPLE_DATE
    text = string_to_sign(verb, parse_link(path), date)
    with pytest.raises(CosmosError) as refused:
        verify_signature(account, signature, text, date, world.now())
    assert refused.value.status == 401


@pytest.mark.parametrize(("seconds", "status"), [(0, 200), (899, 200), (-899, 200), (901, 403), (-901, 403)])
def test_the_date_may_differ_by_fifteen_minutes(world: World, seconds: int, status: int) -> None:
    # learn.microsoft.com/rest/api/cosmos-db/http-status-codes-for-cosmosdb: 403, the authorization token expired.
    account = Accounts(world).create("acme", "/id", "directory")
    text = string_to_sign("GET", parse_link("/dbs/a"), EXAMPLE_DATE)
    arguments = (account, sign(account.key_bytes("primary"), text), text, EXAMPLE_DATE, world.now() + seconds)
    if status == 200:
        assert verify_signature(*arguments) == "primary"
    else:
        with pytest.raises(CosmosError) as refused:
            verify_signature(*arguments)
        assert refused.value.status == status


@pytest.mark.parametrize("header", [None, "", "Bearer abc", "type=master&ver=1.0", "type=master&ver=2.0&sig=x"])
def test_a_missing_or_malformed_header_is_unauthorized(header: str | None) -> None:
    with pytest.raises(CosmosError) as refused:
        parse_authorization(header)
    assert refused.value.status == 401


def test_a_missing_or_malformed_date_is_unauthorized(world: World) -> None:
    account = Accounts(world).create("acme", "/id", "directory")
    for date in ("", "yesterday"):
        text = string_to_sign("GET", parse_link("/dbs/a"), date)
        with pytest.raises(CosmosError) as refused:
            verify_signature(account, sign(account.key_bytes("primary"), text), text, date, world.now())
        assert refused.value.status == 401


def test_accounts_survive_a_restart(world: World) -> None:
    accounts = Accounts(world)
    accounts.create("Acme", "/subscriptions/S/x", "directory", local_auth_disabled=True)
    accounts.regenerate("acme", "secondary")
    accounts.add_contributor("acme", "principal")
    assert Accounts(world).by_resource_id("/SUBSCRIPTIONS/s/X") == accounts.get("ACME")


def test_every_key_is_noted_as_a_secret(world: World) -> None:
    accounts = Accounts(world)
    account = accounts.create("acme", "/id", "directory")
    first = set(account.keys.values())
    accounts.regenerate("acme", "primary")
    assert first | set(account.keys.values()) == {entry["value"] for entry in world.secrets.all()}
