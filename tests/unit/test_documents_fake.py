"""The fake account of the tests does what Cosmos DB does: tests/conformance/cosmos/test_documents.py has the same."""

import pytest

from tests.documents_contract import PARTITIONS, UNIQUE, DocumentsContract
from tests.fakes import InMemoryDocuments


class TestInMemoryDocuments(DocumentsContract):
    @pytest.fixture
    def documents(self) -> InMemoryDocuments:
        return InMemoryDocuments(PARTITIONS, UNIQUE)
