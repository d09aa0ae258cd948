"""A run as it goes on: its statuses and what the model prints, each once and in order."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from predictd.client.models import LogLine, Pickle, Status, Trigger
from predictd.client.transfer import TransferError
from predictd.domain.reasons import NO_OPEN_ROUND
from predictd.domain.states import TriggerState, ValidationStatus

SHOWN = {
    TriggerState.PENDING: "Pending",
    TriggerState.RUNNING: "Running",
    TriggerState.VALIDATING: "Validating",
    TriggerState.SUCCEEDED: "Success",
    TriggerState.ERROR: "Error",
    TriggerState.FAILED: "Failed",
}


class Outcome(StrEnum):
    """How a run ended."""

    SUCCESS = "success"
    """The submission is accepted."""
    VALIDATED = "validated"
    """The model is right and no round is open; it runs when the next one opens."""
    FAILED = "failed"
    """The user's model is at fault; the reason says how."""
    ERROR = "error"
    """The platform is at fault, or no round is open for a live run."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run that has ended, of a pickle as it is now."""

    pickle: Pickle
    trigger: Trigger
    outcome: Outcome
    reason: str


def shown_status(status: str) -> str:
    """A trigger's status on the wire as people are shown it."""
    return SHOWN[TriggerState(status)] if status in set(TriggerState) else status


def outcome_of(pickle: Pickle, trigger: Trigger) -> Outcome:
    """How a run that has ended did so."""
    if trigger.status == TriggerState.SUCCEEDED:
        return Outcome.SUCCESS
    if trigger.status == TriggerState.FAILED:
        return Outcome.FAILED
    # A pickle is validated all the same where there is no round to submit to.
    if trigger.type == "validation" and pickle.is_validated and trigger.code == NO_OPEN_ROUND:
        return Outcome.VALIDATED
    return Outcome.ERROR


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Looks at one run again and again.

    Attributes:
        pickle: asks for the pickle.
        logs: asks for all that a trigger's model has printed so far.
        seconds: gives up after so long; None never does.
    """

    pickle: Callable[[], Pickle]
    logs: Callable[[str], Sequence[LogLine]]
    trigger_id: str | None = None
    seconds: float | None = None
    interval: float = 0.5
    longest_interval: float = 3.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def events(self) -> Iterator[Status | LogLine | Run]:
        """Each new status and each new line of the log, and at the end the run.

        Without a trigger it is the newest one that is watched.

        Raises:
            TransferError: the run has not ended in time.
        """
        started = self.clock()
        wanted = self.trigger_id
        seen: set[str] = set()
        printed: list[LogLine] = []
        pause = self.interval
        while True:
            pickle = self.pickle()
            trigger = _find(pickle, wanted)
            if trigger is not None:
                wanted = trigger.id
                fresh = [status for status in trigger.statuses if status.id not in seen]
                seen.update(status.id for status in fresh)
                lines = list(self.logs(trigger.id)) if _may_have_printed(trigger) else []
                new = new_lines(printed, lines)
                printed = lines or printed
                yield from _in_order(fresh, new)
                if trigger.is_final and not _is_being_validated(pickle, trigger):
                    outcome = outcome_of(pickle, trigger)
                    yield Run(pickle=pickle, trigger=trigger, outcome=outcome, reason=trigger.reason)
                    return
                pause = self.interval if fresh or new else min(pause * 1.3, self.longest_interval)
            if self.seconds is not None and self.clock() - started > self.seconds:
                raise TransferError(
                    f"The run has not ended within {self.seconds:g} s; it goes on. "
                    f"See it with: predictd status {pickle.id}"
                )
            self.sleep(pause)


def new_lines(known: Sequence[LogLine], now: Sequence[LogLine]) -> list[LogLine]:
    """What of a log was not there before, although the server forgets the beginning of a long one."""
    known, found = _without_note(known), _without_note(now)
    for start, first in enumerate(known):
        rest = len(known) - start
        if rest <= len(found) and first == found[0] and known[start:] == found[:rest]:
            return list(found[rest:])
    # All of it, with the server's note of what was lost in between.
    return list(now)


def _without_note(lines: Sequence[LogLine]) -> Sequence[LogLine]:
    """Leave out the server's first line, which says that earlier output was cut."""
    has_note = len(lines) > 1 and lines[0].message.startswith("[predictd] ")
    return lines[1:] if has_note else lines


def _find(pickle: Pickle, trigger_id: str | None) -> Trigger | None:
    if trigger_id is None:
        return pickle.newest_trigger
    return next((one for one in pickle.triggers if one.id == trigger_id), None)


def _in_order(statuses: Sequence[Status], lines: Sequence[LogLine]) -> list[Status | LogLine]:
    """By time, and the end of a run after all that was printed in it."""
    ends = [one for one in statuses if one.status in set(TriggerState) and TriggerState(one.status).is_final]
    others: list[Status | LogLine] = [*(one for one in statuses if one not in ends), *lines]
    return [*sorted(others, key=_milliseconds), *ends]


def _milliseconds(event: Status | LogLine) -> float:
    if isinstance(event, LogLine):
        return event.timestamp or 0
    return event.inserted_at.timestamp() * 1000 if event.inserted_at else 0


def _may_have_printed(trigger: Trigger) -> bool:
    return any(status.status != TriggerState.PENDING for status in trigger.statuses)


def _is_being_validated(pickle: Pickle, trigger: Trigger) -> bool:
    """Whether the run has ended and the pickle's own status is about to follow."""
    is_settled = trigger.type != "validation" or pickle.validation_status != ValidationStatus.PENDING
    return not is_settled and trigger.status != TriggerState.ERROR
