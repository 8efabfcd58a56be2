import pytest

from tests.stage import Stage


@pytest.fixture
def stage() -> Stage:
    return Stage()
