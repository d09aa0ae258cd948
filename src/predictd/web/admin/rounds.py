"""Rounds: how their runs and scores are, and opening, closing, scoring and resolving by hand."""

from pathlib import Path

import sqlalchemy as sa
from starlette.responses import Response
from starlette.routing import Route

from predictd.api.app import Services
from predictd.db.models import Round, Submission
from predictd.db.queue_stats import count_of_round
from predictd.db.rounds import current_round, find_round, list_rounds, status_of
from predictd.domain.errors import ConflictError, InvalidInputError, NotFoundError
from predictd.domain.names import CLASSIC
from predictd.rounds.calendar import parse_length, scoring_times
from predictd.rounds.lifecycle import close_by_hand, open_by_hand
from predictd.rounds.manual_scoring import score_by_hand
from predictd.rounds.scoring import Scorer
from predictd.rounds.targets import read_targets
from predictd.scoring.evaluation_data import TARGET
from predictd.scoring.live import Targets
from predictd.web.admin.permissions import admin_file_form, admin_form, admin_page, check_confirmed
from predictd.web.visits import Visit

MOST_ROUNDS = 50


def round_routes(services: Services) -> list[Route]:
    """The routes of these pages."""
    return [
        admin_page(services, "/admin/rounds", show_rounds),
        admin_form(services, "/admin/rounds/open", open_now, show_rounds),
        admin_form(services, "/admin/rounds/close", close_now, show_rounds),
        admin_page(services, "/admin/rounds/{number}", show_round),
        admin_form(services, "/admin/rounds/{number}/resolve", resolve, show_round),
        admin_file_form(services, "/admin/rounds/{number}/score", score, show_round),
    ]


def show_rounds(visit: Visit) -> Response:
    """The newest of them, and the forms to open and to close one."""
    rounds = list_rounds(visit.session, CLASSIC, MOST_ROUNDS)
    counts = count_of_round(visit.session, [one.id for one in rounds])
    submitted = visit.session.execute(
        sa.select(Submission.round_id, sa.func.count())
        .where(Submission.round_id.in_([one.id for one in rounds]), Submission.selected)
        .group_by(Submission.round_id)
    )
    return visit.page(
        "admin/rounds.html",
        rows=[(one, status_of(one, visit.now)) for one in rounds],
        counts=counts,
        submitted={row[0]: row[1] for row in submitted},
        days={one.id: len(scoring_times(one.score_time, one.resolve_time)) for one in rounds},
        current=current_round(visit.session, CLASSIC, visit.now),
        calendar=visit.services.settings.calendar,
        length=visit.form.get("length", "1h"),
    )


def open_now(visit: Visit) -> Response:
    """Open the next round; one that is open is closed for it."""
    check_confirmed(visit)
    services = visit.services
    length = parse_length(visit.form.get("length", ""))
    opened = open_by_hand(services.database, services.storage, visit.now, length)
    services.wake()
    return visit.go(f"/admin/rounds/{opened.round.number}", "round-opened")


def close_now(visit: Visit) -> Response:
    """Close the open round."""
    check_confirmed(visit)
    closed = close_by_hand(visit.services.database, visit.now)
    return visit.go(f"/admin/rounds/{closed.number}", "round-closed")


def show_round(visit: Visit) -> Response:
    """One of them: its runs, its scores, and the forms to give it some."""
    round_ = _find(visit)
    count = visit.session.scalar(
        sa.select(sa.func.count()).where(Submission.round_id == round_.id, Submission.selected)
    )
    times = scoring_times(round_.score_time, round_.resolve_time)
    status = status_of(round_, visit.now)
    is_closed = status in ("RESOLVING", "RESOLVED")
    scorer = visit.services.scorer
    return visit.page(
        "admin/round.html",
        round=round_,
        status=status,
        counts=count_of_round(visit.session, [round_.id])[round_.id],
        submitted=count or 0,
        days=len(times),
        due=sum(at <= visit.now for at in times),
        is_closed=is_closed,
        is_known=is_closed and scorer is not None and scorer.known_targets(round_) is not None,
        column=visit.form.get("column", TARGET),
        most_mb=visit.services.settings.max_submission_mb,
    )


def resolve(visit: Visit) -> Response:
    """Give it its final scores by the targets that are known already."""
    check_confirmed(visit)
    again = visit.form.get("again") == "yes"
    number = _find(visit).number
    score_by_hand(_scorer(visit), number, None, visit.now, final=True, again=again)
    return visit.go(f"/admin/rounds/{number}", "round-resolved")


def score(visit: Visit, file: Path, filename: str) -> Response:
    """Give it scores by targets in a file: those of a day, or its final ones."""
    check_confirmed(visit)
    number = _find(visit).number
    final, again = visit.form.get("kind") == "final", visit.form.get("again") == "yes"
    score_by_hand(_scorer(visit), number, _targets(visit, file, filename), visit.now, final=final, again=again)
    return visit.go(f"/admin/rounds/{number}", "round-resolved" if final else "round-scored")


def _find(visit: Visit) -> Round:
    round_ = find_round(visit.session, CLASSIC, visit.number("number"))
    if round_ is None:
        raise NotFoundError(f"Round {visit.part('number')} not found.")
    return round_


def _scorer(visit: Visit) -> Scorer:
    if visit.services.scorer is None:
        raise ConflictError("This server does not score rounds. Run: predictd round resolve")
    return visit.services.scorer


def _targets(visit: Visit, file: Path, filename: str) -> Targets:
    """The targets of the file that was sent."""
    ending = Path(filename).suffix.lower()
    if ending not in (".csv", ".parquet"):
        raise InvalidInputError("The targets file must be a .csv or .parquet file. Choose another file.")
    # What kind of file it is, is told by its name.
    path = file.rename(file.with_name(f"targets{ending}"))
    return read_targets(path, visit.form.get("column", "").strip() or TARGET)
