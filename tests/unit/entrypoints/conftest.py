from collections.abc import AsyncIterator

import pytest

from shared import bootstrap
from tests.fakes import CONTOSO_HR, FABRIKAM_HR
from tests.world import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """The application on fakes, as the one of this process, with a tenant for each of two customers."""
    made = World()
    await made.add(CONTOSO_HR.tenant(), FABRIKAM_HR.tenant())
    bootstrap._app = made.app
    yield made
    bootstrap._app = None
