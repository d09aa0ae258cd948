"""Why a run is in a state: a code with facts, which is what is stored and decided on, and the text shown for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from predictd.domain.failures import FAILURES, ModelFailure

Facts = Mapping[str, Any]
NO_OPEN_ROUND = "no_open_round"
KILLED = "killed_once"
PLATFORM = "platform"


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why a run is in a state.

    Attributes:
        code: one of `FAILURES` or `MESSAGES`.
        facts: fill the message of the code; strings, numbers, booleans, and lists and dicts of these.
        notes: what else there is to know.
    """

    code: str
    facts: Facts = field(default_factory=dict)
    notes: tuple["Reason", ...] = ()

    @classmethod
    def of_failure(cls, failure: ModelFailure) -> "Reason":
        """Return the reason of a run whose model failed."""
        cause = {} if failure.cause is None else {"cause": failure.cause}
        return cls(code=failure.code, facts={**failure.facts, **cause})

    @classmethod
    def of_row(cls, code: str, facts: Facts) -> "Reason":
        """Return the reason that was stored as `code` and `row_facts`."""
        notes = tuple(cls(code=note["code"], facts=note["facts"]) for note in facts.get("notes", ()))
        return cls(code=code, facts={name: fact for name, fact in facts.items() if name != "notes"}, notes=notes)

    @property
    def row_facts(self) -> dict[str, Any]:
        """The facts with the notes among them, as they are stored and sent."""
        notes = [{"code": note.code, "facts": dict(note.facts)} for note in self.notes]
        return {**self.facts, **({"notes": notes} if notes else {})}

    @property
    def failure(self) -> ModelFailure | None:
        """The failure of the model, if the code is that of one."""
        if self.code not in FAILURES:
            return None
        facts = {name: str(fact) for name, fact in self.facts.items() if name != "cause"}
        return ModelFailure(code=self.code, facts=facts, cause=self.facts.get("cause"))

    @property
    def message(self) -> str:
        """What happened and, for a failure of the model, what to do; without the notes."""
        if (failure := self.failure) is not None:
            return failure.describe()
        template = MESSAGES.get(self.code)
        if template is None:
            return self.code
        return template(self.facts) if callable(template) else template.format_map(self.facts)

    def describe(self) -> str:
        """Return the message and those of the notes, in one line for a person."""
        return " ".join(reason.message for reason in (self, *self.notes))


def _running(facts: Facts) -> str:
    return f"The model is running{_attempt(facts)}."


def _waiting_for_node(facts: Facts) -> str:
    return f"Waiting for a node of the cluster{_attempt(facts)}."


def _attempt(facts: Facts) -> str:
    return "" if facts["attempt"] == 1 else f" (attempt {facts['attempt']})"


def _submitted(facts: Facts) -> str:
    return f"Submitted to round {facts['round']} for {', '.join(facts['models'])}."


def _submitted_late(facts: Facts) -> str:
    return (
        f"Round {facts['round']} closed before the run ended: the submission of {', '.join(facts['models'])} is late "
        "and is queued for the next round."
    )


def _used(facts: Facts) -> str:
    limit, taken = facts["limit_seconds"], facts["seconds"]
    used = f"{taken:.1f} of {limit:g} s ({_share(taken, limit)})"
    if facts["memory_bytes"]:
        memory, most = facts["memory_bytes"], facts["limit_memory_bytes"]
        used += f" and {memory >> 20} of {most >> 20} MiB of memory ({_share(memory, most)})"
    stages = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in facts["stages"].items())
    return f"The model used {used}: {stages}."


def _share(used: float, limit: float) -> str:
    percent = 100 * used / limit
    return "under 1 %" if percent < 1 else f"{percent:.0f} %"


def _scored_eras(facts: Facts) -> str:
    mean = facts.get("corr_mean")
    return f"The diagnostics are done: {facts['eras']} eras" + ("." if mean is None else f", mean CORR {mean:.5f}.")


def _platform(facts: Facts) -> str:
    return f"The platform failed: {facts['detail'].rstrip('.')}."


MESSAGES: dict[str, str | Callable[[Facts], str]] = {
    # Pending.
    "validation_queued": "Waiting for a worker to validate it.",
    "validation_requested": "Validation requested; waiting for a worker.",
    "run_requested": "Run requested; waiting for a worker.",
    "assigned": "Assigned to {model} while the round is open; waiting for a worker.",
    "round_opened": "The round opened; waiting for a worker.",
    "round_opened_during_validation": "The round opened during validation; waiting for a worker.",
    "fallback": (
        "Fallback for {model}: its pickle {failed_pickle} failed ({failed_code}), so its last good pickle {pickle} "
        "runs for round {round}."
    ),
    "diagnostics_queued": "Waiting for a worker to run it on the validation data.",
    "diagnostics_file_queued": "Waiting for a worker to score it.",
    "retried": "Retrying: attempt {attempt}.",
    "requeued": "Requeued by an admin; waiting for a worker.",
    "waiting_for_restart": "Waiting for the server to restart.",
    "waiting_for_machine": "Waiting for another machine.",
    "waiting_for_runtime": "Waiting for a machine that can run it.",
    "waiting_for_urgent_runs": "Waiting for more urgent runs.",
    # Running and validating.
    "running": _running,
    "waiting_for_node": _waiting_for_node,
    "checking_predictions": "The predictions are being checked.",
    "scoring_predictions": "The predictions are being scored.",
    "eras_scored": "{done:.0%} of the eras are scored.",
    # Ended.
    "submitted": _submitted,
    "submitted_late": _submitted_late,
    "not_assigned": "It is assigned to no model, so nothing was submitted.",
    "model_inactive": "Model {model} no longer runs for rounds, so nothing was submitted.",
    "newer_submission": "Model {model} has a newer submission for round {round}, so nothing was submitted.",
    "is_fallback": "It is the fallback for the assigned pickle, which failed.",
    # Clients of the public platform know this text.
    NO_OPEN_ROUND: "No currently open rounds!",
    "validated": "The pickle is validated.",
    "not_assigned_webhook": "It was not assigned to {model}, which has a submission webhook; delete the webhook first.",
    "not_assigned_newer": "It was not assigned to {model}, which has a pickle that was uploaded later ({pickle}).",
    "used": _used,
    "fallback_queued": "Meanwhile the last good pickle {pickle} runs for {model} (fallback).",
    "diagnostics_done": _scored_eras,
    "invalid_file": "{detail}",
    "no_validation_data": "Data version {versions} has no {file}, so there is nothing to validate on.",
    # Errors of the platform.
    PLATFORM: _platform,
    "unexpected_error": "The platform failed unexpectedly; the server's log has the details.",
    KILLED: (
        "The platform failed: The model's process was killed (SIGKILL), by the model itself or by something on the "
        "machine; a second run shows which."
    ),
    "worker_lost": "The platform lost the worker that ran the model; this is not the model's fault.",
    "machine_stopping": "The machine that ran the model is shutting down.",
    "server_stopping": "The server is shutting down.",
    "preempted": "The only worker is needed for a more urgent run.",
    "runtime_missing": "{detail}",
    "account_suspended": "The account was suspended by an admin.",
    "diagnostics_deleted": "The diagnostics were deleted.",
}
