"""The demonstration's story, on the running stack: every claim holds, and one that does not is told."""

import io
import json
import os

import pytest

from infra.local.demo.checks import Checks
from infra.local.demo.run import sum_up
from infra.local.demo.story import Story
from infra.local.lab import Lab
from infra.local.screen import Screen


@pytest.mark.asyncio(loop_scope="session")
async def test_every_claim_holds(lab: Lab) -> None:
    stream = io.StringIO()
    checks = Checks(Screen(stream))
    before = dict(os.environ)
    try:
        await Story(lab, checks).tell()
    finally:
        os.environ.clear()
        os.environ.update(before)

    assert [(check.claim, check.seen) for check in checks.failed] == []
    assert len(checks.all) == 27
    shown = stream.getvalue()
    for expected in ("12 of 12 reports are through", "reads credential", "signs in", "lists keys", "uses the key"):
        assert expected in shown


def test_claim_that_does_not_hold(capsys: pytest.CaptureFixture[str], lab: Lab) -> None:
    stream = io.StringIO()
    checks = Checks(Screen(stream))
    checks.expect(True, "the first")  # noqa: FBT003 - reads as assert does
    assert sum_up(checks, checks.screen, lab.state, 1.23, as_json=True) == 0
    checks.expect(False, "the second", "something else")  # noqa: FBT003 - likewise

    assert sum_up(checks, checks.screen, lab.state, 1.23, as_json=True) == 1

    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["ok"], second["ok"], second["seconds"]) == (True, False, 1.2)
    assert second["checks"][1] == {"claim": "the second", "held": False, "seen": "something else"}
    assert "FAIL  the second  (something else)" in stream.getvalue()
    assert "1 of 2 claims did not hold:\n  the second: something else" in stream.getvalue()
