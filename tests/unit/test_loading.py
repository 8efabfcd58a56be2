"""Loading modules without looking for garbage among them."""

import gc
from collections.abc import Iterator

import pytest

from shared.loading import loading


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


def test_nothing_is_collected_while_modules_are_loaded() -> None:
    with loading():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_what_was_loaded_is_looked_at_no_more() -> None:
    loaded: list[object] = []
    with loading():
        loaded.append([])
        assert any(one is loaded[0] for one in gc.get_objects())
    assert not any(one is loaded[0] for one in gc.get_objects())


def test_a_module_that_cannot_be_loaded_does_not_end_collecting_for_good() -> None:
    with pytest.raises(ImportError), loading():
        raise ImportError("missing")
    assert gc.isenabled()
