"""A run: how far it is, why it failed, what it took, what it printed, what it predicted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlalchemy.orm import joinedload
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from predictd.api.app import Services
from predictd.db.models import Diagnostics, Model, Pickle, Submission, Trigger, TriggerLog
from predictd.domain.errors import ConflictError, NotFoundError, PredictdError
from predictd.domain.limits import Limits
from predictd.domain.names import CLASSIC
from predictd.domain.reasons import NO_OPEN_ROUND
from predictd.domain.states import TriggerState, TriggerType
from predictd.domain.terminal import printable
from predictd.reports.histogram import histogram
from predictd.scoring.prediction_files import read_submission_columns
from predictd.uploads.assignment import trigger_now
from predictd.uploads.cancellation import CANCELLED, cancel_run
from predictd.uploads.quotas import check_queue
from predictd.web.downloads import download
from predictd.web.events import cursor_of
from predictd.web.headers import secured
from predictd.web.records import record_facts
from predictd.web.visits import Visit, download_route, form_route, page_route
from predictd.worker.live_run import predictions_key

SHOWN_LINES = 1000
MOST_ROWS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Use:
    """A share of a limit, for a meter."""

    name: str
    used: float
    limit: float
    told: str


def run_routes(services: Services) -> list[Route]:
    """The routes of these pages."""
    return [
        page_route(services, "/runs/{id}", show_run),
        download_route(services, "/runs/{id}/log", download_log),
        download_route(services, "/runs/{id}/predictions", download_predictions),
        form_route(services, "/runs/{id}/rerun", rerun, show_run),
        form_route(services, "/runs/{id}/cancel", cancel, show_run),
    ]


def find_run(visit: Visit) -> Trigger:
    """The account's run of the path; another account's answers as an unknown one."""
    # One query, so that the time does not tell whether another account has it.
    mine = sa.or_(Pickle.account_id == visit.account.id, Diagnostics.account_id == visit.account.id)
    found = sa.select(Trigger).where(Trigger.id == visit.part("id"), mine)
    found = found.outerjoin(Pickle, Pickle.id == Trigger.pickle_id)
    found = found.outerjoin(Diagnostics, Diagnostics.id == Trigger.diagnostics_id)
    run = visit.session.scalar(found.options(joinedload(Trigger.round), joinedload(Trigger.pickle)))
    if run is None:
        raise NotFoundError("Run not found.")
    return run


def show_run(visit: Visit) -> Response:
    """The whole page."""
    run = find_run(visit)
    cursor = cursor_of(visit.session, run.id)
    reason = run.statuses[-1].reason
    failure = reason.failure
    is_cancelled = run.failure_code == CANCELLED
    lines, count = _lines(visit, run)
    diagnostics = visit.session.get(Diagnostics, run.diagnostics_id) if run.diagnostics_id else None
    return visit.page(
        "run.html",
        run=run,
        diagnostics=diagnostics,
        fallback_for=visit.session.get(Model, run.fallback_for) if run.fallback_for else None,
        models=_models(visit, run),
        failure=failure.sentence if failure else reason.message if run.state == TriggerState.FAILED else "",
        remedy=failure.remedy if failure else "",
        is_cancelled=is_cancelled,
        fallbacks=_fallbacks(visit, run) if run.state == TriggerState.FAILED else (),
        # To cancel it raised the attempt once more.
        attempts=run.attempt - is_cancelled,
        is_known=failure is not None,
        # The page shows beside it what the run used of its limits.
        message=replace(reason, notes=tuple(note for note in reason.notes if note.code != "used")).describe(),
        without_round=reason.code == NO_OPEN_ROUND,
        uses=_uses(visit, run),
        lines=lines,
        line_count=count,
        wanted=visit.asked("q"),
        predictions=_histogram(visit, run),
        submissions=_submissions(visit, run),
        record=record_facts(visit.session, run.id),
        cursor=cursor,
        is_final=TriggerState(run.state).is_final,
    )


def download_log(visit: Visit) -> Response:
    """All lines that are kept, harmless in a terminal too."""
    run = find_run(visit)
    lines = visit.session.scalars(
        sa.select(TriggerLog.message).where(TriggerLog.trigger_id == run.id).order_by(TriggerLog.sequence)
    )
    response = PlainTextResponse("".join(f"{printable(line)}\n" for line in lines))
    response.headers["Content-Disposition"] = f'attachment; filename="run-{run.id[:8]}.log"'
    return secured(response)


def download_predictions(visit: Visit) -> Response:
    """The file of predictions."""
    run = find_run(visit)
    key = predictions_key(run.id, run.attempt)
    if visit.services.storage.stat(key) is None:
        raise NotFoundError("The run has no predictions.")
    return download(visit, key, f"predictions-{run.id[:8]}.csv")


def rerun(visit: Visit) -> Response:
    """The same pickle once more; on to the new run."""
    run = find_run(visit)
    if run.pickle_id is None or run.type == TriggerType.DIAGNOSTICS:
        raise ConflictError("Diagnostics can't be run again alone. Validate the pickle again instead.")
    with visit.write() as session:
        pickle = session.get_one(Pickle, run.pickle_id)
        is_validation = run.type == TriggerType.VALIDATION
        check_queue(session, visit.services.storage, visit.account, visit.services.settings.quotas)
        again = trigger_now(session, pickle, visit.now, validation=is_validation, tournament=CLASSIC)
    visit.services.wake()
    return visit.go(f"/runs/{again.id}")


def cancel(visit: Visit) -> Response:
    """End it; its page then says by whom."""
    run = find_run(visit)
    with visit.write() as session:
        cancel_run(session, run.id, visit.now, visit.account)
    return visit.go(f"/runs/{run.id}", "canceled")


def _models(visit: Visit, run: Trigger) -> Sequence[Model]:
    """Those that the pickle is assigned to, else the one that it was uploaded for; of a fallback the one it is for."""
    if run.pickle is None:
        return ()
    if run.fallback_for is not None:
        return visit.session.scalars(sa.select(Model).where(Model.id == run.fallback_for)).all()
    uploaded_for = visit.session.get(Model, run.pickle.model_id) if run.pickle.model_id else None
    return run.pickle.assigned_models or ([uploaded_for] if uploaded_for is not None else [])


def _fallbacks(visit: Visit, run: Trigger) -> Sequence[tuple[Trigger, Model]]:
    """What runs in its round for its models, because it failed."""
    if run.round_id is None or run.fallback_for is not None:
        return ()
    found = visit.session.execute(
        sa.select(Trigger, Model)
        .join(Model, Model.id == Trigger.fallback_for)
        .where(Trigger.round_id == run.round_id, Model.id.in_([model.id for model in _models(visit, run)]))
        .order_by(Model.name_key)
        .options(joinedload(Trigger.pickle))
    )
    return [(row[0], row[1]) for row in found]


def _submissions(visit: Visit, run: Trigger) -> Sequence[tuple[Submission, Model]]:
    found = visit.session.execute(
        sa.select(Submission, Model)
        .join(Model, Model.id == Submission.model_id)
        .where(Submission.trigger_id == run.id)
        .order_by(Model.name_key)
    )
    return [(row[0], row[1]) for row in found]


def _lines(visit: Visit, run: Trigger) -> tuple[list[TriggerLog], int]:
    """The newest lines, oldest first, of those that hold what is asked for; and how many there are of these."""
    query = sa.select(TriggerLog).where(TriggerLog.trigger_id == run.id)
    if wanted := visit.asked("q"):
        query = query.where(TriggerLog.message.icontains(wanted, autoescape=True))
    count = visit.session.scalar(sa.select(sa.func.count()).select_from(query.subquery())) or 0
    newest = visit.session.scalars(query.order_by(TriggerLog.sequence.desc()).limit(SHOWN_LINES)).all()
    return list(reversed(newest)), count


def _uses(visit: Visit, run: Trigger) -> list[Use]:
    settings = visit.services.settings
    limits: Limits = settings.diagnostics_limits if run.type == TriggerType.DIAGNOSTICS else settings.limits
    uses = []
    if run.used_seconds is not None:
        told = f"{run.used_seconds:.2f} of {limits.seconds:g} s"
        uses.append(Use(name="Time", used=run.used_seconds, limit=limits.seconds, told=told))
    if run.peak_memory_bytes is not None:
        used, most = run.peak_memory_bytes >> 20, limits.memory_bytes >> 20
        uses.append(Use(name="Memory", used=used, limit=most, told=f"{used} of {most} MiB"))
    return uses


def _histogram(visit: Visit, run: Trigger) -> str:
    """The predictions of the run as a chart; empty where there are none."""
    key = predictions_key(run.id, run.attempt)
    if run.type == TriggerType.DIAGNOSTICS or visit.services.storage.stat(key) is None:
        return ""
    try:
        with visit.services.storage.local_path(key) as path:
            return histogram(read_submission_columns(path, MOST_ROWS)[1])
    except PredictdError:
        return ""
