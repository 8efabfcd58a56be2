"""The route table of HTTP functions: ASP.NET Core's templates, in the order that Azure's host tries them.

That order is not "literal before parameter": the host adds routes in the alphabetical order of the functions' names
and takes the first that matches (Azure/azure-functions-host#9876, open). `hidden_routes` finds what that order hides.
A path that matches with no allowed method is 404, not 405 (Azure/azure-functions-host#10098, open).
"""

import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import unquote

from infra.local.host.errors import StartError

type Check = Callable[[str], bool]

_INT32, _INT64 = 2**31, 2**63
_NUMBER = re.compile(r"[+-]?\d+\Z")
_CONSTRAINT = re.compile(r":([a-zA-Z]+)(?:\((.*?)\)(?=[:=?]|\Z))?")
_PART = re.compile(r"\{((?:[^{}]|\{\{|\}\})+)\}")


@dataclass(slots=True, frozen=True)
class Parameter:
    """One `{...}` of a template."""

    name: str
    checks: tuple[Check, ...]
    optional: bool
    default: str | None
    catch_all: bool


@dataclass(slots=True, frozen=True)
class _Segment:
    """One path segment: text around at most one parameter (`v{version}.json`), or only one of both."""

    before: str
    parameter: Parameter | None
    after: str = ""


class Route[T]:
    """One template with its methods, and what it leads to."""

    def __init__(self, template: str, methods: frozenset[str], target: T) -> None:
        """Parse `template`, such as `candidates/{id:minlength(3)}/{*rest}`. No methods means every method."""
        self.template = template.strip("/")
        self.methods = methods
        self.target = target
        self.segments = [_segment(text) for text in _split(self.template)]
        for segment in self.segments[:-1]:
            if segment.parameter and segment.parameter.catch_all:
                raise StartError(f"Route '{template}': a catch-all parameter can only appear as the last segment.")

    def match(self, parts: list[str]) -> dict[str, str] | None:
        """The route's values for a path's decoded segments, or None. Values of absent optionals are left out."""
        values: dict[str, str] = {}
        for index, segment in enumerate(self.segments):
            parameter = segment.parameter
            if parameter and parameter.catch_all:
                text = "/".join(parts[index:]) or parameter.default
            elif index < len(parts):
                text = parts[index]
                if not _fits(text, segment):
                    return None
                text = text[len(segment.before) : len(text) - len(segment.after)]
            elif parameter and (parameter.optional or parameter.default is not None):
                text = parameter.default
            else:
                return None
            if parameter and text is not None:
                if not all(check(text) for check in parameter.checks):
                    return None
                values[parameter.name] = text
        last = self.segments[-1].parameter if self.segments else None
        if len(parts) > len(self.segments) and not (last and last.catch_all):
            return None
        return values

    def example(self) -> list[str]:
        """Segments that this route's literals match, with an unlikely text for parameters."""
        return [s.before + ("\x00" if s.parameter else "") + s.after for s in self.segments]


class RouteTable[T]:
    """Routes in the order in which they are tried."""

    def __init__(self, routes: list[Route[T]]) -> None:
        self._routes = routes

    def find(self, method: str, path: str) -> tuple[T, dict[str, str]] | None:
        """The first route that matches the raw (percent-encoded) path and the method, and its values."""
        parts = split_path(path)
        for route in self._routes:
            if route.methods and method not in route.methods:
                continue
            values = route.match(parts)
            if values is not None:
                return route.target, values
        return None

    def hidden_routes(self) -> Iterator[tuple[Route[T], Route[T]]]:
        """Pairs (hidden, hiding): the second is tried first and takes a method and path meant for the first."""
        for index, route in enumerate(self._routes):
            for earlier in self._routes[:index]:
                shares_method = not route.methods or not earlier.methods or route.methods & earlier.methods
                if shares_method and earlier.match(route.example()) is not None:
                    yield route, earlier
                    break


def split_path(path: str) -> list[str]:
    """The decoded segments of a raw path. `%2F` stays encoded, as ASP.NET Core leaves it."""
    path = path.strip("/")
    if "%" not in path:
        return path.split("/") if path else []
    keep = path.replace("%2F", "%252F").replace("%2f", "%252f")
    return [unquote(part) for part in keep.split("/")]


def _fits(text: str, segment: _Segment) -> bool:
    lower = text.lower()
    if segment.parameter is None:
        return lower == segment.before.lower()
    around = len(segment.before) + len(segment.after)
    return len(text) > around and lower.startswith(segment.before.lower()) and lower.endswith(segment.after.lower())


def _split(template: str) -> list[str]:
    """Split at slashes outside braces: a regex constraint may contain one."""
    parts, depth, start = [], 0, 0
    for index, char in enumerate(template):
        depth += (char == "{") - (char == "}")
        if char == "/" and depth == 0:
            parts.append(template[start:index])
            start = index + 1
    return [*parts, template[start:]] if template else []


def _segment(text: str) -> _Segment:
    found = list(_PART.finditer(text))
    if not found:
        if "{" in text or "}" in text:
            raise StartError(f"Route segment '{text}': there is an incomplete parameter.")
        return _Segment(text, None)
    if len(found) > 1:
        raise StartError(f"Route segment '{text}': several parameters in one segment are not supported locally.")
    return _Segment(text[: found[0].start()], _parameter(found[0][1]), text[found[0].end() :])


def _parameter(text: str) -> Parameter:
    stars = len(text) - len(text.lstrip("*"))
    text = text[stars:]
    name = re.split(r"[:=?]", text, maxsplit=1)[0]
    rest = text[len(name) :]
    checks, at = [], 0
    while found := _CONSTRAINT.match(rest, at):
        checks.append(_check(found[1], found[2]))
        at = found.end()
    rest = rest[at:]
    optional = rest == "?"
    default = rest[1:] if rest.startswith("=") else None
    if not name or (rest and not optional and default is None):
        raise StartError(f"Route parameter '{{{text}}}' can't be understood.")
    return Parameter(name, tuple(checks), optional or bool(stars), default, bool(stars))


def _check(name: str, argument: str | None) -> Check:
    """One inline constraint. Source: "Routing in ASP.NET Core: route constraints"."""
    if argument is None:
        simple = _SIMPLE.get(name.lower())
        if simple:
            return simple
    else:
        with_argument = _WITH_ARGUMENT.get(name.lower())
        if with_argument:
            return with_argument(argument)
    raise StartError(f"The constraint reference '{name}' could not be resolved to a type.")


def _parses(parse: Callable[[str], object]) -> Check:
    def check(text: str) -> bool:
        try:
            parse(text)
        except ValueError:
            return False
        return True

    return check


def _integer(limit: int) -> Check:
    return lambda text: bool(_NUMBER.match(text)) and -limit <= int(text) < limit


def _length(argument: str) -> Check:
    low, _, high = argument.partition(",")
    return lambda text: int(low) <= len(text) <= int(high or low)


def _range(argument: str) -> Check:
    low, _, high = argument.partition(",")
    return lambda text: bool(_NUMBER.match(text)) and int(low) <= int(text) <= int(high)


def _regex(argument: str) -> Check:
    pattern = re.compile(argument.replace("{{", "{").replace("}}", "}"), re.IGNORECASE)
    return lambda text: pattern.search(text) is not None


_SIMPLE: dict[str, Check] = {
    "int": _integer(_INT32),
    "long": _integer(_INT64),
    "bool": lambda text: text.lower() in ("true", "false"),
    "datetime": _parses(datetime.fromisoformat),
    "decimal": _parses(float),
    "double": _parses(float),
    "float": _parses(float),
    "guid": _parses(uuid.UUID),
    "alpha": lambda text: bool(re.fullmatch(r"[a-zA-Z]*", text)),
    "required": lambda text: text != "",
}
_WITH_ARGUMENT: dict[str, Callable[[str], Check]] = {
    "minlength": lambda argument: lambda text: len(text) >= int(argument),
    "maxlength": lambda argument: lambda text: len(text) <= int(argument),
    "length": _length,
    "min": lambda argument: lambda text: bool(_NUMBER.match(text)) and int(text) >= int(argument),
    "max": lambda argument: lambda text: bool(_NUMBER.match(text)) and int(text) <= int(argument),
    "range": _range,
    "regex": _regex,
}
