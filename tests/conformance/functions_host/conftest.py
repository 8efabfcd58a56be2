"""One bench for the whole suite: the host starts once."""

from collections.abc import Iterator

import pytest

from tests.conformance.functions_host.bench import Bench


@pytest.fixture(scope="package")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(tmp_path_factory.mktemp("host"))
    try:
        made.start()
        yield made
    finally:
        made.stop()
