"""Admin pages of rounds: status, and opening, closing, scoring, and resolving them manually."""

from pathlib import Path

import sqlalchemy as sa
from starlette.responses import Response
from starlette.routing import Route

from predictd.db.models import Round, Submission
from predictd.db.queue_stats import count_runs_by_state
from predictd.db.rounds import current_round, find_round, list_rounds, status_of
from predictd.domain.errors import ConflictError, InvalidInputError, NotFoundError
from predictd.domain.limits import MAX_SUBMISSION_BYTES, MIB
from predictd.domain.names import CLASSIC
from predictd.http.services import Services
from predictd.rounds.calendar import parse_length, scoring_times
from predictd.rounds.lifecycle import close_by_hand, open_by_hand
from predictd.rounds.manual_scoring import score_by_hand
from predictd.rounds.scorer import Scorer
from predictd.rounds.targets import read_targets
from predictd.scoring.evaluation_data import TARGET
from predictd.scoring.live_scoring import Targets
from predictd.web.admin.permissions import admin_file_form, admin_form, admin_page, check_confirmed
from predictd.web.request import PageRequest

MAX_ROUNDS = 50


def round_routes(services: Services) -> list[Route]:
    """Return the routes of these pages."""
    return [
        admin_page(services, "/admin/rounds", show_rounds),
        admin_form(services, "/admin/rounds/open", open_round, show_rounds),
        admin_form(services, "/admin/rounds/close", close_round, show_rounds),
        admin_page(services, "/admin/rounds/{number}", show_round),
        admin_form(services, "/admin/rounds/{number}/resolve", resolve_round, show_round),
        admin_file_form(services, "/admin/rounds/{number}/score", score_round, show_round),
    ]


def show_rounds(request: PageRequest) -> Response:
    """Show the recent rounds and the forms to open and close a round."""
    rounds = list_rounds(request.session, CLASSIC, MAX_ROUNDS)
    round_ids = [round_.id for round_ in rounds]
    counts = count_runs_by_state(request.session, round_ids)
    submissions = request.session.execute(
        sa.select(Submission.round_id, sa.func.count())
        .where(Submission.round_id.in_(round_ids), Submission.selected)
        .group_by(Submission.round_id)
    )
    return request.render(
        "admin/rounds.html",
        rows=[(round_, status_of(round_, request.now)) for round_ in rounds],
        counts=counts,
        submissions={row[0]: row[1] for row in submissions},
        days={round_.id: len(scoring_times(round_.score_time, round_.resolve_time)) for round_ in rounds},
        current=current_round(request.session, CLASSIC, request.now),
        calendar=request.services.settings.calendar,
        length=request.form.get("length", "1h"),
    )


def open_round(request: PageRequest) -> Response:
    """Open the next round, which closes an open one."""
    check_confirmed(request)
    services = request.services
    length = parse_length(request.form.get("length", ""))
    opened = open_by_hand(services.database, services.storage, request.now, length)
    services.wake()
    return request.redirect(f"/admin/rounds/{opened.round.number}", "round-opened")


def close_round(request: PageRequest) -> Response:
    """Close the open round."""
    check_confirmed(request)
    closed = close_by_hand(request.services.database, request.now)
    return request.redirect(f"/admin/rounds/{closed.number}", "round-closed")


def show_round(request: PageRequest) -> Response:
    """Show a round: its runs, its scores, and the forms to score it."""
    round_ = _find(request)
    count = request.session.scalar(
        sa.select(sa.func.count()).where(Submission.round_id == round_.id, Submission.selected)
    )
    times = scoring_times(round_.score_time, round_.resolve_time)
    status = status_of(round_, request.now)
    is_closed = status in ("RESOLVING", "RESOLVED")
    scorer = request.services.scorer
    return request.render(
        "admin/round.html",
        round=round_,
        status=status,
        counts=count_runs_by_state(request.session, [round_.id])[round_.id],
        submissions=count or 0,
        days=len(times),
        due_days=sum(time <= request.now for time in times),
        is_closed=is_closed,
        has_stored_targets=is_closed and scorer is not None and scorer.load_targets(round_) is not None,
        column=request.form.get("column", TARGET),
        max_mb=MAX_SUBMISSION_BYTES // MIB,
    )


def resolve_round(request: PageRequest) -> Response:
    """Resolve the round with the targets that are stored."""
    check_confirmed(request)
    again = request.form.get("again") == "yes"
    number = _find(request).number
    score_by_hand(_scorer(request), number, None, request.now, final=True, again=again)
    return request.redirect(f"/admin/rounds/{number}", "round-resolved")


def score_round(request: PageRequest, file: Path, filename: str) -> Response:
    """Score or resolve the round with the targets of a file."""
    check_confirmed(request)
    number = _find(request).number
    final, again = request.form.get("kind") == "final", request.form.get("again") == "yes"
    score_by_hand(_scorer(request), number, _targets(request, file, filename), request.now, final=final, again=again)
    return request.redirect(f"/admin/rounds/{number}", "round-resolved" if final else "round-scored")


def _find(request: PageRequest) -> Round:
    round_ = find_round(request.session, CLASSIC, request.int_path_param("number"))
    if round_ is None:
        raise NotFoundError(f"Round {request.path_param('number')} not found.")
    return round_


def _scorer(request: PageRequest) -> Scorer:
    if request.services.scorer is None:
        raise ConflictError("This server does not score rounds. Run: predictd round resolve")
    return request.services.scorer


def _targets(request: PageRequest, file: Path, filename: str) -> Targets:
    """Read the targets of the uploaded file."""
    suffix = Path(filename).suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise InvalidInputError("The targets file must be a .csv or .parquet file. Choose another file.")
    # The name of the file determines its format.
    path = file.rename(file.with_name(f"targets{suffix}"))
    return read_targets(path, request.form.get("column", "").strip() or TARGET)
