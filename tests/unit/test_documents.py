"""What the documents say is what the code does: tables of failures, settings and events, and tests that are named."""

import ast
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from shared import telemetry
from shared.access.failures import REACTIONS

ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
THREATS = (ROOT / "docs" / "threat-model.md").read_text()
SETTINGS = ast.parse((ROOT / "shared" / "settings.py").read_text())
NAMED = re.findall(r"`([a-z_/]+\.py)::(\w+)`", THREATS)


def table(document: str, first_column: str) -> list[dict[str, str]]:
    """The rows of the table whose first column has this heading."""
    lines = iter(document.splitlines())
    heading = next(line for line in lines if line.startswith(f"| {first_column} |"))
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append(dict(zip(cells(heading), cells(line), strict=True)))
    assert rows
    return rows


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def codes(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_failures_are_those_of_the_table_in_the_code() -> None:
    rows = table(OPERATIONS, "class")
    said = [
        (
            *codes(row["class"]), float(row["attempts"]), float(row["pause, s"]), float(row["remembered, s"]),
            *codes(row["code"]), float(row["Retry-After, s"]),
        )
        for row in rows
    ]  # fmt: skip
    assert said == [(str(failure), *asdict(reaction).values()) for failure, reaction in REACTIONS.items()]
    assert all(row["means"] and row["to do"] for row in rows)


def settings() -> Iterator[tuple[str, str, str]]:
    """Name, default and maximum of each setting that is read."""
    constants = {
        node.targets[0].id: node.value.value
        for node in SETTINGS.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(SETTINGS):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or not node.args:
            continue
        if ast.unparse(node.func.value) not in ("reader", "env"):
            continue
        first = node.args[0]
        if isinstance(first, ast.JoinedStr):  # f"{SERVICE_BUS}__..."
            name = re.sub(r"{(\w+)}", lambda found: str(constants[found.group(1)]), ast.unparse(first)[2:-1])
        elif isinstance(first, ast.Name):
            name = str(constants[first.id])
        else:
            assert isinstance(first, ast.Constant)
            name = str(first.value)
        limits = {one.arg: str(ast.literal_eval(one.value)) for one in node.keywords}
        yield name, limits.get("default", ""), limits.get("most", "")


def test_settings_are_those_that_are_read() -> None:
    rows = table(OPERATIONS, "setting")
    said = {(codes(row["setting"])[0], row["default"], row["at most"]) for row in rows}
    assert len(said) == len(rows)
    assert said == set(settings())
    assert all(row["is"] for row in rows)


def test_events_are_those_that_are_told() -> None:
    told = set()
    for path in (ROOT / "shared").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and re.fullmatch(r"telemetry\.(event|failure)|self\._watcher", ast.unparse(node.func))
                and isinstance(node.args[0], ast.Constant)
            ):
                told.add(node.args[0].value)
    said = [name for row in table(OPERATIONS, "event") for name in codes(row["event"])]
    assert sorted(said) == sorted(told)


def test_fields_of_logs_are_the_allowed_ones() -> None:
    (sentence,) = [line for line in OPERATIONS.splitlines() if line.startswith("Logs are one JSON object a line")]
    said = codes(sentence.partition("of these fields only:")[2].partition(". ")[0])
    assert set(said) == telemetry.FIELDS
    assert said == sorted(said)


@pytest.mark.parametrize("place", sorted(set(NAMED)), ids="::".join)
def test_a_test_that_is_named_is_there(place: tuple[str, str]) -> None:
    file, name = place
    module = ast.parse((ROOT / "tests" / file).read_text())
    assert name in {node.name for node in module.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("heading", ["between", "who", "token"])
def test_each_claim_names_a_test(heading: str) -> None:
    for row in table(THREATS, heading):
        assert re.search(r"`[a-z_/]+\.py::\w+`", row["shown by"]), row


def test_every_named_place_is_understood() -> None:
    assert THREATS.count("::") - THREATS.count("`file::test`") == len(NAMED) > 40
