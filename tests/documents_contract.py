"""What every implementation of the Documents port must do: the same tests for the fake and for Cosmos DB itself.

A subclass brings the fixture `documents`, whose containers are `PARTITIONS` with the unique key of `UNIQUE`. Containers
may hold what earlier tests wrote, so every test works in partitions of its own.
"""

import uuid
from typing import Any

import pytest

from shared.access.documents import DocumentChangedError, DocumentExistsError, Documents, Query

PARTITIONS = {"reports": "report_id", "tenants": "kind"}
UNIQUE = {"tenants": ("application_id",)}


def new() -> str:
    return uuid.uuid4().hex


def body(partition: str, document_id: str, **fields: Any) -> dict[str, Any]:
    return {"id": document_id, "report_id": partition, **fields}


def ids(found: Any) -> list[str]:
    return [document.body["id"] for document in found]


class DocumentsContract:
    @pytest.fixture
    def partition(self) -> str:
        return new()

    async def fill(self, documents: Documents, partition: str, *names: str, **fields: Any) -> None:
        for name in names:
            await documents.create("reports", body(partition, name, **fields))

    # --- one document ---

    async def test_what_is_not_there_is_none(self, documents: Documents, partition: str) -> None:
        assert await documents.read("reports", partition, "a") is None

    async def test_what_was_created_is_read_as_it_was(self, documents: Documents, partition: str) -> None:
        stored = body(
            partition, "a", text='é ü 名 "quoted"', number=-1.5, flag=False, nothing=None, deep={"list": [1, {}]}
        )
        created = await documents.create("reports", stored)
        assert created.body == stored, "nothing of the system's is shown"
        assert created.etag
        assert await documents.read("reports", partition, "a") == created

    async def test_what_a_caller_does_to_a_body_changes_nothing_stored(
        self, documents: Documents, partition: str
    ) -> None:
        given = body(partition, "a", deep={"n": 1})
        await documents.create("reports", given)
        given["deep"]["n"] = 2
        read = await documents.read("reports", partition, "a")
        assert read is not None
        read.body["deep"]["n"] = 3
        again = await documents.read("reports", partition, "a")
        assert again is not None
        assert again.body["deep"] == {"n": 1}

    async def test_an_id_exists_once_in_a_partition(self, documents: Documents, partition: str) -> None:
        await documents.create("reports", body(partition, "a", n=1))
        with pytest.raises(DocumentExistsError):
            await documents.create("reports", body(partition, "a", n=2))
        await documents.create("reports", body(new(), "a", n=3))
        read = await documents.read("reports", partition, "a")
        assert read is not None
        assert read.body["n"] == 1

    async def test_a_unique_value_exists_once_in_a_partition(self, documents: Documents) -> None:
        kind, other = new(), new()
        await documents.create("tenants", {"id": new(), "kind": kind, "application_id": "app"})
        with pytest.raises(DocumentExistsError):
            await documents.create("tenants", {"id": new(), "kind": kind, "application_id": "app"})
        await documents.create("tenants", {"id": new(), "kind": kind, "application_id": "another"})
        await documents.create("tenants", {"id": new(), "kind": other, "application_id": "app"})

    async def test_a_state_is_replaced_once(self, documents: Documents, partition: str) -> None:
        first = await documents.create("reports", body(partition, "a", n=1, gone=True))
        second = await documents.replace("reports", body(partition, "a", n=2), first.etag)
        assert second.body == body(partition, "a", n=2)
        assert second.etag != first.etag
        assert await documents.read("reports", partition, "a") == second
        with pytest.raises(DocumentChangedError):
            await documents.replace("reports", body(partition, "a", n=3), first.etag)
        assert await documents.read("reports", partition, "a") == second

    async def test_any_state_is_replaced_by_a_star(self, documents: Documents, partition: str) -> None:
        await documents.create("reports", body(partition, "a", n=1))
        replaced = await documents.replace("reports", body(partition, "a", n=2), "*")
        assert await documents.read("reports", partition, "a") == replaced

    async def test_what_is_not_there_cannot_be_replaced(self, documents: Documents, partition: str) -> None:
        created = await documents.create("reports", body(partition, "a"))
        await documents.delete("reports", partition, "a")
        for etag in (created.etag, "*"):
            with pytest.raises(DocumentChangedError):
                await documents.replace("reports", body(partition, "a"), etag)

    async def test_deleting_what_is_gone_is_done(self, documents: Documents, partition: str) -> None:
        await self.fill(documents, partition, "a", "b")
        for _ in range(2):
            await documents.delete("reports", partition, "a")
        assert await documents.read("reports", partition, "a") is None
        assert await documents.read("reports", partition, "b") is not None

    # --- several at once ---

    async def test_several_are_written_together(self, documents: Documents, partition: str) -> None:
        await documents.create("reports", body(partition, "head", n=1, gone=True))
        upserts = [body(partition, "head", n=2), body(partition, "other", n=1)]
        await documents.write_together("reports", partition, [body(partition, "a"), body(partition, "b")], upserts)
        found = await documents.query(Query("reports", {}, partition=partition, descending=False))
        assert [one.body for one in found] == [body(partition, "a"), body(partition, "b"), *upserts]

    async def test_all_or_nothing(self, documents: Documents, partition: str) -> None:
        await documents.create("reports", body(partition, "b", n=1))
        with pytest.raises(DocumentExistsError):
            await documents.write_together(
                "reports", partition, [body(partition, "a"), body(partition, "b", n=2)], [body(partition, "head")]
            )
        found = await documents.query(Query("reports", {}, partition=partition))
        assert [one.body for one in found] == [body(partition, "b", n=1)]

    async def test_a_hundred_are_written_together(self, documents: Documents, partition: str) -> None:
        created = [body(partition, f"{number:03}") for number in range(99)]
        await documents.write_together("reports", partition, created, [body(partition, "head")])
        found = await documents.query(Query("reports", {}, partition=partition, descending=False))
        assert [one.body for one in found] == [*created, body(partition, "head")]

    async def test_a_write_changes_the_state_that_others_know(self, documents: Documents, partition: str) -> None:
        known = await documents.create("reports", body(partition, "head", n=1))
        await documents.write_together("reports", partition, [], [body(partition, "head", n=2)])
        with pytest.raises(DocumentChangedError):
            await documents.replace("reports", body(partition, "head", n=3), known.etag)

    # --- queries ---

    async def test_a_query_is_ordered_by_id(self, documents: Documents, partition: str) -> None:
        await self.fill(documents, partition, "b", "c", "a")
        assert ids(await documents.query(Query("reports", {}, partition=partition))) == ["c", "b", "a"]
        ascending = Query("reports", {}, partition=partition, descending=False)
        assert ids(await documents.query(ascending)) == ["a", "b", "c"]

    async def test_pages_follow_each_other(self, documents: Documents, partition: str) -> None:
        names = [f"{number:02}" for number in range(7)]
        await self.fill(documents, partition, *names)
        for descending in (False, True):
            pages, after = [], None
            while page := await documents.query(
                Query("reports", {}, partition=partition, descending=descending, after=after, limit=3)
            ):
                pages.append(ids(page))
                after = pages[-1][-1]
            assert [len(page) for page in pages] == [3, 3, 1]
            assert [name for page in pages for name in page] == sorted(names, reverse=descending)

    async def test_what_is_after_need_not_exist(self, documents: Documents, partition: str) -> None:
        await self.fill(documents, partition, "a", "c")
        assert ids(await documents.query(Query("reports", {}, partition=partition, after="b"))) == ["a"]

    async def test_fields_must_equal_all_that_is_asked(self, documents: Documents, partition: str) -> None:
        await self.fill(documents, partition, "a", status="pending", n=1, flag=True)
        await self.fill(documents, partition, "b", status="pending", n=2, flag=False)
        await self.fill(documents, partition, "c", status='it\'s "done"', n=1)
        for where, expected in (
            ({"status": "pending"}, ["a", "b"]),
            ({"status": 'it\'s "done"'}, ["c"]),
            ({"n": 1}, ["a", "c"]),
            ({"flag": False}, ["b"]),
            ({"status": "pending", "n": 1}, ["a"]),
            ({"status": "pending", "n": 3}, []),
            ({"missing": "x"}, []),
            ({"n": "1"}, []),
            ({"n": True}, []),
            ({"flag": 1}, []),
        ):
            found = await documents.query(Query("reports", where, partition=partition, descending=False))
            assert ids(found) == expected, where

    async def test_a_query_sees_one_partition_or_all(self, documents: Documents, partition: str) -> None:
        mark, other = new(), new()
        await self.fill(documents, partition, "a", "c", mark=mark)
        await self.fill(documents, other, "b", mark=mark)
        assert ids(await documents.query(Query("reports", {"mark": mark}, partition=other))) == ["b"]
        assert ids(await documents.query(Query("reports", {"mark": mark}))) == ["c", "b", "a"]
        assert ids(await documents.query(Query("reports", {"mark": mark}, after="c", limit=1))) == ["b"]
        assert await documents.query(Query("reports", {"mark": mark}, partition=new())) == []

    async def test_what_a_query_finds_is_what_is_read(self, documents: Documents, partition: str) -> None:
        created = await documents.create("reports", body(partition, "a", deep={"n": [1]}))
        assert list(await documents.query(Query("reports", {}, partition=partition))) == [created]
        changed = await documents.replace("reports", body(partition, "a"), created.etag)
        assert list(await documents.query(Query("reports", {}, partition=partition))) == [changed]
