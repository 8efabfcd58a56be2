"""NCRONTAB, the six-field schedules of timer triggers: {second} {minute} {hour} {day} {month} {day-of-week}.

Written out because the known cron libraries differ from it: both days must match (cron takes either), `a/n` runs from
`a` to the field's end, Sunday is 0 and never 7, a reversed range is turned round. Five fields mean second 0.
Sources: "Timer trigger for Azure Functions: NCRONTAB expressions"; the NCrontab library's CrontabField.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_YEARS = 30  # 29 February on a given weekday comes back after at most 28 years, 12 around 2100


@dataclass(slots=True, frozen=True)
class _Kind:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


_KINDS = (
    _Kind("second", 0, 59),
    _Kind("minute", 0, 59),
    _Kind("hour", 0, 23),
    _Kind("day", 1, 31),
    _Kind("month", 1, 12, _MONTHS),
    _Kind("day of week", 0, 6, _DAYS),
)


class ScheduleError(ValueError):
    """Text that is no schedule."""


class CronSchedule:
    """When a timer fires."""

    def __init__(self, expression: str) -> None:
        """Parse `expression`. Raises ScheduleError."""
        self.expression = expression
        fields = expression.split()
        if len(fields) == 5:
            fields.insert(0, "0")
        if len(fields) != 6:
            raise ScheduleError(f"The schedule expression '{expression}' was not recognized as a valid cron expression")
        parsed = [_parse(text, kind) for text, kind in zip(fields, _KINDS, strict=True)]
        self._seconds, self._minutes, self._hours, self._days, self._months, self._weekdays = parsed

    def after(self, moment: datetime) -> datetime:
        """The first time later than `moment`, in its zone. Raises ScheduleError when there is none."""
        start = moment.replace(microsecond=0) + timedelta(seconds=1)
        for day in self._matching_days(start):
            earliest = (start.hour, start.minute, start.second) if day.date() == start.date() else (0, 0, 0)
            if found := self._first_time(earliest):
                hour, minute, second = found
                return day.replace(hour=hour, minute=minute, second=second)
        raise ScheduleError(f"The schedule '{self.expression}' never comes")

    def _matching_days(self, start: datetime) -> Iterator[datetime]:
        day = start.replace(hour=0, minute=0, second=0)
        end = day.year + _YEARS
        while day.year < end:
            if day.month not in self._months:
                day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
                continue
            if day.day in self._days and day.isoweekday() % 7 in self._weekdays:
                yield day
            day += timedelta(days=1)

    def _first_time(self, earliest: tuple[int, int, int]) -> tuple[int, int, int] | None:
        hour0, minute0, second0 = earliest
        for hour in (h for h in self._hours if h >= hour0):
            minutes = [m for m in self._minutes if hour > hour0 or m >= minute0]
            for minute in minutes:
                same = (hour, minute) == (hour0, minute0)
                for second in self._seconds:
                    if not same or second >= second0:
                        return hour, minute, second
        return None


def _parse(text: str, kind: _Kind) -> tuple[int, ...]:
    found: set[int] = set()
    for part in text.split(","):
        base, slash, step_text = part.partition("/")
        step = _number(step_text, kind) if slash else 1
        if slash and step < 1:
            raise ScheduleError(f"'{part}' is no valid step of field '{kind.name}'")
        low_text, dash, high_text = base.partition("-")
        if base == "*":
            low, high = kind.low, kind.high
        elif dash:
            low, high = sorted((_value(low_text, kind), _value(high_text, kind)))
        else:
            low = _value(base, kind)
            high = kind.high if slash else low
        found.update(range(low, high + 1, step))
    return tuple(sorted(found))


def _value(text: str, kind: _Kind) -> int:
    upper = text.upper()
    if len(upper) >= 3:
        for index, name in enumerate(kind.names):
            if upper.startswith(name):
                return kind.low + index
    value = _number(text, kind)
    if not kind.low <= value <= kind.high:
        raise ScheduleError(f"{value} is outside {kind.low} to {kind.high} of field '{kind.name}'")
    return value


def _number(text: str, kind: _Kind) -> int:
    if not text.isascii() or not text.isdigit():
        raise ScheduleError(f"'{text}' is not a valid value of field '{kind.name}'")
    return int(text)
