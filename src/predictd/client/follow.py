"""Follow a run: yield each status and each line of the log once, in order."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from predictd.client.models import LogLine, Pickle, Run, Status
from predictd.client.transfer import TransferError
from predictd.domain.reasons import NO_OPEN_ROUND
from predictd.domain.states import RunState, ValidationStatus

STATUS_LABELS = {
    RunState.PENDING: "Pending",
    RunState.RUNNING: "Running",
    RunState.VALIDATING: "Validating",
    RunState.SUCCEEDED: "Success",
    RunState.ERROR: "Error",
    RunState.FAILED: "Failed",
}


class Outcome(StrEnum):
    """How a run ended."""

    SUCCESS = "success"
    """The submission is accepted."""
    VALIDATED = "validated"
    """The pickle is validated and no round is open; it runs when the next one opens."""
    FAILED = "failed"
    """The model failed; `reason` describes why."""
    ERROR = "error"
    """The platform failed, or no round is open for a round run."""


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """A run that has ended, with its pickle."""

    pickle: Pickle
    run: Run
    outcome: Outcome
    reason: str


def shown_status(status: str) -> str:
    """Return the label of a status, such as `Success` for `submission_succeeded`."""
    return STATUS_LABELS[RunState(status)] if status in set(RunState) else status


def outcome_of(pickle: Pickle, run: Run) -> Outcome:
    """Return how a run has ended."""
    if run.status == RunState.SUCCEEDED:
        return Outcome.SUCCESS
    if run.status == RunState.FAILED:
        return Outcome.FAILED
    # A pickle is validated even if there is no round to submit to.
    if run.type == "validation" and pickle.is_validated and run.code == NO_OPEN_ROUND:
        return Outcome.VALIDATED
    return Outcome.ERROR


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Polls a run.

    Attributes:
        pickle: Returns the pickle.
        logs: Returns the log of a run so far.
        run_id: Id of the run; by default the newest.
        seconds: Timeout; None for none.
        interval: Delay between requests, in seconds; it increases while nothing changes.
        max_interval: Maximum of this delay.
        sleep: Waits the given seconds.
        clock: Returns the time in seconds.
    """

    pickle: Callable[[], Pickle]
    logs: Callable[[str], Sequence[LogLine]]
    run_id: str | None = None
    seconds: float | None = None
    interval: float = 0.5
    max_interval: float = 3.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def events(self) -> Iterator[Status | LogLine | RunResult]:
        """Yield each new status and each new line of the log, and finally the run.

        Raises:
            TransferError: The run has not ended within the timeout.
        """
        started = self.clock()
        run_id = self.run_id
        seen: set[str] = set()
        log: list[LogLine] = []
        pause = self.interval
        while True:
            pickle = self.pickle()
            run = _find(pickle, run_id)
            if run is not None:
                run_id = run.id
                statuses = [status for status in run.statuses if status.id not in seen]
                seen.update(status.id for status in statuses)
                current_log = list(self.logs(run.id)) if _has_started(run) else []
                lines = new_lines(log, current_log)
                log = current_log or log
                yield from _in_order(statuses, lines)
                if run.is_final and not _is_being_validated(pickle, run):
                    outcome = outcome_of(pickle, run)
                    yield RunResult(pickle=pickle, run=run, outcome=outcome, reason=run.reason)
                    return
                pause = self.interval if statuses or lines else min(pause * 1.3, self.max_interval)
            if self.seconds is not None and self.clock() - started > self.seconds:
                raise TransferError(
                    f"The run has not ended within {self.seconds:g} s and continues on the server. "
                    f"Show it with: predictd status {pickle.id}"
                )
            self.sleep(pause)


def new_lines(before: Sequence[LogLine], now: Sequence[LogLine]) -> list[LogLine]:
    """Return the lines that were added to a log, of which the server drops the beginning if it is long."""
    old, current = _without_note(before), _without_note(now)
    for start, first in enumerate(old):
        overlap = len(old) - start
        if overlap <= len(current) and first == current[0] and old[start:] == current[:overlap]:
            return list(current[overlap:])
    # Without an overlap, all lines are new, with the server's note about dropped ones.
    return list(now)


def _without_note(lines: Sequence[LogLine]) -> Sequence[LogLine]:
    """Skip the server's note about dropped lines at the start of a log."""
    has_note = len(lines) > 1 and lines[0].message.startswith("[predictd] ")
    return lines[1:] if has_note else lines


def _find(pickle: Pickle, run_id: str | None) -> Run | None:
    if run_id is None:
        return pickle.newest_run
    return next((run for run in pickle.runs if run.id == run_id), None)


def _in_order(statuses: Sequence[Status], lines: Sequence[LogLine]) -> list[Status | LogLine]:
    """Sort by time, with the final status after all lines."""
    final = [item for item in statuses if item.status in set(RunState) and RunState(item.status).is_final]
    events: list[Status | LogLine] = [*(status for status in statuses if status not in final), *lines]
    return [*sorted(events, key=_milliseconds), *final]


def _milliseconds(event: Status | LogLine) -> float:
    if isinstance(event, LogLine):
        return event.timestamp or 0
    return event.inserted_at.timestamp() * 1000 if event.inserted_at else 0


def _has_started(run: Run) -> bool:
    return any(status.status != RunState.PENDING for status in run.statuses)


def _is_being_validated(pickle: Pickle, run: Run) -> bool:
    """Return whether the run has ended and the status of the pickle will change soon."""
    is_pending = run.type == "validation" and pickle.validation_status == ValidationStatus.PENDING
    return is_pending and run.status != RunState.ERROR
