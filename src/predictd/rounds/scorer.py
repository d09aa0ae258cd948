"""The scores of a round: daily ones, and the final ones that resolve it."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from predictd import prometheus
from predictd.data.generator import interim_targets
from predictd.data.layout import meta_model_key, round_key, targets_key, version_key
from predictd.data.mapped_cache import MappedCache
from predictd.data.schema import FEATURES_FILE, LIVE_BENCHMARKS_FILE, LIVE_FILE
from predictd.db import Database
from predictd.db.models import DataVersion, Round, Submission
from predictd.db.score_tables import Score
from predictd.db.scores import list_selected_submissions, record_reputations
from predictd.domain.failures import ModelFailure
from predictd.domain.limits import max_rows
from predictd.domain.names import CLASSIC
from predictd.domain.score_configs import METRICS
from predictd.rounds.calendar import scoring_times
from predictd.rounds.targets import read_targets
from predictd.scoring.evaluation_data import EvaluationData
from predictd.scoring.live_scoring import LiveScores, Targets, open_live, score_live
from predictd.scoring.metrics.ranks import Floats
from predictd.scoring.prediction_files import read_submission_columns
from predictd.storage import Storage

log = structlog.get_logger()

# Targets of imported data are added manually, days after a round, so there is no need to check every second.
WAIT_FOR_TARGETS = timedelta(minutes=1)
Submitted = Sequence[tuple[Submission, float]]


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """What scoring takes: the database, the storage, mapped files, and the folder of cached factors.

    `waiting` has the rounds whose targets were not there, and when they are looked for again.
    """

    database: Database
    storage: Storage
    mapped: MappedCache
    factors: Path
    waiting: dict[str, datetime] = field(default_factory=dict, compare=False)

    def tick(self, now: datetime) -> int:
        """Score what is due by the calendar: rounds whose targets are known beforehand, as those of synthetic data.

        A server that was away makes up for the days that it missed. Returns how many days of rounds were scored.
        """
        count = 0
        for round_ in self._unresolved():
            if now < self.waiting.get(round_.id, now):
                continue
            times = scoring_times(round_.score_time, round_.resolve_time)
            for day in range(round_.score_days + 1, sum(at <= now for at in times) + 1):
                targets = self.load_targets(round_, day, len(times))
                if targets is None:
                    self.waiting[round_.id] = now + WAIT_FOR_TARGETS
                    break
                at = times[day - 1]
                if self.score(round_, targets, at, final=day == len(times), day=day) is not None:
                    count += 1
        return count

    def load_targets(self, round_: Round, day: int = 1, days: int = 1) -> dict[str, Targets] | None:
        """A round's targets as they are known on one of its days, by data version; by default the final ones.

        None if those of one data version are not known yet.
        """
        with self.database.read() as session:
            versions = session.scalars(sa.select(DataVersion.name).order_by(DataVersion.name)).all()
        targets = {}
        for version in versions:
            if self.storage.stat(round_key(version, round_.number, LIVE_FILE)) is None:
                continue
            key = targets_key(version, round_.number)
            if self.storage.stat(key) is None:
                return None
            with self.storage.local_path(key) as path:
                final = read_targets(path)
            values = interim_targets(final.values, day=day, days=days, seed=round_.number)
            targets[version] = Targets(ids=final.ids, values=values)
        return targets or None

    def score(
        self,
        round_: Round,
        targets: Mapping[str, Targets],
        at: datetime,
        *,
        final: bool,
        day: int | None = None,
        again: bool = False,
    ) -> int | None:
        """Score all selected submissions of a closed round by the targets of each data version.

        Args:
            round_: as it was read.
            targets: by the name of the data version.
            at: the moment that the scores are of.
            final: whether they resolve the round.
            day: which of the daily scores these are, from 1; the next one by default.
            again: whether a round that is resolved is scored again.

        Returns:
            How many submissions were scored, None when somebody else was first.
        """
        with self.database.read() as session:
            submitted = list_selected_submissions(session, round_.id)
        rows: list[dict[str, object]] = []
        for version, known in targets.items():
            rows += self._scored(round_, version, known, submitted)
        with self.database.write() as session:
            if not _claim_day(session, round_, day, at, final=final, again=again):
                return None
            _record_scores(session, round_.id, rows, at, final=final)
            record_reputations(session, round_.tournament, at)
        if final:
            shutil.rmtree(self._factor_folder(round_), ignore_errors=True)
        prometheus.SUBMISSIONS_SCORED.inc(len(rows))
        log.info("round_scored", number=round_.number, submissions=len(rows), final=final)
        return len(rows)

    def _scored(self, round_: Round, version: str, targets: Targets, submitted: Submitted) -> list[dict[str, object]]:
        """The rows of the submissions that are for the ids of this version."""
        with ExitStack() as files:
            live = files.enter_context(self.storage.local_path(round_key(version, round_.number, LIVE_FILE)))
            key = round_key(version, round_.number, LIVE_BENCHMARKS_FILE)
            has_benchmarks = self.storage.stat(key) is not None
            benchmarks = files.enter_context(self.storage.local_path(key)) if has_benchmarks else None
            folder = files.enter_context(self.storage.local_folder(version_key(version), [FEATURES_FILE]))
            sets = folder / FEATURES_FILE
            data = files.enter_context(
                open_live(live, benchmarks, sets, targets, self.mapped, self._factor_folder(round_))
            )
            placed = self._placed(data, submitted)
            if not placed:
                return []
            submissions = [submission for submission, _, _ in placed]
            weights = np.array([weight for _, weight, _ in placed])
            scores = score_live(data, np.stack([values for _, _, values in placed]), weights)
            if scores.meta_model is not None:
                self._store_meta_model(round_, version, data, scores.meta_model)
        return [_row(submission, scores, number) for number, submission in enumerate(submissions)]

    def _placed(self, data: EvaluationData, submitted: Submitted) -> list[tuple[Submission, float, Floats]]:
        """Submissions that are for these ids, each with its weight and its predictions in the order of the ids."""
        placed_by_key: dict[str, Floats | ModelFailure] = {}
        placed_submissions = []
        for submission, weight in submitted:
            # Several models of one pickle share the file.
            if submission.storage_key not in placed_by_key:
                with self.storage.local_path(submission.storage_key) as path:
                    ids, values = read_submission_columns(path, max_rows(len(data.ids)))
                placed_by_key[submission.storage_key] = data.align(ids.cast(data.ids.type), values, is_complete=True)
            placed = placed_by_key[submission.storage_key]
            if not isinstance(placed, ModelFailure):
                placed_submissions.append((submission, weight, placed))
        return placed_submissions

    def _store_meta_model(self, round_: Round, version: str, data: EvaluationData, values: Floats) -> None:
        with tempfile.TemporaryDirectory(prefix="predictd-") as folder:
            path = Path(folder) / "meta_model.parquet"
            pq.write_table(pa.table({"id": data.ids, "meta_model": values}), path)
            self.storage.put_file(meta_model_key(version, round_.number), path)

    def _unresolved(self) -> Sequence[Round]:
        with self.database.read() as session:
            return session.scalars(
                sa.select(Round)
                .where(Round.tournament == CLASSIC, Round.is_closed, Round.resolved_at.is_(None))
                .order_by(Round.number)
            ).all()

    def _factor_folder(self, round_: Round) -> Path:
        return self.factors / f"round-{round_.number}"


def _claim_day(session: Session, round_: Round, day: int | None, at: datetime, *, final: bool, again: bool) -> bool:
    """Whether these scores may be recorded: no other server has recorded them."""
    locked = session.get_one(Round, round_.id, with_for_update=True, populate_existing=True)
    if locked.score_days != (day - 1 if day is not None else round_.score_days):
        return False
    if locked.resolved_at is not None and not again:
        return False
    locked.score_days += locked.resolved_at is None
    locked.scored_at = at
    if final:
        locked.resolved_at = at
    session.flush()
    return True


def _record_scores(
    session: Session, round_id: str, rows: list[dict[str, object]], at: datetime, *, final: bool
) -> None:
    day = session.scalars(sa.select(Round.score_days).where(Round.id == round_id)).one()
    session.execute(sa.delete(Score).where(Score.round_id == round_id, Score.day == day))
    session.execute(sa.update(Score).where(Score.round_id == round_id, Score.is_latest).values(is_latest=False))
    added = {"round_id": round_id, "day": day, "scored_at": at, "resolved": final, "is_latest": True}
    if rows:
        session.execute(sa.insert(Score), [{**row, **added} for row in rows])


def _row(submission: Submission, scores: LiveScores, number: int) -> dict[str, object]:
    row: dict[str, object] = {"submission_id": submission.id, "model_id": submission.model_id}
    for name in METRICS:
        row[name] = _known(getattr(scores, name)[number])
        row[f"{name}_percentile"] = _known(scores.percentiles[name][number])
    return row


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
