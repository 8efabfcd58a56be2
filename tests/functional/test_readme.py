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
    (session,) = re.findall(r"test_readme\.py.*?```sh\n(.*?)```", readme, re.DOTALL)

    done = subprocess.run(  # noqa: S603 - our own README
        ["/bin/bash", "-euo", "pipefail", "-c", session],
        cwd=checkout,
        env={name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    for expected in (
        '"status":"complete"',
        '"result":"clear"',
        "On the queue check-requests",
        '"action":',
        "list_keys",
    ):
        assert expected in done.stdout


def test_links_and_targets_exist() -> None:
    readme = (PROJECT / "README.md").read_text()
    targets = (PROJECT / "Makefile").read_text()

    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", readme):
        assert (PROJECT / link).exists(), link
    for target in re.findall(r"\bmake ([a-z]+)", readme):
        assert f"\n{target}:" in targets, target
