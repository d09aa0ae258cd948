"""The states of runs, pickles, diagnostics and rounds, with the transitions that are allowed."""

from enum import StrEnum


class RunState(StrEnum):
    """Where one run of a pickle stands; the values are those on the wire."""

    PENDING = "pending"
    RUNNING = "running"
    VALIDATING = "validating"
    SUCCEEDED = "submission_succeeded"
    ERROR = "error"
    FAILED = "model_failed"

    @property
    def is_final(self) -> bool:
        """Whether no further transition is expected (an Error that is retried goes back to Pending at once)."""
        return self in ENDED


CLAIMED = (RunState.RUNNING, RunState.VALIDATING)
"""A worker has the run and holds a lease."""
ACTIVE = (RunState.PENDING, *CLAIMED)
"""The run has not ended."""
ENDED = (RunState.SUCCEEDED, RunState.ERROR, RunState.FAILED)
"""No further transition is expected, unless an Error is requeued."""

RUN_TRANSITIONS: dict[RunState, frozenset[RunState]] = {
    RunState.PENDING: frozenset({RunState.RUNNING, RunState.FAILED, RunState.ERROR}),
    RunState.RUNNING: frozenset({RunState.VALIDATING, RunState.FAILED, RunState.ERROR}),
    RunState.VALIDATING: frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.ERROR}),
    RunState.ERROR: frozenset({RunState.PENDING}),
    RunState.SUCCEEDED: frozenset(),
    RunState.FAILED: frozenset(),
}


class RunType(StrEnum):
    """Why a pickle runs: to be validated, for a round, or on the validation data; the last is for files too."""

    VALIDATION = "validation"
    LIVE = "live"
    DIAGNOSTICS = "diagnostics"


class ValidationStatus(StrEnum):
    """Whether a pickle may take a model's slot."""

    PENDING = "pending"
    VALIDATED = "validated"
    INVALID = "invalid"


class DiagnosticsStatus(StrEnum):
    """How far the diagnostics of a pickle or of an uploaded file are."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"

    @classmethod
    def of(cls, state: RunState) -> "DiagnosticsStatus":
        """That of diagnostics whose run stands there."""
        return {
            RunState.PENDING: cls.PENDING,
            RunState.RUNNING: cls.RUNNING,
            RunState.VALIDATING: cls.RUNNING,
            RunState.SUCCEEDED: cls.DONE,
        }.get(state, cls.FAILED)


class SubmissionStatus(StrEnum):
    """When a submission arrived: in its round or after it."""

    ON_TIME = "on_time"
    LATE = "late"


class RoundStatus(StrEnum):
    """Where a round stands at a moment."""

    UPCOMING = "UPCOMING"
    OPEN = "OPEN"
    RESOLVING = "RESOLVING"
    RESOLVED = "RESOLVED"
