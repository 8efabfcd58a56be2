"""What holds for every run of the tests."""

import signal


def pytest_configure() -> None:
    """A run that is told to end (SIGTERM) ends as with Ctrl-C: what its fixtures started is ended before it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
