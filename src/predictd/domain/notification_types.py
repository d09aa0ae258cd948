"""Events, channels and states of notifications."""

import re
from enum import StrEnum

from predictd.domain.errors import InvalidInputError

ADDRESS_LENGTH = 254
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")


class Event(StrEnum):
    """An event. Accounts can subscribe to the first four; the others are sent on request."""

    ROUND_OPEN = "round_open"
    RUN_FAILED = "run_failed"
    RUN_SUCCEEDED = "run_succeeded"
    DIAGNOSTICS_READY = "diagnostics_ready"
    CONFIRMATION = "confirmation"
    TEST = "test"

    @property
    def type(self) -> str:
        """Return its name in webhooks, such as run.failed."""
        return self.value.replace("_", ".")


CHOICES: dict[Event, str] = {
    Event.ROUND_OPEN: "A round has opened",
    Event.RUN_FAILED: "A run has failed: for a round, in validation or in diagnostics",
    Event.RUN_SUCCEEDED: "A run has succeeded: for a round or in validation",
    Event.DIAGNOSTICS_READY: "Diagnostics are ready",
}


class Channel(StrEnum):
    """A channel of notifications."""

    EMAIL = "email"
    WEBHOOK = "webhook"


class DeliveryState(StrEnum):
    """The state of a delivery."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


def check_address(address: str) -> str:
    """Return the email address without surrounding spaces.

    Raises:
        InvalidInputError: the address is invalid.
    """
    stripped = address.strip()
    if len(stripped) > ADDRESS_LENGTH or not _ADDRESS.fullmatch(stripped):
        raise InvalidInputError(f"{stripped[:60]!r} is not a valid email address; enter one such as me@mail.org.")
    return stripped


def chosen_events(names: list[str]) -> list[Event]:
    """Return the events with these names, in the order of `CHOICES`.

    Raises:
        InvalidInputError: an event does not exist.
    """
    unknown = [name for name in names if name not in CHOICES]
    if unknown:
        raise InvalidInputError(f"There is no event {unknown[0][:40]!r}; choose among {', '.join(CHOICES)}.")
    return [event for event in CHOICES if event in names]
