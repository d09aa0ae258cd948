"""Of which events an account wants e-mails. All, until it says otherwise.

They are kept beside the e-mail preferences of the contract, of which three are another view of them: `roundOpen`,
`diagnostics`, and `pickleRoundStatus` for both ends of a run.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from predictd.db.models import Account
from predictd.domain.notices import CHOICES, Event

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


def wants_email(kept: Mapping[str, object], event: Event) -> bool:
    """Whether e-mails about that event are wanted; `kept` is `Account.email_preferences`."""
    if event not in CHOICES:
        return True
    wire = next(name for name, events in _EVENTS.items() if event in events)
    return bool(kept.get(event.value, kept.get(wire, True)))


def email_events(account: Account) -> list[Event]:
    """The events of which the account wants e-mails."""
    return [event for event in CHOICES if wants_email(account.email_preferences, event)]


def set_email_events(account: Account, events: Iterable[Event], now: datetime) -> None:
    """Want e-mails about these events and no others."""
    wanted = set(events)
    account.email_preferences = account.email_preferences | {event.value: event in wanted for event in CHOICES}
    account.updated_at = now


def wire_preferences(account: Account) -> dict[str, bool]:
    """The type EmailPreferences of the contract."""
    kept = account.email_preferences
    return {
        name: any(wants_email(kept, event) for event in _EVENTS[name])
        if name in _EVENTS
        else bool(kept.get(name, True))
        for name in WIRE_NAMES
    }


def set_wire_preferences(account: Account, chosen: Mapping[str, bool], now: datetime) -> None:
    """Keep preferences by their names in the contract; what is not named stays as it is."""
    kept = dict(account.email_preferences)
    for name, value in chosen.items():
        kept[name] = value
        kept.update({event.value: value for event in _EVENTS.get(name, ())})
    account.email_preferences = kept
    account.updated_at = now
