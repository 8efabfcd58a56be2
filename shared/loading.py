"""Loading the application's modules."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Import in this block what the application consists of.

    Modules are no garbage, and looking for some among them takes a tenth of the time that a process needs to its first
    answer (docs/benchmarks.md). So there is no looking in the block, and none among what it loaded afterwards.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
