"""The README's session runs as it is written."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path, state: Path) -> Path:
    """A directory that looks like the project's root after `make up`, over the tests' own stack."""
    (tmp_path / ".local").symlink_to(state)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{PROJECT}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return tmp_path


@pytest.mark.usefixtures("stack")
def test_session_with_curl(checkout: Path) -> None:
    readme = (PROJECT / "README.md").read_text()
    session, refusals = re.findall(r"test_readme\.py.*?```sh\n(.*?)```", readme, re.DOTALL)

    try:
        done = bash(session + "\necho REFUSALS\n" + refusals, checkout)
    finally:
        bash(f"{sys.executable} -m infra.local faults --clear --state {checkout / '.local'}", PROJECT)

    assert done.returncode == 0, done.stderr
    allowed, _, refused = done.stdout.partition("\nREFUSALS\n")
    for expected in (
        '"package":"essential","status":"complete","result":"clear"',
        "On the queue check-requests",
        '"action":',
        "3+4 lists keys",
    ):
        assert expected in allowed
    for expected in (
        '"status":404', '"status":403', "primaryReadonly key of", "HTTP/1.1 503 Service Unavailable", "Retry-After: ",
        "Unauthorized", "validation_failed", "401 refused",
    ):  # fmt: skip
        assert expected in refused
    assert refused.count('"package":"essential","status":"complete"') == 2


def bash(commands: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own README
        ["/bin/bash", "-euo", "pipefail", "-c", commands],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_links_and_targets_exist() -> None:
    readme = (PROJECT / "README.md").read_text()
    targets = (PROJECT / "Makefile").read_text()

    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", readme):
        assert (PROJECT / link).exists(), link
    for target in re.findall(r"\bmake ([a-z]+)", readme):
        assert f"\n{target}:" in targets, target
