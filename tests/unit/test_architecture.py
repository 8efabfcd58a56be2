"""What the source itself must keep to, beyond what linters and import contracts see."""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from shared import telemetry

ROOT = Path(__file__).parents[2]
SHARED = ROOT / "shared"
MODULES = sorted([*SHARED.rglob("*.py"), ROOT / "function_app.py"])


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def dotted(node: ast.AST) -> str:
    """`a.b.c` of an attribute chain, else nothing."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def uses(pattern: str) -> set[str]:
    """The modules in which a dotted name matches `pattern`."""
    expression = re.compile(pattern)
    return {
        name(path)
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute | ast.Name) and expression.fullmatch(dotted(node))
    }


def test_the_environment_is_read_by_settings_only() -> None:
    assert uses(r"(os\.)?(environ|getenv|environb)") == {"shared/settings.py"}


def test_the_time_comes_from_the_clock_only() -> None:
    clocks = r"(.*\.)?(datetime|date|dt)\.(now|utcnow|today)|time\.(time|monotonic|perf_counter|time_ns|monotonic_ns)"
    assert uses(clocks) == {"shared/adapters/clock.py"}
    for path in MODULES:
        for node in ast.walk(tree(path)):
            assert not (isinstance(node, ast.ImportFrom) and node.module == "time"), name(path)


def test_secrets_are_revealed_in_these_places_only() -> None:
    """Each was reviewed: the value goes straight to where it is needed and is kept nowhere."""
    assert uses(r".*\.reveal") == {
        "shared/adapters/entra.py",  # step 2: to Entra ID
        "shared/adapters/resource_manager.py",  # step 3: the token, to Resource Manager
        "shared/adapters/service_bus.py",  # the local stack's connection string, to the SDK
        "shared/core/lease.py",  # step 5: to sign a request
        "shared/core/secret.py",  # comparison and fingerprint
    }


def test_nothing_asks_whether_it_runs_locally() -> None:
    """The same code and the same host names run on Azure and on the stand-in."""
    word = re.compile(r"\blocal(host)?\b|127\.0\.0\.1|\bstand ?in\b|emulator", re.IGNORECASE)
    for path in MODULES:
        texts = {id(node.value) for node in ast.walk(tree(path)) if isinstance(node, ast.Expr)}  # docstrings
        for node in ast.walk(tree(path)):
            named = dotted(node) if isinstance(node, ast.Name | ast.Attribute) else ""
            assert not word.search(named.replace("_", " ")), f"{name(path)}: {named}"
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts:
                assert not word.search(node.value), f"{name(path)}: {node.value}"


def test_nothing_is_printed() -> None:
    commands = {name(path) for path in (SHARED / "operations").glob("*.py")}  # a command line
    assert uses(r"(builtins\.)?(print|breakpoint)|pdb\..*|sys\.(stdout|stderr)\.write|pprint\..*") <= commands


def test_every_module_says_what_it_is_for() -> None:
    for path in MODULES:
        text = ast.get_docstring(tree(path))
        assert text or (path.name == "__init__.py" and not path.read_text().strip()), name(path)


def test_every_module_stays_small() -> None:
    for path in MODULES:
        assert len(path.read_text().splitlines()) <= 400, name(path)
    core = sum(len(path.read_text().splitlines()) for path in (SHARED / "core").glob("*.py"))
    assert core <= 1_000, "the security core is to be read in one sitting"


def emitted() -> Iterator[tuple[str, set[str]]]:
    """Where events are told to a log or a watcher, and the fields that are given by name."""
    for path in MODULES:
        if path == SHARED / "telemetry.py":
            continue
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and re.fullmatch(
                r"telemetry\.(event|failure)|(.*\.)?_?watcher", dotted(node.func)
            ):
                yield f"{name(path)}:{node.lineno}", {keyword.arg for keyword in node.keywords if keyword.arg}


def test_every_event_has_allowed_fields_only() -> None:
    """A field that is not allowed raises at run time, where it would break what was being told of."""
    found = list(emitted())
    assert len(found) > 10
    for where, fields in found:
        assert fields <= telemetry.FIELDS, where


def test_tracebacks_are_not_logged() -> None:
    """An error's text may quote what was processed: telemetry.failure leaves it out."""
    assert uses(r"(.*\.)?(log|logger|_LOGGER|logging)\.(exception|error|warning|info|debug|critical)") == set()
    assert uses(r"(logging|_LOGGER)\..*") <= {"shared/telemetry.py"}


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False, text=True  # noqa: S607 - wherever git is
    )  # fmt: skip
    return [ROOT / one for one in listed.stdout.split("\0") if one]


def test_no_path_of_somebodys_machine_is_in_the_tree() -> None:
    files = tracked()
    if not files:
        pytest.skip("not a git checkout")
    home = re.compile(rb"(?<![\w.:-])/(home|Users|root|tmp|work|mnt|private)/[\w.-]+|[A-Z]:\\\\?Users\\")
    allowed = {"tests/unit/test_architecture.py"}
    for path in files:
        if name(path) in allowed or not path.is_file():
            continue
        found = home.search(path.read_bytes())
        assert found is None, f"{name(path)}: {found.group() if found else b''!r}"
