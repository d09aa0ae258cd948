"""When rounds open and close."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictd.domain.errors import InvalidInputError
from predictd.rounds.calendar import parse_calendar, parse_length, scoring_times, window


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "opened"),
    [
        ("2026-11-23T13:59:59", "2026-11-21T13:00"),  # a Monday
        ("2026-11-23T14:00:00", None),
        ("2026-11-24T12:59:59", None),
        ("2026-11-24T13:00:00", "2026-11-24T13:00"),
        ("2026-11-24T13:59:59", "2026-11-24T13:00"),
        ("2026-11-24T14:00:00", None),
        ("2026-11-27T13:30:00", "2026-11-27T13:00"),
        ("2026-11-28T12:00:00", None),
        ("2026-11-29T03:00:00", "2026-11-28T13:00"),
        ("2026-12-31T13:30:00", "2026-12-31T13:00"),
    ],
)
def test_classic_opens_tuesday_to_friday_for_an_hour_and_over_the_weekend(now: str, opened: str | None) -> None:
    window = parse_calendar("classic").window_at(at(now))
    assert (window.opens if window else None) == (at(opened) if opened else None)


def test_a_weekly_calendar_follows_its_zone_through_the_change_of_clocks() -> None:
    calendar = parse_calendar("Mon-Fri 09:30 2h America/New_York")
    assert calendar.window_at(at("2026-07-01T13:30")) is not None
    assert calendar.window_at(at("2026-12-01T13:30")) is None
    assert calendar.window_at(at("2026-12-01T14:30")) is not None


@given(st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2040, 1, 1)))
@pytest.mark.parametrize(
    "text", ["classic", "every 5m", "Mon-Fri 09:30 2h America/New_York", "Sun 01:30 1h Europe/Berlin"]
)
def test_the_next_windows_are_those_that_will_be_open_then(text: str, moment: datetime) -> None:
    now, calendar = moment.replace(tzinfo=UTC), parse_calendar(text)
    found = calendar.windows_after(now, 3)
    assert len(found) == 3
    assert now < found[0].opens < found[1].opens < found[2].opens
    assert all(calendar.window_at(one.opens) == one for one in found)
    assert parse_calendar("manual").windows_after(now, 3) == []


@given(st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2040, 1, 1)))
def test_every_period_is_followed_by_the_next(moment: datetime) -> None:
    now = moment.replace(tzinfo=UTC)
    calendar = parse_calendar("every: 5m")
    window = calendar.window_at(now)
    assert window is not None
    assert window.opens <= now < window.closes == window.opens + timedelta(minutes=5)
    following = calendar.window_at(window.closes)
    assert following is not None
    assert following.opens == window.closes


@pytest.mark.parametrize(
    "text", ["", "sometimes", "every", "every 0s", "Tue 25:00 1h", "Xyz 13:00 1h", "Tue 13:00 1h Mars/X"]
)
def test_what_is_no_calendar_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_calendar(text)


@pytest.mark.parametrize("text", ["", "5", "m", "-5m", "0m", "5 minutes"])
def test_what_is_no_length_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_length(text)


@pytest.mark.parametrize("day", range(7))
def test_a_round_of_the_usual_times_is_scored_on_twenty_days_of_trading_and_then_final(day: int) -> None:
    times = window(datetime(2026, 11, 2 + day, 13, tzinfo=UTC), timedelta(hours=1))
    days = scoring_times(times.scores, times.resolves)
    assert len(days) == 20
    assert days[-1] == times.resolves
    assert all(one.weekday() in (1, 2, 3, 4, 5) for one in days[:-1])
    assert days == sorted(set(days))


def test_a_round_that_resolves_within_a_day_is_scored_twice() -> None:
    opens = datetime(2026, 11, 1, 13, tzinfo=UTC)
    assert scoring_times(opens, opens + timedelta(minutes=5)) == [opens, opens + timedelta(minutes=5)]
    assert scoring_times(opens, opens) == [opens]
