"""One running stack for all functional tests, started as a user starts it, and two companies of each file's own.

A file may run alone, and after any other. What others leave behind on the stack is of their companies: jobs under way,
failures and keys that the service remembers for a while, orders that were put off. A test that counts what is done for
a company, or makes its access fail, founds one for itself.

Everything runs in one event loop, the session's, so that connections may stay open from test to test.
"""

import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from infra.local import endpoints
from infra.local.client import Client
from infra.local.company import Company
from infra.local.demo.intruder import Intruder
from infra.local.endpoints import Endpoints
from infra.local.lab import Lab
from infra.local.stack import choose_ports

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stack")


@pytest.fixture(scope="session")
def stack(state: Path) -> Iterator[Endpoints]:
    command = [sys.executable, "-m", "infra.local", "up", "--state", str(state), "--json"]
    command += ["--base-port", str(choose_ports(1).first)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE) as process:  # noqa: S603 - our own command
        assert process.stdout is not None
        try:
            assert process.stdout.readline(), "the stack did not start"
            yield endpoints.load(state)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def lab(stack: Endpoints, state: Path) -> AsyncIterator[Lab]:
    async with Client(stack) as client:
        yield Lab(client, state)


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def acme(lab: Lab) -> Company:
    """Its daemon signs in with a secret."""
    return await lab.company("secret")


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def globex(lab: Lab) -> Company:
    """Its daemon signs in with a certificate."""
    return await lab.company("certificate")


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def intruder(lab: Lab) -> AsyncIterator[Intruder]:
    """Whoever holds a credential, token or key, and tries what it opens."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in lab.client.endpoints.env.items():
            patch.setenv(name, value)
        async with Intruder(lab.client.endpoints) as intruder:
            yield intruder
