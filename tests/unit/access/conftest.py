"""Tests of the broker run on virtual time: nothing sleeps, and a wait of minutes is over at once."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from shared.access.broker import Broker
from shared.access.models import Target
from tests.broker_stage import FakeAzure, broker_of
from tests.fakes import CONTOSO_HR, FABRIKAM_HR
from tests.virtual_time import VirtualTimeLoop


def pytest_asyncio_loop_factories(config: Any, item: Any) -> Mapping[str, Callable[[], VirtualTimeLoop]]:
    del config, item
    return {"virtual": VirtualTimeLoop}


@pytest.fixture
async def azure() -> FakeAzure:
    return FakeAzure(asyncio.get_running_loop())


@pytest.fixture
def contoso(azure: FakeAzure) -> Target:
    return azure.add(CONTOSO_HR)


@pytest.fixture
def fabrikam(azure: FakeAzure) -> Target:
    return azure.add(FABRIKAM_HR)


@pytest.fixture
def broker(azure: FakeAzure) -> Broker:
    return broker_of(azure)
