"""NCRONTAB, the six-field schedules of timer triggers: {second} {minute} {hour} {day} {month} {day-of-week}.

By croniter, in the dialect of the NCrontab library: both days must match (cron takes either), names may be longer than
three letters, Sunday is 0 and never 7, croniter's extensions are refused. Five fields mean second 0.
Sources: "Timer trigger for Azure Functions: NCRONTAB expressions"; NCrontab's CrontabField.
"""

import re
from datetime import datetime

_FIELD = re.compile(r"(?:\d+|[a-z]{3,}|[*,/-])+\Z", re.IGNORECASE)
_NAME = re.compile(r"([a-z]{3})[a-z]*", re.IGNORECASE)


class ScheduleError(ValueError):
    """Text that is no schedule."""


class CronSchedule:
    """When a timer fires."""

    def __init__(self, expression: str) -> None:
        """Parse `expression`. Raises ScheduleError."""
        from croniter import croniter  # noqa: PLC0415 - 50 ms, only where there is a timer

        fields = expression.split()
        if len(fields) == 5:
            fields.insert(0, "0")
        if len(fields) != 6 or not all(map(_FIELD.match, fields)) or "7" in fields[5].partition("/")[0]:
            raise ScheduleError(f"The schedule expression '{expression}' was not recognized as a valid cron expression")
        self.expression = expression
        self._make = croniter
        self._cron = _NAME.sub(r"\1", " ".join(fields))
        self.after(datetime(2026, 1, 1))  # noqa: DTZ001 - any moment shows what croniter does not accept

    def after(self, moment: datetime) -> datetime:
        """The first time later than `moment`, in its zone. Raises ScheduleError when there is none."""
        try:
            run = self._make(self._cron, moment, day_or=False, second_at_beginning=True)
            found: datetime = run.get_next(datetime)
        except ValueError as error:
            raise ScheduleError(f"The schedule expression '{self.expression}' never comes: {error}") from None
        return found
