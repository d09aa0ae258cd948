"""What a server answers, as objects. Times are in UTC; None is what the server does not say."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from predictd.client.documents import DIAGNOSTICS_FIGURES
from predictd.domain.reasons import NO_OPEN_ROUND
from predictd.domain.states import TriggerState, ValidationStatus

Answer = dict[str, Any]
_NO_OPEN_ROUND_TEXT = "No currently open rounds!"


@dataclass(frozen=True, kw_only=True)
class TokenInfo:
    """The token in use: its name, its scopes, whose it is."""

    name: str | None
    public_id: str | None
    scopes: tuple[str, ...]
    account: str | None

    @classmethod
    def of(cls, answer: Answer) -> "TokenInfo":
        """From the type ApiTokenInfo."""
        return cls(
            name=answer.get("name"),
            public_id=answer.get("publicId"),
            scopes=tuple(answer.get("scopes") or ()),
            account=answer.get("accountUsername"),
        )


@dataclass(frozen=True, kw_only=True)
class Model:
    """A slot; `pickle_id` is the pickle that sits in it."""

    id: str
    name: str
    tournament: int | None
    pickle_id: str | None
    pickle_filename: str | None
    webhook: str | None
    archived: bool
    inserted_at: datetime | None

    @classmethod
    def of(cls, answer: Answer) -> "Model":
        """From the type Model."""
        pickle = answer.get("computePickleUpload") or {}
        return cls(
            id=str(answer["id"]),
            name=str(answer["name"]),
            tournament=answer.get("tournament"),
            pickle_id=pickle.get("id"),
            pickle_filename=pickle.get("filename"),
            webhook=answer.get("submissionWebhook"),
            archived=bool(answer.get("archived")),
            inserted_at=_time(answer.get("insertedAt")),
        )


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """A Python with packages that models can run in, such as `Python 3.12`."""

    id: str
    name: str
    image: str | None
    tag: str | None
    default: bool
    deprecated: bool

    @classmethod
    def of(cls, answer: Answer) -> "Runtime":
        """From the type ComputePickleDockerImage."""
        return cls(
            id=str(answer["id"]),
            name=str(answer.get("name") or ""),
            image=answer.get("image"),
            tag=answer.get("tag"),
            default=bool(answer.get("default")),
            deprecated=bool(answer.get("deprecated")),
        )


@dataclass(frozen=True, kw_only=True)
class DataVersion:
    """A version of the data, such as `v5.3`."""

    id: str
    name: str
    default: bool
    deprecated: bool

    @classmethod
    def of(cls, answer: Answer) -> "DataVersion":
        """From the type ComputePickleDataVersion."""
        return cls(
            id=str(answer["id"]),
            name=str(answer.get("name") or answer.get("version") or ""),
            default=bool(answer.get("default")),
            deprecated=bool(answer.get("deprecated")),
        )


@dataclass(frozen=True, kw_only=True)
class Status:
    """One step in the history of a trigger, with a description that a person can act on.

    Attributes:
        code: why the trigger is in this status, a code of docs/failures.md; None where the server has none.
        facts: what the description was filled with.
    """

    id: str
    status: str
    description: str
    inserted_at: datetime | None
    code: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, answer: Answer) -> "Status":
        """From the type ComputePickleTriggerStatus."""
        return cls(
            id=str(answer["id"]),
            status=str(answer.get("status") or ""),
            description=(description := str(answer.get("description") or "")),
            inserted_at=_time(answer.get("insertedAt")),
            # The public platform has no codes; its text for this one is part of the contract.
            code=answer.get("code") or (NO_OPEN_ROUND if description == _NO_OPEN_ROUND_TEXT else None),
            facts=answer.get("facts") or {},
        )


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """One run of a pickle, with its history, oldest first."""

    id: str
    type: str
    status: str
    round_id: str | None
    submission_id: str | None
    inserted_at: datetime | None
    statuses: tuple[Status, ...]

    @property
    def is_final(self) -> bool:
        """Whether the run has ended."""
        return self.status in set(TriggerState) and TriggerState(self.status).is_final

    @property
    def reason(self) -> str:
        """The description of the newest status."""
        return self.statuses[-1].description if self.statuses else ""

    @property
    def code(self) -> str | None:
        """The code of the newest status, if the server has codes."""
        return self.statuses[-1].code if self.statuses else None

    @classmethod
    def of(cls, answer: Answer) -> "Trigger":
        """From the type ComputePickleTrigger."""
        statuses = [Status.of(one) for one in answer.get("statuses") or ()]
        return cls(
            id=str(answer["id"]),
            type=str(answer.get("type") or ""),
            status=str(answer.get("status") or ""),
            round_id=answer.get("roundId"),
            submission_id=answer.get("submissionId"),
            inserted_at=_time(answer.get("insertedAt")),
            statuses=tuple(sorted(statuses, key=lambda one: _sortable(one.inserted_at))),
        )


@dataclass(frozen=True, kw_only=True)
class Pickle:
    """An uploaded model, with its runs, newest first."""

    id: str
    filename: str
    label: str | None
    version: int | None
    model_id: str | None
    assigned_model_ids: tuple[str, ...]
    runtime: str | None
    data_version: str | None
    validation_status: str
    diagnostics_status: str | None
    inserted_at: datetime | None
    triggers: tuple[Trigger, ...]

    @property
    def is_validated(self) -> bool:
        """Whether it may take a slot."""
        return self.validation_status == ValidationStatus.VALIDATED

    @property
    def newest_trigger(self) -> Trigger | None:
        """Its last run."""
        return self.triggers[0] if self.triggers else None

    @classmethod
    def of(cls, answer: Answer) -> "Pickle":
        """From the type ComputePickleUpload."""
        triggers = [Trigger.of(one) for one in answer.get("triggers") or ()]
        return cls(
            id=str(answer["id"]),
            filename=str(answer.get("filename") or ""),
            label=answer.get("label"),
            version=answer.get("version"),
            model_id=answer.get("modelId"),
            assigned_model_ids=tuple(str(one) for one in answer.get("assignedModelSlots") or ()),
            runtime=answer.get("dockerImageName") or answer.get("runtime"),
            data_version=answer.get("dataVersion"),
            validation_status=str(answer.get("validationStatus") or ""),
            diagnostics_status=answer.get("diagnosticsStatus"),
            inserted_at=_time(answer.get("insertedAt")),
            triggers=tuple(sorted(triggers, key=lambda one: _sortable(one.inserted_at), reverse=True)),
        )


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """A line that a model printed; `timestamp` is in milliseconds since the epoch."""

    timestamp: int | None
    message: str

    @classmethod
    def of(cls, answer: Answer) -> "LogLine":
        """From the type InvocationLog."""
        return cls(timestamp=answer.get("timestamp"), message=str(answer.get("message") or ""))


@dataclass(frozen=True, kw_only=True)
class Submission:
    """Predictions that were submitted for a round; the selected one counts."""

    id: str
    filename: str
    status: str | None
    selected: bool
    round_number: int | None
    trigger_id: str | None
    notes: str | None
    inserted_at: datetime | None

    @classmethod
    def of(cls, answer: Answer) -> "Submission":
        """From the type V2Submission."""
        return cls(
            id=str(answer["id"]),
            filename=str(answer.get("filename") or ""),
            status=answer.get("status"),
            selected=bool(answer.get("selected")),
            round_number=(answer.get("round") or {}).get("number"),
            trigger_id=answer.get("triggerId"),
            notes=answer.get("notes"),
            inserted_at=_time(answer.get("insertedAt")),
        )


@dataclass(frozen=True, kw_only=True)
class Round:
    """A round of the tournament."""

    id: str
    number: int
    open_time: datetime | None
    close_time: datetime | None
    score_time: datetime | None
    resolve_time: datetime | None
    resolved: bool

    @classmethod
    def of(cls, answer: Answer) -> "Round":
        """From the type Round."""
        return cls(
            id=str(answer["id"]),
            number=int(answer["number"]),
            open_time=_time(answer.get("openTime")),
            close_time=_time(answer.get("closeTime")),
            score_time=_time(answer.get("scoreTime")),
            resolve_time=_time(answer.get("resolveTime")),
            resolved=bool(answer.get("resolvedGeneral")),
        )


@dataclass(frozen=True, kw_only=True)
class Score:
    """One score of one submission, after so many days of scoring."""

    round_number: int | None
    submission_id: str | None
    name: str
    value: float | None
    percentile: float | None
    day: int | None
    resolved: bool

    @classmethod
    def of(cls, answer: Answer) -> "Score":
        """From the type SubmissionScore."""
        return cls(
            round_number=answer.get("roundNumber"),
            submission_id=answer.get("submissionId"),
            name=str(answer.get("displayName") or ""),
            value=answer.get("value"),
            percentile=answer.get("percentile"),
            day=answer.get("day"),
            resolved=bool(answer.get("resolved")),
        )


@dataclass(frozen=True, kw_only=True)
class Diagnostics:
    """Figures of a model on validation data; `figures` has those that are known, by their names on the wire."""

    id: str
    filename: str | None
    status: str | None
    message: str | None
    pickle_id: str | None
    inserted_at: datetime | None
    figures: Mapping[str, float]

    @classmethod
    def of(cls, answer: Answer) -> "Diagnostics":
        """From the type V2Diagnostics."""
        return cls(
            id=str(answer["id"]),
            filename=answer.get("filename"),
            status=answer.get("status"),
            message=answer.get("message"),
            pickle_id=answer.get("computePickleUploadId"),
            inserted_at=_time(answer.get("insertedAt")),
            figures={name: answer[name] for name in DIAGNOSTICS_FIGURES if answer.get(name) is not None},
        )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _sortable(time: datetime | None) -> float:
    return time.timestamp() if time else 0.0
