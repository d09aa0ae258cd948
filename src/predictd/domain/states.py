"""The states of triggers, pickles, diagnostics and rounds, with the transitions that are allowed."""

from enum import StrEnum


class TriggerState(StrEnum):
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


CLAIMED = (TriggerState.RUNNING, TriggerState.VALIDATING)
"""A worker has the run and holds a lease."""
ACTIVE = (TriggerState.PENDING, *CLAIMED)
"""The run has not ended."""
ENDED = (TriggerState.SUCCEEDED, TriggerState.ERROR, TriggerState.FAILED)
"""No further transition is expected, unless an Error is requeued."""

TRIGGER_TRANSITIONS: dict[TriggerState, frozenset[TriggerState]] = {
    TriggerState.PENDING: frozenset({TriggerState.RUNNING, TriggerState.FAILED, TriggerState.ERROR}),
    TriggerState.RUNNING: frozenset({TriggerState.VALIDATING, TriggerState.FAILED, TriggerState.ERROR}),
    TriggerState.VALIDATING: frozenset({TriggerState.SUCCEEDED, TriggerState.FAILED, TriggerState.ERROR}),
    TriggerState.ERROR: frozenset({TriggerState.PENDING}),
    TriggerState.SUCCEEDED: frozenset(),
    TriggerState.FAILED: frozenset(),
}


class TriggerType(StrEnum):
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
    def of(cls, state: TriggerState) -> "DiagnosticsStatus":
        """That of diagnostics whose trigger stands there."""
        return {
            TriggerState.PENDING: cls.PENDING,
            TriggerState.RUNNING: cls.RUNNING,
            TriggerState.VALIDATING: cls.RUNNING,
            TriggerState.SUCCEEDED: cls.DONE,
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
