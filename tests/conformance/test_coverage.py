"""infra/local/COVERAGE.md says what the suites show, no more and no less."""

from pathlib import Path

import pytest

from tests.conformance import coverage


def test_the_file_is_what_the_suites_say() -> None:
    assert coverage.TARGET.read_text() == coverage.render(), "write it anew: python -m tests.conformance.coverage"


@pytest.mark.parametrize(("operation", "known"), [("read_item", True), ("read_mind", False)])
def test_what_a_test_says_of_itself(tmp_path: Path, operation: str, *, known: bool) -> None:
    (tmp_path / "cosmos").mkdir()
    (tmp_path / "cosmos" / "test_one.py").write_text(
        f"""
# Source: learn.microsoft.com/one,
# second line
@pytest.mark.plays("cosmos", "{operation} query")
@pytest.mark.standin
@pytest.mark.inferred("guessed " "well")
async def test_a_reader_s_right() -> None:
    pass  # noqa: X - no source
"""
    )
    if not known:
        with pytest.raises(ValueError, match="read_mind"):
            coverage.render(tmp_path)
        return
    text = coverage.render(tmp_path)
    assert "| A reader's right | learn.microsoft.com/one, second line | no |" in text
    assert "| `cosmos` `read_item` | 1 |" in text
    assert "| `cosmos` `patch_item` | **none** |" in text
    assert "- guessed well\n" in text
