"""Opening and closing rounds, by the calendar or manually."""

import tempfile
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from predictd import prometheus
from predictd.data import publish_live, read_ids
from predictd.data.layout import round_key, targets_key, version_key
from predictd.data.schema import LIVE_FILE, LIVE_FILES
from predictd.data.synthetic import PRIVATE_FILE
from predictd.db import Database
from predictd.db.catalog import list_published_versions
from predictd.db.models import Model, Round, Submission
from predictd.db.rounds import current_round, next_number
from predictd.domain.errors import ConflictError, OutageError, PlatformError, PredictdError
from predictd.domain.limits import max_rows
from predictd.domain.names import CLASSIC
from predictd.notifications.outbox import notify_round
from predictd.rounds.calendar import Calendar, Window, window
from predictd.scoring import check_submission, read_submission_file
from predictd.storage import Storage
from predictd.uploads.assignment import queue_round_runs
from predictd.uploads.submissions import StoredPredictions, accept

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class OpenedRound:
    """A newly opened round, the round closed for it, and the number of queued runs."""

    round: Round
    closed: Round | None
    queued: int


def open_by_hand(database: Database, storage: Storage, now: datetime, length: timedelta) -> OpenedRound:
    """Open the next round now, closing the one that is open.

    Raises:
        PlatformError: other servers opened rounds at the same time.
    """
    for _ in range(5):
        opened = _open(database, storage, window(now, length), None, now)
        if opened is not None:
            return opened
    raise PlatformError(
        "The round could not be opened because other servers opened rounds at the same time; try again."
    )


def close_by_hand(database: Database, now: datetime) -> Round:
    """Close the open round now.

    Raises:
        ConflictError: no round is open.
    """
    with database.write() as session:
        round_ = current_round(session, CLASSIC, now)
        if round_ is None:
            raise ConflictError("No round is open; open one with: predictd round open")
        _close(round_, now)
        return round_


def apply_calendar(database: Database, storage: Storage, calendar: Calendar, now: datetime) -> OpenedRound | None:
    """Close rounds that are over, and open the round of the current calendar window.

    A window opens one round, however many servers there are; a round closed manually stays closed, and a round opened
    manually stays open until its end.
    """
    with database.read() as session:
        over = session.scalar(sa.select(Round.id).where(Round.is_closed.is_(False), Round.close_time <= now).limit(1))
    if over is not None:
        with database.write() as session:
            session.execute(
                sa.update(Round).where(Round.is_closed.is_(False), Round.close_time <= now).values(is_closed=True)
            )
    due = calendar.window_at(now)
    if due is None:
        return None
    with database.read() as session:
        was_opened = session.scalar(
            sa.select(Round.id).where(Round.tournament == CLASSIC, Round.scheduled_at == due.opens)
        )
        if was_opened is not None or current_round(session, CLASSIC, now) is not None:
            return None
    return _open(database, storage, due, due.opens, now)


def publish(storage: Storage, version: str, number: int) -> None:
    """Store the live files of a round of a data version; idempotent.

    Raises:
        PlatformError: files of the data version are missing.
    """
    if storage.stat(round_key(version, number, "live.parquet")) is not None:
        return
    with tempfile.TemporaryDirectory(prefix="predictd-round-") as name:
        folder = Path(name)
        with storage.local_folder(version_key(version), [*LIVE_FILES, PRIVATE_FILE]) as source:
            publish_live(source, number, folder / "live", folder / "targets.parquet")
        targets = folder / "targets.parquet"
        if targets.exists():
            storage.put_file(targets_key(version, number), targets)
        # The live features mark the round as published, so they are stored last.
        for filename in sorted(LIVE_FILES, key=lambda filename: filename == LIVE_FILE):
            path = folder / "live" / filename
            if path.exists():
                storage.put_file(round_key(version, number, filename), path)


def _open(
    database: Database, storage: Storage, times: Window, scheduled_at: datetime | None, now: datetime
) -> OpenedRound | None:
    """Publish the live data, then open the round, queue its runs and close the previous round in one transaction.

    Returns:
        None when another server was first.
    """
    with database.read() as session:
        number = next_number(session, CLASSIC)
        versions = [version.name for version in list_published_versions(session)]
    for version in versions:
        publish(storage, version, number)
    try:
        with database.write() as session:
            closed = current_round(session, CLASSIC, now)
            if closed is not None:
                _close(closed, now)
            round_ = Round(
                tournament=CLASSIC,
                number=number,
                scheduled_at=scheduled_at,
                open_time=times.opens,
                close_time=times.closes,
                score_time=times.scores,
                resolve_time=times.resolves,
            )
            session.add(round_)
            session.flush()
            notify_round(session, round_, now)
            queued = queue_round_runs(session, round_, now)
            if versions:
                _take_queued(session, storage, round_, versions, now)
    except IntegrityError:
        return None
    prometheus.ROUNDS_OPENED.inc()
    log.info("round_opened", number=number, queued=queued, closes=times.closes.isoformat())
    return OpenedRound(round=round_, closed=closed, queued=queued)


def _close(round_: Round, now: datetime) -> None:
    round_.close_time = now
    round_.is_closed = True


def _take_queued(session: Session, storage: Storage, round_: Round, versions: list[str], now: datetime) -> None:
    """Accept queued late submissions of models without a pickle for this round, if their ids match."""
    queued = session.execute(
        sa.select(Submission, Model).join(Model, Model.id == Submission.model_id).where(Submission.is_queued)
    ).all()
    live_ids = [_live_ids(storage, round_key(version, round_.number, "live.parquet")) for version in versions]
    for submission, model in queued:
        submission.is_queued = False
        if model.pickle_id is not None:
            submission.notes = f"Arrived late; round {round_.number} was run by the assigned pickle instead."
            continue
        try:
            with storage.local_path(submission.storage_key) as path:
                predictions = read_submission_file(path, max_rows=max_rows(max(map(len, live_ids))))
        except OutageError:
            raise
        except PredictdError as error:
            # A lost file must not prevent the round from opening.
            log.error("queued_submission_lost", submission=submission.id, error=error.message)
            submission.notes = "Arrived late; its file can't be read any more, so it counts for no round."
            continue
        if all(check_submission(predictions, ids) is not None for ids in live_ids):
            submission.notes = (
                f"Arrived late; its ids are not those of round {round_.number}, so it counts for no round."
            )
            continue
        stored = StoredPredictions(
            key=submission.storage_key, filename=submission.filename, row_count=submission.row_count
        )
        accept(session, model, round_, stored, now=now, source=submission.source)
        submission.notes = f"Arrived late; it was submitted to round {round_.number}."


def _live_ids(storage: Storage, key: str) -> list[str]:
    with storage.local_path(key) as live:
        return read_ids(live)
