"""Writes infra/local/COVERAGE.md from the wire suites: `python -m tests.conformance.coverage`.

Nothing in that file is written by hand. A test stands in it with its own name; the operations that it plays come from
its marker `plays`, which the suite's conftest holds it to; its sources are its comments that refer to one; what is
refused with 501 and what is only inferred come from the markers `not_played` and `inferred` of the tests that show it.
"""

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from infra.local.standin.azure import Azure
from infra.local.standin.service_bus import ServiceBus
from infra.local.standin.storage import Storage
from infra.local.standin.wire import World

HERE = Path(__file__).parent
TARGET = HERE.parents[1] / "infra" / "local" / "COVERAGE.md"

HOST = "The local Functions host"

# Heading and suites; the operations are those of the services named.
SECTIONS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("Entra ID and managed identities", ("test_entra.py", "test_federation.py"), ("entra", "managed_identity")),
    ("Key Vault", ("test_key_vault.py",), ("key_vault",)),
    ("Resource Manager", ("test_resource_manager.py", "test_resource_manager_operations.py"), ("resource_manager",)),
    ("Microsoft Graph", ("test_graph.py",), ("graph",)),
    ("Azure Cosmos DB", ("cosmos",), ("cosmos",)),
    ("Service Bus", ("service_bus",), ("service_bus",)),
    (
        "The frame: control API, proxy, faults, budgets, delays, state",
        ("test_control.py", "test_settings.py", "test_state.py"),
        (),
    ),
    (HOST, ("functions_host",), ()),
)
PREFACE = """\
# What the stand-in for Azure plays, and what it does not

Written by `python -m tests.conformance.coverage` from the suites in `tests/conformance`; a test fails when it is not \
what would be written. Every row is a test that passes on the stand-in.

- **Source** is what the test's expectation rests on, beside the sources that the section names; `own` is said of what \
is the stand-in's or the host's own matter.
- **Azure** tells whether the same test also runs against real Azure when credentials are given in the environment \
(`docs/operations.md`). None of them has been run there yet: everything below is unconfirmed until such a run.
- A call that is not listed answers 501 in the service's own form and is in the journal.
"""

_REFERENCE = re.compile(
    r"\b[Ss]ources?\b|As documented|learn\.microsoft|rest/api/|\[(?:doc|sdk|amqp):|RFC \d|\w\.(?:py|cs|json)\b|#\d{2,}|"
    r"SubStatusCodes|Microsoft\.\w+\.\w+|https://"
)
_LEAD = re.compile(r"^(?:As documented (?:at|in)|Sources? of [^:]*?:|Sources?:) *")


@dataclass(frozen=True)
class Test:
    """One test function of the suites."""

    name: str
    plays: tuple[tuple[str, str], ...]  # (service, operation)
    sources: tuple[str, ...]
    not_played: tuple[str, ...]
    inferred: tuple[str, ...]
    on_azure: bool

    @property
    def sentence(self) -> str:
        """Its name as a sentence."""
        text = self.name.removeprefix("test_").replace("_s_", "'s ").replace("_", " ")
        return text[0].upper() + text[1:]


@dataclass
class Suite:
    """The tests of one section, with the sources that its modules name for all."""

    tests: list[Test] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)


def read(names: tuple[str, ...], root: Path = HERE) -> Suite:
    """The suite in these files and folders."""
    suite = Suite()
    for name in names:
        path = root / name
        for file in sorted(path.glob("test_*.py")) if path.is_dir() else [path] if path.exists() else []:
            source = file.read_text()
            module = ast.parse(source)
            suite.sources += _references((ast.get_docstring(module) or "").split("\n\n"))
            comments = _comments(source)
            whole = {name for name, _ in _markers(_pytestmark(module))}
            for node in module.body:
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                    suite.tests.append(_test(node, comments, on_azure="standin" not in whole))
    return suite


def _test(node: ast.FunctionDef | ast.AsyncFunctionDef, comments: dict[int, str], *, on_azure: bool) -> Test:
    markers = list(_markers(node.decorator_list))
    first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
    while first - 1 in comments:  # the comment right above belongs to the test
        first -= 1
    blocks: list[str] = []
    previous = -2
    for line in range(first, (node.end_lineno or node.lineno) + 1):
        if line not in comments:
            continue
        if previous == line - 1:
            blocks[-1] += f" {comments[line]}"
        else:
            blocks.append(comments[line])
        previous = line
    return Test(
        node.name,
        tuple((args[0], operation) for name, args in markers if name == "plays" for operation in args[1].split()),
        tuple(_references(blocks)),
        tuple(text for name, args in markers if name == "not_played" for text in args),
        tuple(text for name, args in markers if name == "inferred" for text in args),
        on_azure and all(name != "standin" for name, _ in markers),
    )


def _references(texts: list[str]) -> list[str]:
    joined = (" ".join(text.split()) for text in texts)
    return [_LEAD.sub("", text) for text in joined if _REFERENCE.search(text)]


def _comments(source: str) -> dict[int, str]:
    """Line number -> text of each comment."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    found = {one.start[0]: one.string.lstrip("# ") for one in tokens if one.type == tokenize.COMMENT}
    return {line: text for line, text in found.items() if not text.startswith(("noqa", "type:", "fmt:", "----"))}


def _pytestmark(module: ast.Module) -> list[ast.expr]:
    for node in module.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
            return node.value.elts if isinstance(node.value, ast.List) else [node.value]
    return []


def _markers(expressions: list[ast.expr]) -> Iterator[tuple[str, list[str]]]:
    """Name and text arguments of every `pytest.mark`."""
    for one in expressions:
        call = one.func if isinstance(one, ast.Call) else one
        path = ast.unparse(call)
        if path.startswith("pytest.mark."):
            arguments = one.args if isinstance(one, ast.Call) else []
            constants = [argument.value for argument in arguments if isinstance(argument, ast.Constant)]
            yield path.removeprefix("pytest.mark."), [value for value in constants if isinstance(value, str)]


def operations() -> dict[str, frozenset[str]]:
    """Every operation that each service can journal for what it implements."""
    world = World(Storage())
    try:
        azure = Azure(world)
        services = [azure.managed_identity, *azure.hosts.values()]
        return {**{one.name: one.operations for one in services}, "service_bus": ServiceBus.operations}
    finally:
        world.storage.close()


def render(root: Path = HERE) -> str:
    """The whole file."""
    known = operations()
    suites = {heading: read(names, root) for heading, names, _ in SECTIONS}
    suites[HOST].tests = [replace(test, on_azure=False) for test in suites[HOST].tests]  # Azure has its own host
    tests = [test for suite in suites.values() for test in suite.tests]
    played = Counter(pair for test in tests for pair in dict.fromkeys(test.plays))
    if stray := sorted({pair for pair in played if pair[1] not in known.get(pair[0], ())}):
        raise ValueError(f"Tests say that they play what no service knows: {stray}")
    if unfounded := [test.name for test in tests if test.on_azure and not test.sources]:
        raise ValueError(f"Tests of what Azure does name no source: {unfounded}")
    parts = [PREFACE]
    for heading, _, services in SECTIONS:
        suite = suites[heading]
        if not (suite.tests or any(known[service] for service in services)):
            continue
        parts.append(f"## {heading}\n")
        if suite.sources:
            parts.append("Sources of the suite: " + " ".join(dict.fromkeys(suite.sources)) + "\n")
        if any(known[service] for service in services):
            parts.append(_operations(services, known, played))
        if suite.tests:
            parts.append(_behaviour(suite))
        not_played = [text for test in suite.tests for text in test.not_played]
        inferred = [text for test in suite.tests for text in test.inferred]
        if not_played:
            parts.append("**Not played** (501, journalled):\n")
            parts.append("".join(f"- {text}\n" for text in not_played))
        if inferred:
            parts.append("**Inferred**, to be confirmed by a run against Azure:\n")
            parts.append("".join(f"- {text}\n" for text in inferred))
    return "\n".join(parts)


def _operations(services: tuple[str, ...], known: dict[str, frozenset[str]], played: Counter[tuple[str, str]]) -> str:
    rows = [
        f"| `{service}` `{operation}` | {played[service, operation] or '**none**'} |"
        for service in services
        for operation in sorted(known[service])
    ]
    return "\n".join(["| operation, as the journal names it | tests |", "|---|---|", *rows, ""])


def _behaviour(suite: Suite) -> str:
    rows = [
        f"| {_cell(test.sentence)} | {_cell('; '.join(test.sources)) or 'own'} | {'yes' if test.on_azure else 'no'} |"
        for test in suite.tests
    ]
    return "\n".join(["| shown by a test | source | Azure |", "|---|---|---|", *rows, ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    TARGET.write_text(render())
