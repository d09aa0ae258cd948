"""The objects in a server's responses. Times are in UTC; None means that the server sends no value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from predictd.client.documents import DIAGNOSTICS_METRICS
from predictd.domain.reasons import NO_OPEN_ROUND
from predictd.domain.states import RunState, ValidationStatus

JsonObject = dict[str, Any]
_NO_OPEN_ROUND_TEXT = "No currently open rounds!"


@dataclass(frozen=True, kw_only=True)
class TokenInfo:
    """The token in use, with its account."""

    name: str | None
    public_id: str | None
    scopes: tuple[str, ...]
    account: str | None

    @classmethod
    def of(cls, data: JsonObject) -> "TokenInfo":
        """Create it from the GraphQL type ApiTokenInfo."""
        return cls(
            name=data.get("name"),
            public_id=data.get("publicId"),
            scopes=tuple(data.get("scopes") or ()),
            account=data.get("accountUsername"),
        )


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model; `pickle_id` is its assigned pickle."""

    id: str
    name: str
    tournament: int | None
    pickle_id: str | None
    pickle_filename: str | None
    webhook: str | None
    archived: bool
    inserted_at: datetime | None

    @classmethod
    def of(cls, data: JsonObject) -> "Model":
        """Create it from the GraphQL type Model."""
        pickle = data.get("computePickleUpload") or {}
        return cls(
            id=str(data["id"]),
            name=str(data["name"]),
            tournament=data.get("tournament"),
            pickle_id=pickle.get("id"),
            pickle_filename=pickle.get("filename"),
            webhook=data.get("submissionWebhook"),
            archived=bool(data.get("archived")),
            inserted_at=_time(data.get("insertedAt")),
        )


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """A runtime: a Python version with packages, such as `Python 3.12`."""

    id: str
    name: str
    image: str | None
    tag: str | None
    default: bool
    deprecated: bool

    @classmethod
    def of(cls, data: JsonObject) -> "Runtime":
        """Create it from the GraphQL type ComputePickleDockerImage."""
        return cls(
            id=str(data["id"]),
            name=str(data.get("name") or ""),
            image=data.get("image"),
            tag=data.get("tag"),
            default=bool(data.get("default")),
            deprecated=bool(data.get("deprecated")),
        )


@dataclass(frozen=True, kw_only=True)
class DataVersion:
    """A data version, such as `v5.3`."""

    id: str
    name: str
    default: bool
    deprecated: bool

    @classmethod
    def of(cls, data: JsonObject) -> "DataVersion":
        """Create it from the GraphQL type ComputePickleDataVersion."""
        return cls(
            id=str(data["id"]),
            name=str(data.get("name") or data.get("version") or ""),
            default=bool(data.get("default")),
            deprecated=bool(data.get("deprecated")),
        )


@dataclass(frozen=True, kw_only=True)
class Status:
    """An entry in the status history of a run, with a description.

    Attributes:
        id: Id of the entry.
        status: The status, as in GraphQL.
        description: The reason of the status as text.
        inserted_at: Time of the status.
        code: The reason as a code, see docs/reference/failures.md; None if the server has no codes.
        facts: The values in the description.
    """

    id: str
    status: str
    description: str
    inserted_at: datetime | None
    code: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, data: JsonObject) -> "Status":
        """Create it from the GraphQL type ComputePickleTriggerStatus."""
        return cls(
            id=str(data["id"]),
            status=str(data.get("status") or ""),
            description=(description := str(data.get("description") or "")),
            inserted_at=_time(data.get("insertedAt")),
            # Numerai's server has no codes; its text for this reason is part of the contract.
            code=data.get("code") or (NO_OPEN_ROUND if description == _NO_OPEN_ROUND_TEXT else None),
            facts=data.get("facts") or {},
        )


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run of a pickle, with its status history, oldest first."""

    id: str
    type: str
    status: str
    round_id: str | None
    submission_id: str | None
    inserted_at: datetime | None
    statuses: tuple[Status, ...]

    @property
    def is_final(self) -> bool:
        """Return whether the run has ended."""
        return self.status in set(RunState) and RunState(self.status).is_final

    @property
    def reason(self) -> str:
        """The description of the newest status."""
        return self.statuses[-1].description if self.statuses else ""

    @property
    def code(self) -> str | None:
        """The code of the newest status, if the server has codes."""
        return self.statuses[-1].code if self.statuses else None

    @classmethod
    def of(cls, data: JsonObject) -> "Run":
        """Create it from the GraphQL type ComputePickleTrigger."""
        statuses = [Status.of(item) for item in data.get("statuses") or ()]
        return cls(
            id=str(data["id"]),
            type=str(data.get("type") or ""),
            status=str(data.get("status") or ""),
            round_id=data.get("roundId"),
            submission_id=data.get("submissionId"),
            inserted_at=_time(data.get("insertedAt")),
            statuses=tuple(sorted(statuses, key=lambda item: _sort_key(item.inserted_at))),
        )


@dataclass(frozen=True, kw_only=True)
class Pickle:
    """An uploaded pickle, with its runs, newest first."""

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
    runs: tuple[Run, ...]

    @property
    def is_validated(self) -> bool:
        """Return whether the pickle can be assigned."""
        return self.validation_status == ValidationStatus.VALIDATED

    @property
    def newest_run(self) -> Run | None:
        """The newest run."""
        return self.runs[0] if self.runs else None

    @classmethod
    def of(cls, data: JsonObject) -> "Pickle":
        """Create it from the GraphQL type ComputePickleUpload."""
        runs = [Run.of(item) for item in data.get("triggers") or ()]
        return cls(
            id=str(data["id"]),
            filename=str(data.get("filename") or ""),
            label=data.get("label"),
            version=data.get("version"),
            model_id=data.get("modelId"),
            assigned_model_ids=tuple(str(model_id) for model_id in data.get("assignedModelSlots") or ()),
            runtime=data.get("dockerImageName") or data.get("runtime"),
            data_version=data.get("dataVersion"),
            validation_status=str(data.get("validationStatus") or ""),
            diagnostics_status=data.get("diagnosticsStatus"),
            inserted_at=_time(data.get("insertedAt")),
            runs=tuple(sorted(runs, key=lambda item: _sort_key(item.inserted_at), reverse=True)),
        )


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """A line of a model's output; `timestamp` is in milliseconds since the epoch."""

    timestamp: int | None
    message: str

    @classmethod
    def of(cls, data: JsonObject) -> "LogLine":
        """Create it from the GraphQL type InvocationLog."""
        return cls(timestamp=data.get("timestamp"), message=str(data.get("message") or ""))


@dataclass(frozen=True, kw_only=True)
class Submission:
    """Predictions submitted for a round; the selected submission counts."""

    id: str
    filename: str
    status: str | None
    selected: bool
    round_number: int | None
    run_id: str | None
    notes: str | None
    inserted_at: datetime | None

    @classmethod
    def of(cls, data: JsonObject) -> "Submission":
        """Create it from the GraphQL type V2Submission."""
        return cls(
            id=str(data["id"]),
            filename=str(data.get("filename") or ""),
            status=data.get("status"),
            selected=bool(data.get("selected")),
            round_number=(data.get("round") or {}).get("number"),
            run_id=data.get("triggerId"),
            notes=data.get("notes"),
            inserted_at=_time(data.get("insertedAt")),
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
    def of(cls, data: JsonObject) -> "Round":
        """Create it from the GraphQL type Round."""
        return cls(
            id=str(data["id"]),
            number=int(data["number"]),
            open_time=_time(data.get("openTime")),
            close_time=_time(data.get("closeTime")),
            score_time=_time(data.get("scoreTime")),
            resolve_time=_time(data.get("resolveTime")),
            resolved=bool(data.get("resolvedGeneral")),
        )


@dataclass(frozen=True, kw_only=True)
class Score:
    """A score of a submission on a day of scoring."""

    round_number: int | None
    submission_id: str | None
    name: str
    value: float | None
    percentile: float | None
    day: int | None
    resolved: bool

    @classmethod
    def of(cls, data: JsonObject) -> "Score":
        """Create it from the GraphQL type SubmissionScore."""
        return cls(
            round_number=data.get("roundNumber"),
            submission_id=data.get("submissionId"),
            name=str(data.get("displayName") or ""),
            value=data.get("value"),
            percentile=data.get("percentile"),
            day=data.get("day"),
            resolved=bool(data.get("resolved")),
        )


@dataclass(frozen=True, kw_only=True)
class Diagnostics:
    """Metrics of a model on validation data; `figures` maps their GraphQL names to values."""

    id: str
    filename: str | None
    status: str | None
    message: str | None
    pickle_id: str | None
    inserted_at: datetime | None
    figures: Mapping[str, float]

    @classmethod
    def of(cls, data: JsonObject) -> "Diagnostics":
        """Create it from the GraphQL type V2Diagnostics."""
        return cls(
            id=str(data["id"]),
            filename=data.get("filename"),
            status=data.get("status"),
            message=data.get("message"),
            pickle_id=data.get("computePickleUploadId"),
            inserted_at=_time(data.get("insertedAt")),
            figures={name: data[name] for name in DIAGNOSTICS_METRICS if data.get(name) is not None},
        )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _sort_key(time: datetime | None) -> float:
    return time.timestamp() if time else 0.0
