from typing import Any

import pytest

from shared.core.errors import BulkheadError, Kind
from shared.screening import packages
from shared.screening.models import PackageData
from tests.fakes import START

DATA = PackageData(name="Ours", screenings=("watchlist",))
NOW = START.isoformat()


@pytest.mark.parametrize("slug", ["a", "7", "essential", "a-b_c", "a" * 64, "a--b"])
async def test_a_tenants_own_package(stage: Any, slug: Any) -> None:
    made = packages.define(slug, DATA, NOW)
    stored = await stage.store.put_package(made, None)
    assert (await stage.store.package(slug)) == stored
    assert stored.value == made
    assert (made.built_in, made.updated_at) == (False, NOW)


@pytest.mark.parametrize(
    "slug", ["", "A", "-a", "a-", "_a", "a" * 65, "a b", "a/b", "..", "ä", "a\n", "a?b", "a#b", "%2e"]
)
async def test_what_is_no_slug_names_no_package(stage: Any, slug: Any) -> None:
    with pytest.raises(BulkheadError) as caught:
        packages.define(slug, DATA, NOW)
    assert caught.value.kind is Kind.UNPROCESSABLE
    with pytest.raises(BulkheadError) as caught:
        await stage.store.package(slug)
    assert caught.value.kind is Kind.NOT_FOUND
    assert stage.documents.calls == []  # it could name another document, so it is not even looked for


def test_each_screening_once() -> None:
    with pytest.raises(BulkheadError) as caught:
        packages.define("a", PackageData(name="x", screenings=("watchlist", "watchlist")), NOW)
    assert [field.pointer for field in caught.value.fields] == ["/screenings"]


async def test_a_tenant_may_replace_a_built_in_package(stage: Any) -> None:
    assert (await stage.store.package("essential")).value.built_in
    assert (await stage.store.package("essential")).etag == ""
    stored = await stage.store.put_package(packages.define("essential", DATA, NOW), None)
    assert (await stage.store.package("essential")) == stored
    assert [(one.slug, one.built_in) for one in await stage.store.packages(None, 100)] == [
        ("essential", False), ("watchlist", True),
    ]  # fmt: skip


async def test_creating_needs_absence_and_replacing_the_named_state(stage: Any) -> None:
    package = packages.define("ours", DATA, NOW)
    first = await stage.store.put_package(package, None)
    with pytest.raises(BulkheadError) as caught:
        await stage.store.put_package(package, None)
    assert caught.value.kind is Kind.PRECONDITION_FAILED
    await stage.store.put_package(package, first.etag)
    with pytest.raises(BulkheadError) as caught:
        await stage.store.put_package(package, first.etag)
    assert caught.value.kind is Kind.PRECONDITION_FAILED


async def test_packages_come_page_by_page(stage: Any) -> None:
    for number in range(150):
        await stage.store.put_package(packages.define(f"p-{number:03}", DATA, NOW), None)
    seen: list[str] = []
    while page := await stage.store.packages(seen[-1] if seen else None, 50):
        assert len(page) <= 50
        seen += [one.slug for one in page]
    assert seen == ["essential", *(f"p-{number:03}" for number in range(150)), "watchlist"]
