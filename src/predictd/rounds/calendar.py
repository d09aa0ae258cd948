"""When rounds open and close: pure functions of the time.

A calendar is written as `classic`, `manual`, `every 5m`, or as weekly openings in the form `DAYS HH:MM LENGTH [ZONE]`
separated by semicolons. `classic` is `Tue-Fri 13:00 1h; Sat 13:00 49h` in UTC.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from predictd.domain.errors import InvalidInputError

CLASSIC_OPENINGS = "Tue-Fri 13:00 1h; Sat 13:00 49h"
SCORE_AFTER = timedelta(days=4)
RESOLVE_AFTER = timedelta(days=31)
_SCORING_DAYS = (1, 2, 3, 4, 5)
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_OPENING = re.compile(
    r"(?P<days>[A-Za-z,-]+)\s+(?P<hour>\d{1,2}):(?P<minute>\d{2})\s+(?P<length>\w+)(?:\s+(?P<zone>\S+))?"
)


@dataclass(frozen=True, kw_only=True)
class Window:
    """One round's times: submissions are taken from `opens` up to `closes`."""

    opens: datetime
    closes: datetime
    scores: datetime
    resolves: datetime


class Calendar(Protocol):
    """Tells which round the calendar has open at a moment."""

    def window_at(self, now: datetime) -> Window | None:
        """The window that `now` (aware) lies in, None between rounds."""

    def windows_after(self, now: datetime, count: int) -> list[Window]:
        """The next so many windows that open after `now`, in their order; fewer where there are no more."""


@dataclass(frozen=True, kw_only=True)
class Manual:
    """Rounds open by hand only."""

    def window_at(self, now: datetime) -> Window | None:
        """Never open."""
        return None

    def windows_after(self, now: datetime, count: int) -> list[Window]:
        """None are known beforehand."""
        return []


@dataclass(frozen=True, kw_only=True)
class Every:
    """A round after the other, each as long as the period; for trying it out."""

    period: timedelta

    def window_at(self, now: datetime) -> Window:
        """The period that `now` lies in, counted from the epoch."""
        start = datetime.fromtimestamp(
            now.timestamp() // self.period.total_seconds() * self.period.total_seconds(), UTC
        )
        return self._window(start)

    def windows_after(self, now: datetime, count: int) -> list[Window]:
        """The next periods."""
        first = self.window_at(now).closes
        return [self._window(first + number * self.period) for number in range(count)]

    def _window(self, start: datetime) -> Window:
        end = start + self.period
        return Window(opens=start, closes=end, scores=end, resolves=end + self.period)


@dataclass(frozen=True, kw_only=True)
class Opening:
    """A round a week on each of the days (0 is Monday), opening at the time of day in the zone."""

    days: frozenset[int]
    at: time
    length: timedelta
    zone: ZoneInfo


@dataclass(frozen=True, kw_only=True)
class Weekly:
    """Rounds at fixed times of the week."""

    openings: tuple[Opening, ...]

    def window_at(self, now: datetime) -> Window | None:
        """The window that `now` lies in; of two that overlap the later one."""
        windows = [
            window
            for opening in self.openings
            for window in _windows_before(opening, now)
            if window.opens <= now < window.closes
        ]
        return max(windows, key=lambda window: window.opens, default=None)

    def windows_after(self, now: datetime, count: int) -> list[Window]:
        """The next openings of the week, or of so many weeks as it takes."""
        windows = [
            window
            for opening in self.openings
            for window in _windows(opening, now, range(7 * count + 1))
            if window.opens > now
        ]
        return sorted(windows, key=lambda window: window.opens)[:count]


def window(opens: datetime, length: timedelta) -> Window:
    """A round of the usual times after its opening: scores begin 4 days later, it resolves after 31 days."""
    return Window(opens=opens, closes=opens + length, scores=opens + SCORE_AFTER, resolves=opens + RESOLVE_AFTER)


def scoring_times(scores: datetime, resolves: datetime) -> list[datetime]:
    """When a round gets its daily scores, the last of them final: after each day of trading, Tuesday to Saturday.

    From `scores` on at that time of the day, and at `resolves` at last: for a round of the usual times twenty days. A
    round that resolves within a day is scored at both times.
    """
    if resolves - scores <= timedelta(days=1):
        return [scores, resolves] if scores < resolves else [resolves]
    times = []
    at = scores
    while at < resolves:
        if at.weekday() in _SCORING_DAYS:
            times.append(at)
        at += timedelta(days=1)
    # What would be final on a Saturday and resolves on a day off is one day's scores, not two.
    return [*(times if resolves.weekday() in _SCORING_DAYS else times[:-1]), resolves]


def parse_calendar(text: str) -> Calendar:
    """Read a calendar as the settings write it.

    Raises:
        InvalidInputError: the calendar is invalid.
    """
    stripped = text.strip()
    if stripped.lower() == "manual":
        return Manual()
    if stripped.lower() == "classic":
        return parse_calendar(CLASSIC_OPENINGS)
    match = re.fullmatch(r"every:?\s*(\w+)", stripped, re.IGNORECASE)
    if match:
        return Every(period=parse_length(match[1]))
    return Weekly(openings=tuple(_parse_opening(part) for part in stripped.split(";")))


def parse_length(text: str) -> timedelta:
    """Read a length of time such as `90s`, `5m`, `1h` or `2d`.

    Raises:
        InvalidInputError: it is no such length, or not longer than a second.
    """
    match = re.fullmatch(r"(\d{1,6})([smhd])", text.strip().lower())
    if not match or int(match[1]) < 1:
        raise InvalidInputError(f"{text!r} is not a duration; enter a number and s, m, h or d, for example 5m.")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _parse_opening(text: str) -> Opening:
    match = _OPENING.fullmatch(text.strip())
    if not match or int(match["hour"]) > 23 or int(match["minute"]) > 59:
        raise InvalidInputError(
            f"{text.strip()!r} is not a calendar: use 'classic', 'manual', 'every 5m', or weekly openings such as "
            f"'{CLASSIC_OPENINGS}'."
        )
    try:
        zone = ZoneInfo(match["zone"] or "UTC")
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise InvalidInputError(f"{match['zone']!r} is not a time zone; use for example America/New_York.") from error
    return Opening(
        days=frozenset(day for part in match["days"].split(",") for day in _parse_days(part)),
        at=time(int(match["hour"]), int(match["minute"])),
        length=parse_length(match["length"]),
        zone=zone,
    )


def _parse_days(text: str) -> list[int]:
    first, _, last = text.lower().partition("-")
    try:
        start, end = _DAYS.index(first[:3]), _DAYS.index((last or first)[:3])
    except ValueError as error:
        raise InvalidInputError(f"{text!r} are not days; use for example Tue or Tue-Fri.") from error
    return [(start + step) % 7 for step in range((end - start) % 7 + 1)]


def _windows_before(opening: Opening, now: datetime) -> list[Window]:
    """The openings of the days on which a window that contains `now` can open."""
    return _windows(opening, now, range(-opening.length.days - 1, 1))


def _windows(opening: Opening, now: datetime, days: range) -> list[Window]:
    """The openings of these days, counted from the day of `now` in the opening's zone."""
    today = now.astimezone(opening.zone).date()
    on = (today + timedelta(days=number) for number in days)
    return [
        window(datetime.combine(day, opening.at, opening.zone).astimezone(UTC), opening.length)
        for day in on
        if day.weekday() in opening.days
    ]
