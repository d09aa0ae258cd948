"""Pickles: upload, registration, assignment, runs, and logs; the runtimes and data versions."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from ariadne import MutationType, QueryType
from sqlalchemy import func, select

from predictd.api.graphql.resolvers.objects import Info, Object, context_of
from predictd.db.catalog import list_data_versions, list_runtimes
from predictd.db.model_queries import get_model
from predictd.db.models import Account, Diagnostics, Model, Pickle, Run, RunLog, RunStatus, Runtime
from predictd.domain.errors import InvalidInputError, NotFoundError
from predictd.domain.limits import PRESIGNED_URL_SECONDS
from predictd.http.context import Context
from predictd.uploads.assignment import check_not_removed, get_pickle
from predictd.uploads.cancellation import cancel_run
from predictd.uploads.diagnostics import description_of, status_of
from predictd.uploads.incoming import UploadKind
from predictd.uploads.registration import set_label
from predictd.uploads.runtime_selection import built_target

query = QueryType()
mutation = MutationType()

READ = ("read_submission_info", "upload_submission")
WRITE = "upload_submission"


def pickle_object(context: Context, pickle: Pickle) -> Object:
    """Return the type ComputePickleUpload."""
    runtime, version = pickle.runtime, pickle.data_version
    return {
        "id": pickle.id,
        "filename": pickle.filename,
        "label": pickle.label,
        "version": lambda info: _version_number(context, pickle),
        "modelId": pickle.model_id,
        "assignedModelSlots": lambda info: [model.id for model in pickle.assigned_models],
        "dockerImageId": runtime.id,
        "dockerImage": f"{runtime.image}:{runtime.tag}",
        "dockerImageName": runtime.name,
        "runtime": runtime.python,
        "dataVersionId": version.id,
        "dataVersion": version.name,
        "validationStatus": pickle.validation_status,
        "triggerStatus": lambda info: context.newest_state(pickle),
        "triggers": lambda info: [run_object(run) for run in pickle.runs],
        "diagnosticsId": lambda info: _of_latest_diagnostics(pickle, lambda diagnostics: diagnostics.id),
        "diagnosticsStatus": lambda info: _of_latest_diagnostics(pickle, status_of),
        "diagnosticsStatusDescription": lambda info: _of_latest_diagnostics(pickle, description_of),
        "insertedAt": pickle.inserted_at,
        "updatedAt": pickle.updated_at,
    }


def _of_latest_diagnostics(pickle: Pickle, field: Callable[[Diagnostics], str | None]) -> str | None:
    """Return a field of the latest diagnostics of the pickle."""
    return field(pickle.diagnostics[0]) if pickle.diagnostics else None


def run_object(run: Run) -> Object:
    """Return the type ComputePickleTrigger, its history oldest first."""
    return {
        "id": run.id,
        "computePickleUploadId": run.pickle_id,
        "roundId": run.round_id,
        "submissionId": run.submission_id,
        "type": run.type,
        "status": run.state,
        "failureCode": run.failure_code,
        "fallbackFor": run.fallback_model_id,
        "statuses": lambda info: [_status_object(status) for status in run.statuses],
        "insertedAt": run.inserted_at,
        "updatedAt": run.updated_at,
    }


def _status_object(status: RunStatus) -> Object:
    return {
        "id": status.id,
        "computePickleTriggerId": status.run_id,
        "status": status.status,
        "description": status.description,
        "code": status.code,
        "facts": status.facts,
        "insertedAt": status.inserted_at,
        "updatedAt": status.inserted_at,
    }


def _version_number(context: Context, pickle: Pickle) -> int:
    """Return the version number of the pickle among those of its model, or of the account if it has no model."""
    same = Pickle.model_id == pickle.model_id if pickle.model_id else Pickle.model_id.is_(None)
    return (
        context.session.scalar(
            select(func.count())
            .select_from(Pickle)
            .where(Pickle.account_id == pickle.account_id, same, Pickle.inserted_at <= pickle.inserted_at)
        )
        or 0
    )


@query.field("computePickleDockerImages")
def resolve_docker_images(_: Any, info: Info, deprecated: bool | None = False) -> list[Object]:
    """Return the runtimes."""
    context = context_of(info)
    home = context.settings.runtimes_home

    def packages(runtime: Runtime) -> list[str] | None:
        target = built_target(home, runtime)
        return None if target is None else [f"{name}=={version}" for name, version in sorted(target.packages.items())]

    def modules(runtime: Runtime) -> list[str] | None:
        target = built_target(home, runtime)
        return None if target is None or target.modules is None else sorted(target.modules)

    return [
        {
            "id": runtime.id,
            "name": runtime.name,
            "image": runtime.image,
            "tag": runtime.tag,
            "default": runtime.is_default,
            "deprecated": runtime.is_deprecated,
            "experimental": False,
            "insertedAt": runtime.inserted_at,
            "packages": lambda *_, runtime=runtime: packages(runtime),
            "modules": lambda *_, runtime=runtime: modules(runtime),
        }
        for runtime in list_runtimes(context.session, deprecated=bool(deprecated))
    ]


@query.field("computePickleDataVersions")
def resolve_data_versions(_: Any, info: Info, deprecated: bool | None = False) -> list[Object]:
    """Return the data versions."""
    return [
        {
            "id": version.id,
            "name": version.name,
            "version": version.name,
            "type": "classic",
            "default": version.is_default,
            "deprecated": version.is_deprecated,
            "experimental": False,
        }
        for version in list_data_versions(context_of(info).session, deprecated=bool(deprecated))
    ]


@query.field("computePickleUploadAuth")
def resolve_upload_auth(_: Any, info: Info, filename: str | None = "model.pkl", modelId: str | None = None) -> Object:
    """Return a unique filename and the URL to PUT the pickle to."""
    context = context_of(info)
    account = context.account(WRITE)
    return upload_auth(context, account, UploadKind.PICKLE, filename or "", modelId)


def upload_auth(context: Context, account: Account, kind: UploadKind, filename: str, model_id: str | None) -> Object:
    """Return the type FileUploadAuth for an upload."""
    auth = context.uploads.authorize(account, kind, filename, model_id, context.now)
    return {"filename": auth.filename, "url": auth.url, "accelerated": False}


def download_auth(context: Context, key: str, filename: str) -> Object:
    """Return the type FileUploadAuth for a download."""
    expires_at = context.now + timedelta(seconds=PRESIGNED_URL_SECONDS)
    url = context.storage.presign("GET", key, expires_at=expires_at, filename=filename)
    return {"filename": filename, "url": url, "accelerated": False}


@query.field("computePickleDownloadAuth")
def resolve_download_auth(_: Any, info: Info, modelId: str, pickleId: str | None = None) -> Object:
    """Return the URL of the file of a pickle, or of the one assigned to a model."""
    context = context_of(info)
    account = context.account("download_submission")
    model = get_model(context.session, account, modelId)
    if not pickleId and model.pickle_id is None:
        raise NotFoundError(f"Model {model.name} has no assigned pickle. Specify a pickleId.")
    pickle = get_pickle(context.session, account, pickleId or model.pickle_id or "")
    check_not_removed(pickle)
    return download_auth(context, pickle.storage_key, pickle.filename)


@query.field("computePickles")
def resolve_pickles(
    _: Any,
    info: Info,
    id: str | None = None,
    modelId: str | None = None,
    unassigned: bool | None = False,
) -> list[Object]:
    """Return the account's pickles, newest first: all, one, those of a model, or the unassigned ones."""
    context = context_of(info)
    account = context.account(*READ)
    pickles = select(Pickle).where(Pickle.account_id == account.id).order_by(Pickle.inserted_at.desc())
    if id:
        pickles = pickles.where(Pickle.id == id)
    if modelId:
        assigned = select(Model.pickle_id).where(
            Model.id == modelId, Model.account_id == account.id, Model.pickle_id.is_not(None)
        )
        pickles = pickles.where((Pickle.model_id == modelId) | Pickle.id.in_(assigned))
    if unassigned:
        pickles = pickles.where(Pickle.id.not_in(select(Model.pickle_id).where(Model.pickle_id.is_not(None))))
    return [pickle_object(context, pickle) for pickle in context.session.scalars(pickles)]


@query.field("triggerLogs")
def resolve_trigger_logs(_: Any, info: Info, triggerId: str) -> list[Object]:
    """Return the log lines of a run, in order."""
    context = context_of(info)
    return _logs(context, own_run(context, context.account(*READ), triggerId))


def own_run(context: Context, account: Account, run_id: str) -> Run:
    """Return the run of that id.

    Raises:
        NotFoundError: there is no such run of this account.
    """
    run = find_own_run(context, account, run_id)
    if run is None:
        raise NotFoundError(f"Run {run_id[:64]!r} not found.")
    return run


def find_own_run(context: Context, account: Account, run_id: str) -> Run | None:
    """Return the run of that id; None if the account has none. One query, so that timing reveals nothing."""
    own_run = select(Run).where(Run.id == run_id, Run.account_id == account.id, Run.pickle_id.is_not(None))
    return context.session.scalar(own_run)


def _logs(context: Context, run: Run) -> list[Object]:
    rows = context.session.scalars(select(RunLog).where(RunLog.run_id == run.id).order_by(RunLog.sequence)).all()
    lines = [{"timestamp": row.timestamp, "message": row.message} for row in rows]
    if run.log_dropped_bytes and rows:
        note = f"[predictd] {run.log_dropped_bytes} bytes of earlier output were truncated."
        lines.insert(0, {"timestamp": rows[0].timestamp, "message": note})
    return lines


@query.field("diagnosticsTriggerLogs")
def resolve_diagnostics_trigger_logs(_: Any, info: Info, pickleId: str) -> list[Object]:
    """Return the log lines of the latest diagnostics run of a pickle; empty if there is none."""
    context = context_of(info)
    pickle = get_pickle(context.session, context.account(*READ), pickleId)
    run = pickle.diagnostics[0].run if pickle.diagnostics else None
    return [] if run is None else _logs(context, run)


@mutation.field("createComputePickleUpload")
def resolve_create_pickle(
    _: Any,
    info: Info,
    filename: str,
    tournament: int,
    modelId: str | None = None,
    dataVersionId: str | None = None,
    dockerImageId: str | None = None,
    source: str | None = None,
) -> Object:
    """Register an uploaded pickle and start its validation."""
    context = context_of(info)
    account = context.account(WRITE)
    run = context.uploads.register(
        account,
        filename,
        context.now,
        tournament=tournament,
        model_id=modelId,
        runtime=dockerImageId,
        data_version=dataVersionId,
        source=source,
    )
    context.refresh()
    return pickle_object(context, context.load(Pickle, run.pickle_id or ""))


@mutation.field("assignPickleToModel")
def resolve_assign(_: Any, info: Info, modelId: str | None = None, pickleId: str | None = None) -> str:
    """Assign a validated pickle to a model; null unassigns its pickle."""
    context = context_of(info)
    account = context.account(WRITE)
    if not modelId:
        raise InvalidInputError("modelId is required.")
    if pickleId:
        context.uploads.assign(account, modelId, pickleId, context.now)
    else:
        context.uploads.unassign(account, modelId)
    context.refresh()
    return "true"


@mutation.field("triggerComputePickleUpload")
def resolve_trigger(
    _: Any,
    info: Info,
    modelId: str | None = None,
    pickleId: str | None = None,
    triggerValidation: bool | None = False,
) -> Object:
    """Run a pickle, or the one assigned to a model, now."""
    context = context_of(info)
    account = context.account(WRITE)
    run = context.uploads.run(
        account, context.now, pickle_id=pickleId, model_id=modelId, is_validation=bool(triggerValidation)
    )
    context.refresh()
    return pickle_object(context, context.load(Pickle, run.pickle_id or ""))


@mutation.field("cancelComputePickleTrigger")
def resolve_cancel(_: Any, info: Info, triggerId: str) -> Object:
    """Cancel a run, which is never retried; its log is retained."""
    context = context_of(info)
    account = context.account(WRITE)
    with context.write() as session:
        cancel_run(session, triggerId, context.now, account)
    return run_object(context.load(Run, triggerId))


@mutation.field("updatePickleLabel")
def resolve_update_label(_: Any, info: Info, pickleId: str, label: str | None = None) -> Object:
    """Set the label of a pickle; null removes it."""
    context = context_of(info)
    account = context.account(WRITE)
    with context.write() as session:
        set_label(get_pickle(session, account, pickleId), label)
    return pickle_object(context, context.load(Pickle, pickleId))
