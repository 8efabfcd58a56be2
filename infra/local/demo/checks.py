"""What the demonstration claims, and whether it held."""

from dataclasses import dataclass, field

from infra.local.screen import Screen


@dataclass(frozen=True, slots=True)
class Check:
    """One claim."""

    claim: str
    held: bool
    seen: str = ""  # what was seen instead, or as proof


@dataclass(slots=True)
class Checks:
    """All claims so far."""

    screen: Screen
    all: list[Check] = field(default_factory=list)

    def expect(self, held: bool, claim: str, seen: str = "") -> None:  # noqa: FBT001 - reads as assert does
        """Note a claim, and show it."""
        self.all.append(Check(claim, held, seen))
        mark = self.screen.paint("ok  ", "green") if held else self.screen.paint("FAIL", "red", "bold")
        self.screen.line(f"  {mark}  {claim}" + (self.screen.paint(f"  ({seen})", "dim") if seen else ""))

    @property
    def failed(self) -> list[Check]:
        """The claims that did not hold."""
        return [check for check in self.all if not check.held]
