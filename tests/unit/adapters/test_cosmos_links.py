"""Type and link of what a request works on, as the signature needs them."""

from typing import Any

import pytest

from shared.adapters.cosmos import resource_of


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", ("", "")),
        ("", ("", "")),
        ("/dbs", ("dbs", "")),
        ("/dbs/bulkhead", ("dbs", "dbs/bulkhead")),
        ("/dbs/bulkhead/", ("dbs", "dbs/bulkhead")),
        ("/dbs/bulkhead/colls", ("colls", "dbs/bulkhead")),
        ("/dbs/bulkhead/colls/reports", ("colls", "dbs/bulkhead/colls/reports")),
        ("/dbs/bulkhead/colls/reports/docs", ("docs", "dbs/bulkhead/colls/reports")),
        ("/dbs/bulkhead/colls/reports/docs/rep_1", ("docs", "dbs/bulkhead/colls/reports/docs/rep_1")),
        ("/dbs/bulkhead/colls/reports/pkranges", ("pkranges", "dbs/bulkhead/colls/reports")),
        ("/dbs/bulkhead/colls/a%20b/docs/%C3%A4", ("docs", "dbs/bulkhead/colls/a b/docs/ä")),
        ("//dbs/bulkhead/colls/reports/docs/Rep_1", ("docs", "dbs/bulkhead/colls/reports/docs/Rep_1")),
    ],
)
def test_type_and_link(path: Any, expected: Any) -> None:
    assert resource_of(path) == expected
