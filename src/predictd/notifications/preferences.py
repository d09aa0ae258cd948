"""Email preferences: the events that an account wants emails about, by default all.

They are stored with the email preferences of the API contract, three of which map to events: `roundOpen`,
`diagnostics`, and `pickleRoundStatus` for both results of a run.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from predictd.db.models import Account
from predictd.domain.notification_types import CHOICES, Event

WIRE_NAMES = (
    "modelUploadReceipt",
    "pickleRoundOpen",
    "pickleRoundStatus",
    "diagnostics",
    "submission",
    "roundOpen",
)
_EVENTS = {
    "roundOpen": (Event.ROUND_OPEN,),
    "pickleRoundStatus": (Event.RUN_FAILED, Event.RUN_SUCCEEDED),
    "diagnostics": (Event.DIAGNOSTICS_READY,),
}


def wants_email(preferences: Mapping[str, object], event: Event) -> bool:
    """Return whether emails about the event are wanted; `preferences` is `Account.email_preferences`."""
    if event not in CHOICES:
        return True
    wire = next(name for name, events in _EVENTS.items() if event in events)
    return bool(preferences.get(event.value, preferences.get(wire, True)))


def email_events(account: Account) -> list[Event]:
    """Return the events that the account wants emails about."""
    return [event for event in CHOICES if wants_email(account.email_preferences, event)]


def set_email_events(account: Account, events: Iterable[Event], now: datetime) -> None:
    """Set the events that the account wants emails about."""
    chosen = set(events)
    account.email_preferences = account.email_preferences | {event.value: event in chosen for event in CHOICES}
    account.updated_at = now


def wire_preferences(account: Account) -> dict[str, bool]:
    """Return the EmailPreferences of the API contract."""
    preferences = account.email_preferences
    return {
        name: any(wants_email(preferences, event) for event in _EVENTS[name])
        if name in _EVENTS
        else bool(preferences.get(name, True))
        for name in WIRE_NAMES
    }


def set_wire_preferences(account: Account, chosen: Mapping[str, bool], now: datetime) -> None:
    """Update preferences by their names in the API contract."""
    preferences = dict(account.email_preferences)
    for name, value in chosen.items():
        preferences[name] = value
        preferences.update({event.value: value for event in _EVENTS.get(name, ())})
    account.email_preferences = preferences
    account.updated_at = now
