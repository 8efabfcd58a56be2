"""The route table of HTTP functions: ASP.NET Core's templates, in the order that Azure's host tries them.

That order is not "literal before parameter": the host adds routes in the alphabetical order of the functions' names
and takes the first that matches (Azure/azure-functions-host#9876, open). `hidden_routes` finds what that order hides.
A path that matches with no allowed method is 404, not 405 (Azure/azure-functions-host#10098, open).
"""

import math
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import unquote

from infra.local.host.errors import StartError

type Check = Callable[[str], bool]

_PARAMETER = re.compile(r"\{((?:[^{}]|\{\{|\}\})+)\}")
_CONSTRAINT = r":([a-zA-Z]+)(?:\((.*?)\)(?=[:=?]|\Z))?"
_INSIDE = re.compile(rf"(\*{{0,2}})([^:=?]+)((?:{_CONSTRAINT})*)(?:(\?)|=(.*))?", re.DOTALL)
_ENCODED_SLASH = re.compile("%(2f)", re.IGNORECASE)


@dataclass(slots=True, frozen=True)
class Parameter:
    """One `{...}` of a template."""

    name: str
    checks: tuple[Check, ...]
    optional: bool
    default: str | None
    catch_all: bool


class Route[T]:
    """One template with its methods, and what it leads to."""

    def __init__(self, template: str, methods: frozenset[str], target: T) -> None:
        """Parse `template`, such as `candidates/{id:minlength(3)}/{*rest}`. No methods means every method."""
        self.template = template.strip("/")
        self.methods = methods
        self.target = target
        self._parameters: list[Parameter] = []
        pattern, may_end = "", True  # whether a path may end before this segment
        for segment in reversed(_split(self.template)):
            text, parameter = _segment(segment)
            if parameter:
                if parameter.catch_all and pattern:
                    raise StartError(f"Route '{template}': a catch-all parameter can only appear as the last segment.")
                self._parameters.insert(0, parameter)
            may_end = may_end and parameter is not None and parameter.optional
            pattern = f"(?:/{text}{pattern})?" if may_end else f"/{text}{pattern}"
        self._pattern = re.compile(pattern, re.IGNORECASE | re.DOTALL)

    def match(self, path: str) -> dict[str, str] | None:
        """The route's values for a decoded path, or None. Values of absent optionals are left out."""
        found = self._pattern.fullmatch(path)
        if not found:
            return None
        values: dict[str, str] = {}
        for parameter, text in zip(self._parameters, found.groups(), strict=True):
            value = text or parameter.default
            if value is not None:
                if not all(check(value) for check in parameter.checks):
                    return None
                values[parameter.name] = value
        return values

    def example(self) -> str:
        """A path that this route's literals match, with an unlikely text for parameters."""
        return _PARAMETER.sub("\x00", f"/{self.template}".rstrip("/"))


class RouteTable[T]:
    """Routes in the order in which they are tried."""

    def __init__(self, routes: list[Route[T]]) -> None:
        self._routes = routes

    def find(self, method: str, path: str) -> tuple[T, dict[str, str]] | None:
        """The first route that matches the raw (percent-encoded) path and the method, and its values."""
        decoded = _decoded(path)
        for route in self._routes:
            if route.methods and method not in route.methods:
                continue
            values = route.match(decoded)
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


def _decoded(path: str) -> str:
    """A raw path as routes are matched with it. `%2F` stays encoded, as ASP.NET Core leaves it."""
    return unquote(_ENCODED_SLASH.sub(r"%25\1", f"/{path.strip('/')}".rstrip("/")))


def _split(template: str) -> list[str]:
    """Split at slashes outside braces: a regex constraint may contain one."""
    return re.findall(r"(?:\{(?:[^{}]|\{\{|\}\})*\}|[^/])+", template)


def _segment(text: str) -> tuple[str, Parameter | None]:
    """A segment as a regular expression: text around at most one parameter (`v{version}.json`)."""
    before, *inside = _PARAMETER.split(text)
    if len(inside) > 2:
        raise StartError(f"Route segment '{text}': several parameters in one segment are not supported locally.")
    after = inside[-1] if inside else ""
    if re.search("[{}]", before + after):
        raise StartError(f"Route segment '{text}': there is an incomplete parameter.")
    if not inside:
        return re.escape(text), None
    parameter = _parameter(inside[0])
    value = ".*" if parameter.catch_all else "[^/]+"
    return f"{re.escape(before)}({value}){re.escape(after)}", parameter


def _parameter(text: str) -> Parameter:
    found = _INSIDE.fullmatch(text)
    if not found:
        raise StartError(f"Route parameter '{{{text}}}' can't be understood.")
    stars, name, constraints, *_, optional, default = found.groups()
    checks = tuple(_check(*one) for one in re.findall(_CONSTRAINT, constraints))
    return Parameter(name, checks, bool(stars or optional) or default is not None, default, bool(stars))


def _check(name: str, argument: str) -> Check:
    """One inline constraint. Source: "Routing in ASP.NET Core: route constraints"."""
    try:
        return _CONSTRAINTS[name.lower()](*(argument.split(",") if argument else ()))
    except (KeyError, TypeError, ValueError, re.error):
        raise StartError(f"The constraint reference '{name}' could not be resolved to a type.") from None


def _parses(parse: Callable[[str], object]) -> Check:
    def check(text: str) -> bool:
        try:
            parse(text)
        except ValueError:
            return False
        return True

    return check


def _matches(pattern: str) -> Check:
    return lambda text: re.fullmatch(pattern, text, re.IGNORECASE) is not None


def _whole(low: float, high: float) -> Check:
    return lambda text: re.fullmatch(r"[+-]?\d+", text) is not None and low <= int(text) <= high


def _long(low: float, high: float) -> Check:
    return lambda text: low <= len(text) <= high


def _regex(*parts: str) -> Check:
    pattern = re.compile(",".join(parts).replace("{{", "{").replace("}}", "}"), re.IGNORECASE)
    return lambda text: pattern.search(text) is not None


_CONSTRAINTS: dict[str, Callable[..., Check]] = {
    "int": lambda: _whole(-(2**31), 2**31 - 1),
    "long": lambda: _whole(-(2**63), 2**63 - 1),
    "min": lambda low: _whole(int(low), math.inf),
    "max": lambda high: _whole(-math.inf, int(high)),
    "range": lambda low, high: _whole(int(low), int(high)),
    "minlength": lambda low: _long(int(low), math.inf),
    "maxlength": lambda high: _long(0, int(high)),
    "length": lambda low, high=None: _long(int(low), int(high or low)),
    "bool": lambda: _matches("true|false"),
    "alpha": lambda: _matches("[a-z]*"),
    "required": lambda: bool,
    "datetime": lambda: _parses(datetime.fromisoformat),
    **dict.fromkeys(("decimal", "double", "float"), lambda: _parses(float)),
    "guid": lambda: _parses(uuid.UUID),
    "regex": _regex,
}
