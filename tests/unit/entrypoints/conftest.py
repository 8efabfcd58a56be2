"""Tests of the entry points run on virtual time."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from shared import bootstrap
from tests.fakes import CONTOSO_HR, FABRIKAM_HR
from tests.virtual_time import VirtualTimeLoop
from tests.world import World


def pytest_asyncio_loop_factories(config: Any, item: Any) -> Mapping[str, Callable[[], VirtualTimeLoop]]:
    del config, item
    return {"virtual": VirtualTimeLoop}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """The application on fakes, as the one of this process, with a tenant for each of two customers."""
    made = World()
    await made.add(CONTOSO_HR.tenant(), FABRIKAM_HR.tenant())
    bootstrap._app = made.app
    yield made
    bootstrap._app = None
