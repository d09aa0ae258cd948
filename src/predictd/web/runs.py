"""The page of a run: status, failure, resources, log, predictions, and record."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import joinedload
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from predictd.db.models import Diagnostics, Model, Run, RunLog, Submission
from predictd.domain.errors import ConflictError, NotFoundError, PredictdError
from predictd.domain.limits import MIB, PRESIGNED_URL_SECONDS, Limits
from predictd.domain.reasons import NO_OPEN_ROUND
from predictd.domain.run_records import RunRecord
from predictd.domain.states import RunState, RunType
from predictd.domain.terminal import printable
from predictd.http.services import Services
from predictd.reports.histogram import histogram
from predictd.scoring.prediction_files import read_submission_columns
from predictd.uploads.cancellation import CANCELLED, cancel_run
from predictd.web.dispatch import download_route, page_route
from predictd.web.forms import form_route
from predictd.web.request import PageRequest
from predictd.web.responses import attachment, secured
from predictd.web.server_sent_events import cursor_of
from predictd.worker.live_run import predictions_key
from predictd.worker.provenance import list_records

MAX_LINES = 1000
MAX_ROWS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class ResourceUse:
    """The use of a resource and its limit, for a meter."""

    name: str
    used: float
    limit: float
    text: str


def run_routes(services: Services) -> list[Route]:
    """Return the routes of these pages."""
    return [
        page_route(services, "/runs/{id}", show_run),
        download_route(services, "/runs/{id}/log", download_log),
        download_route(services, "/runs/{id}/predictions", download_predictions),
        form_route(services, "/runs/{id}/rerun", run_again, show_run),
        form_route(services, "/runs/{id}/cancel", cancel, show_run),
    ]


def find_run(request: PageRequest) -> Run:
    """Return the run of the path.

    Raises:
        NotFoundError: there is no such run of this account.
    """
    own_run = sa.select(Run).where(Run.id == request.path_param("id"), Run.account_id == request.account.id)
    run = request.session.scalar(own_run.options(joinedload(Run.round), joinedload(Run.pickle)))
    if run is None:
        raise NotFoundError("Run not found.")
    return run


def show_run(request: PageRequest) -> Response:
    """Show the run."""
    run = find_run(request)
    cursor = cursor_of(request.session, run.id)
    reason = run.statuses[-1].reason
    failure = reason.failure
    is_cancelled = run.failure_code == CANCELLED
    lines, count = _lines(request, run)
    diagnostics = request.session.get(Diagnostics, run.diagnostics_id) if run.diagnostics_id else None
    return request.render(
        "run.html",
        run=run,
        diagnostics=diagnostics,
        fallback_for=request.session.get(Model, run.fallback_model_id) if run.fallback_model_id else None,
        models=_models(request, run),
        failure=failure.sentence if failure else reason.message if run.state == RunState.FAILED else "",
        remedy=failure.remedy if failure else "",
        is_cancelled=is_cancelled,
        fallbacks=_fallbacks(request, run) if run.state == RunState.FAILED else (),
        # To cancel it raised the attempt once more.
        attempts=run.attempt - is_cancelled,
        is_known=failure is not None,
        # The resources are shown next to it.
        status_text=replace(reason, notes=tuple(note for note in reason.notes if note.code != "used")).describe(),
        without_round=reason.code == NO_OPEN_ROUND,
        resources=_resources(request, run),
        lines=lines,
        line_count=count,
        search=request.query_param("q"),
        predictions=_histogram(request, run),
        submissions=_submissions(request, run),
        record=_record(request, run),
        cursor=cursor,
        is_final=RunState(run.state).is_final,
    )


def download_log(request: PageRequest) -> Response:
    """Return the stored log lines, without terminal control characters."""
    run = find_run(request)
    lines = request.session.scalars(sa.select(RunLog.message).where(RunLog.run_id == run.id).order_by(RunLog.sequence))
    text = "".join(f"{printable(line)}\n" for line in lines)
    return attachment(PlainTextResponse(text), f"run-{run.id[:8]}.log")


def download_predictions(request: PageRequest) -> Response:
    """Redirect to the file of predictions."""
    run = find_run(request)
    key = predictions_key(run.id, run.attempt)
    if request.services.storage.stat(key) is None:
        raise NotFoundError("The run has no predictions.")
    expires_at = request.now + timedelta(seconds=PRESIGNED_URL_SECONDS)
    filename = f"predictions-{run.id[:8]}.csv"
    return secured(RedirectResponse(request.storage.presign("GET", key, expires_at=expires_at, filename=filename), 303))


def run_again(request: PageRequest) -> Response:
    """Run the pickle again and redirect to the new run."""
    run = find_run(request)
    if run.pickle_id is None or run.type == RunType.DIAGNOSTICS:
        raise ConflictError("Diagnostics can't be run again alone. Validate the pickle again instead.")
    is_validation = run.type == RunType.VALIDATION
    new_run = request.uploads.run(request.account, request.now, pickle_id=run.pickle_id, is_validation=is_validation)
    return request.redirect(f"/runs/{new_run.id}")


def cancel(request: PageRequest) -> Response:
    """Cancel the run."""
    run = find_run(request)
    with request.write() as session:
        cancel_run(session, run.id, request.now, request.account)
    return request.redirect(f"/runs/{run.id}", "canceled")


def _models(request: PageRequest, run: Run) -> Sequence[Model]:
    """Return the models of the run: those of its pickle, or the model that a fallback runs for."""
    if run.pickle is None:
        return ()
    if run.fallback_model_id is not None:
        return request.session.scalars(sa.select(Model).where(Model.id == run.fallback_model_id)).all()
    uploaded_for = request.session.get(Model, run.pickle.model_id) if run.pickle.model_id else None
    return run.pickle.assigned_models or ([uploaded_for] if uploaded_for is not None else [])


def _fallbacks(request: PageRequest, run: Run) -> Sequence[tuple[Run, Model]]:
    """Return the fallback runs for the models of a failed run."""
    if run.round_id is None or run.fallback_model_id is not None:
        return ()
    rows = request.session.execute(
        sa.select(Run, Model)
        .join(Model, Model.id == Run.fallback_model_id)
        .where(Run.round_id == run.round_id, Model.id.in_([model.id for model in _models(request, run)]))
        .order_by(Model.name_key)
        .options(joinedload(Run.pickle))
    )
    return [(row[0], row[1]) for row in rows]


def _submissions(request: PageRequest, run: Run) -> Sequence[tuple[Submission, Model]]:
    rows = request.session.execute(
        sa.select(Submission, Model)
        .join(Model, Model.id == Submission.model_id)
        .where(Submission.run_id == run.id)
        .order_by(Model.name_key)
    )
    return [(row[0], row[1]) for row in rows]


def _lines(request: PageRequest, run: Run) -> tuple[list[RunLog], int]:
    """Return the latest log lines that match the search, oldest first, and the number of all matches."""
    query = sa.select(RunLog).where(RunLog.run_id == run.id)
    if search := request.query_param("q"):
        query = query.where(RunLog.message.icontains(search, autoescape=True))
    count = request.session.scalar(sa.select(sa.func.count()).select_from(query.subquery())) or 0
    latest = request.session.scalars(query.order_by(RunLog.sequence.desc()).limit(MAX_LINES)).all()
    return list(reversed(latest)), count


def _resources(request: PageRequest, run: Run) -> list[ResourceUse]:
    settings = request.services.settings
    limits: Limits = settings.diagnostics_limits if run.type == RunType.DIAGNOSTICS else settings.limits
    resources = []
    if run.used_seconds is not None:
        text = f"{run.used_seconds:.2f} of {limits.seconds:g} s"
        resources.append(ResourceUse(name="Time", used=run.used_seconds, limit=limits.seconds, text=text))
    if run.peak_memory_bytes is not None:
        used, limit = run.peak_memory_bytes >> 20, limits.memory_bytes >> 20
        resources.append(ResourceUse(name="Memory", used=used, limit=limit, text=f"{used} of {limit} MiB"))
    return resources


def _histogram(request: PageRequest, run: Run) -> str:
    """Return the histogram of the predictions as SVG; empty if there are none."""
    key = predictions_key(run.id, run.attempt)
    if run.type == RunType.DIAGNOSTICS or request.services.storage.stat(key) is None:
        return ""
    try:
        with request.services.storage.local_path(key) as path:
            return histogram(read_submission_columns(path, MAX_ROWS)[1])
    except PredictdError:
        return ""


def _record(request: PageRequest, run: Run) -> list[tuple[str, str]]:
    """Return the names and values of the record of the latest attempt that ended; empty if none has ended."""
    rows = list_records(request.session, run.id)
    if not rows:
        return []
    record = RunRecord.of(rows[0].facts)
    runtime, limits, machine = record.runtime, record.limits, record.machine
    objects = {
        "Pickle": record.pickle,
        "Features": record.features,
        "Benchmark models": record.benchmarks,
        "Predictions": record.output,
    }
    memory = f"{limits.memory_bytes // MIB} MiB"
    return [
        *((name, stored.sha256) for name, stored in objects.items() if stored is not None),
        ("Runtime", f"{runtime.image}:{runtime.tag}"),
        *([("Lock file", runtime.lock_sha256)] if runtime.lock_sha256 else []),
        ("predictd", f"{record.code.version}, source {record.code.source_sha256}"),
        ("Limits", f"{limits.seconds:g} s, {memory}, {limits.cpus:g} CPU, {record.sandbox.value}"),
        ("Seeds", f"random and numpy.random {record.seed}, hashes {record.hash_seed}"),
        *([("Machine", f"{machine.processor}, {machine.architecture}, {machine.libc}")] if machine else []),
    ]
