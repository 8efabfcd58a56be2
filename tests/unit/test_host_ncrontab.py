"""NCRONTAB. Source: "Timer trigger for Azure Functions: NCRONTAB expressions", and NCrontab's CrontabField."""

from datetime import UTC, datetime

import pytest

from infra.local.host.ncrontab import CronSchedule, ScheduleError


def after(expression: str, moment: str) -> str:
    return CronSchedule(expression).after(datetime.fromisoformat(moment).replace(tzinfo=UTC)).strftime("%F %T")


@pytest.mark.parametrize(
    ("expression", "moment", "expected"),
    [
        # the examples of the documentation's table
        ("0 5 * * * *", "2026-11-24T08:05:00", "2026-11-24 09:05:00"),
        ("0 0 9-17 * * MON-FRI", "2026-11-27T17:00:00", "2026-11-30 09:00:00"),
        ("0 */5 * * * *", "2026-11-24T08:05:01", "2026-11-24 08:10:00"),
        ("0 0 */2 * * *", "2026-11-24T23:00:00", "2026-11-25 00:00:00"),
        ("0 30 9 * 1 1-5", "2026-11-24T00:00:00", "2027-01-01 09:30:00"),
        ("0 0 0 * * 0", "2026-11-24T00:00:00", "2026-11-29 00:00:00"),
        ("0 0 9 * * Mon,Wednesday", "2026-11-24T00:00:00", "2026-11-25 09:00:00"),
        ("5,8,10 * * * * *", "2026-11-24T08:00:08.5", "2026-11-24 08:00:10"),
        # both days must match; cron would take either
        ("0 0 0 13 * 5", "2026-11-14T00:00:00", "2027-08-13 00:00:00"),
        ("0 0 0 29 2 *", "2026-11-24T00:00:00", "2028-02-29 00:00:00"),
        ("0 0 0 31 * *", "2026-11-01T00:00:00", "2026-12-31 00:00:00"),
        # CrontabField: `a/n` runs to the field's end, a range may be reversed
        ("40/10 * * * * *", "2026-11-24T08:00:41", "2026-11-24 08:00:50"),
        ("0 0 17-9/8 * * *", "2026-11-24T10:00:00", "2026-11-24 17:00:00"),
        # five fields mean second 0 (CronSchedule.cs)
        ("*/15 * * * *", "2026-11-24T08:01:00", "2026-11-24 08:15:00"),
        ("59 59 23 31 12 *", "2026-12-31T23:59:59", "2027-12-31 23:59:59"),
    ],
)
def test_the_next_run(expression: str, moment: str, expected: str) -> None:
    assert after(expression, moment) == expected


@pytest.mark.parametrize(
    "expression",
    [
        "* * * *",
        "60 * * * * *",
        "* * * * * 7",
        "*/0 * * * * *",
        "a * * * * *",
        "* * * 0 * *",
        "* * * * FEBR-X *",
        "",
        "0 0 0 L * *",
        "0 0 0 * * 1#2",
        "R * * * * *",
        "@daily",
        "0 0 0 ? * *",
        "00:05:00",  # a time span, which App Service plans alone have
    ],
)
def test_what_is_no_schedule(expression: str) -> None:
    with pytest.raises(ScheduleError):
        CronSchedule(expression)


def test_a_day_that_never_comes() -> None:
    with pytest.raises(ScheduleError):
        CronSchedule("0 0 0 30 2 *")
