"""A stand-in for Azure in a process of its own, with its control API."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import certifi

ROOT = Path(__file__).parents[3]
_READY_WITHIN = 30.0  # seconds


@dataclass(frozen=True, slots=True)
class Azure:
    """A running stand-in. Processes started with `env` reach it, trusting certifi's bundle and its authority."""

    state: Path
    pid: int
    env: dict[str, str]
    _control: str

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Call the control API. Raises RuntimeError when it refuses."""
        connection = http.client.HTTPConnection(urlsplit(self._control).netloc, timeout=120)
        try:
            sent = None if body is None else json.dumps(body)
            connection.request(method, path, sent, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {text.decode()}")
        return json.loads(text) if text else None

    def journal(self, since: int = 0) -> tuple[list[dict[str, Any]], int]:
        """The journal's entries from `since`, and the number of the next one."""
        answer = self.control("GET", f"/journal?since={since}")
        return answer["entries"], answer["next"]


@contextmanager
def stand_in(state: Path) -> Iterator[Azure]:
    """Run a stand-in over the directory `state`; it goes on with what is there."""
    state.mkdir(parents=True, exist_ok=True)
    ready = state / "standin.json"
    command = [sys.executable, "-m", "infra.local.standin", "--state", str(state), "--parent", str(os.getpid())]
    with (state / "standin.log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)  # noqa: S603 - our own module
    try:
        deadline = time.monotonic() + _READY_WITHIN
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"The stand-in did not start: {(state / 'standin.log').read_text()}")
            time.sleep(0.005)
        endpoints = json.loads(ready.read_text())
        bundle = state / "bundle.pem"
        bundle.write_text(Path(certifi.where()).read_text() + Path(endpoints["ca_bundle"]).read_text())
        trust = {"SSL_CERT_FILE": str(bundle), "REQUESTS_CA_BUNDLE": str(bundle)}
        yield Azure(state, process.pid, endpoints["env"] | trust, endpoints["stand_in"])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
