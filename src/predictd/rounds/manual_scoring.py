"""Manual scoring and resolving of a round with targets from an admin."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlalchemy as sa

from predictd.data import read_ids
from predictd.data.layout import round_key, targets_key
from predictd.data.schema import LIVE_FILE
from predictd.db.models import DataVersion, Round
from predictd.db.rounds import find_round, status_of
from predictd.domain.errors import ConflictError, InvalidInputError, NotFoundError
from predictd.domain.names import CLASSIC
from predictd.domain.states import RoundStatus
from predictd.rounds.scorer import Scorer
from predictd.scoring.evaluation_data import TARGET
from predictd.scoring.live_scoring import Targets

MIN_COVERAGE = 0.8
"""The minimum share of the live ids of a round that have a target."""


@dataclass(frozen=True, kw_only=True)
class ScoredRound:
    """A scored round, the number of scored submissions, and the data versions of the targets."""

    round: Round
    submissions: int
    versions: tuple[str, ...]


def score_by_hand(
    scorer: Scorer, number: int | None, targets: Targets | None, now: datetime, *, final: bool, again: bool = False
) -> ScoredRound:
    """Give a round its next daily scores, or with `final` its final ones, which resolve it.

    Args:
        scorer: what scores.
        number: of the round; None means the newest closed one without final scores that the targets are for.
        targets: at least 80 % of the round's live ids must have one. None means those that are known already, as those
            of synthetic data are; final scores only.
        now: the moment.
        final: whether these resolve the round.
        again: whether a resolved round is scored again.

    Raises:
        NotFoundError: there is no such round.
        ConflictError: it is still open, is resolved already, or somebody scored it at the same time.
        InvalidInputError: the targets are for other ids, or none are known.
    """
    candidates = _candidates(scorer, number, now, again=again)
    if targets is None:
        return _resolve_known(scorer, candidates, now, again=again)
    shares = []
    for round_ in candidates:
        covered = _coverage(scorer, round_.number, targets)
        versions = [version for version, share in covered.items() if share >= MIN_COVERAGE]
        if versions:
            return _score(scorer, round_, versions, targets, now, final=final, again=again)
        shares += [(share, round_.number, version) for version, share in covered.items()]
    share, nearest, version = max(shares, default=(0.0, candidates[0].number, "any data version"))
    raise InvalidInputError(
        f"The targets have {share:.0%} of the live ids of round {nearest} ({version}), but {MIN_COVERAGE:.0%} are "
        "needed. Give the targets of that round's live ids, or name another round."
    )


def _candidates(scorer: Scorer, number: int | None, now: datetime, *, again: bool) -> Sequence[Round]:
    with scorer.database.read() as session:
        if number is not None:
            round_ = find_round(session, CLASSIC, number)
            if round_ is None:
                raise NotFoundError(f"There is no round {number}; list them with: predictd round list")
            if status_of(round_, now) in (RoundStatus.OPEN, RoundStatus.UPCOMING):
                raise ConflictError(f"Round {number} is not closed yet; close it first with: predictd round close")
            if round_.resolved_at is not None and not again:
                raise ConflictError(f"Round {number} is resolved already; replace its final scores with --replace.")
            return [round_]
        rounds = session.scalars(
            sa.select(Round)
            .where(Round.tournament == CLASSIC, sa.or_(Round.is_closed, Round.close_time <= now))
            .order_by(Round.number.desc())
        ).all()
    rounds = [round_ for round_ in rounds if again or round_.resolved_at is None]
    if not rounds:
        raise ConflictError("No closed round waits for its scores; list them with: predictd round list")
    return rounds


def _coverage(scorer: Scorer, number: int, targets: Targets) -> dict[str, float]:
    """Which part of the round's live ids have a target, by data version."""
    target_ids = targets.ids.filter(pa.array(~np.isnan(targets.values)))
    with scorer.database.read() as session:
        versions = session.scalars(sa.select(DataVersion.name).order_by(DataVersion.name)).all()
    covered = {}
    for version in versions:
        key = round_key(version, number, LIVE_FILE)
        if scorer.storage.stat(key) is not None:
            with scorer.storage.local_path(key) as live:
                ids = pa.array(read_ids(live), target_ids.type)
            covered[version] = float(pc.mean(pc.is_in(ids, value_set=target_ids).cast(pa.float64())).as_py())
    return covered


def _score(
    scorer: Scorer,
    round_: Round,
    versions: Sequence[str],
    targets: Targets,
    now: datetime,
    *,
    final: bool,
    again: bool,
) -> ScoredRound:
    if final:
        for version in versions:
            _store_targets(scorer, version, round_.number, targets)
    count = scorer.score(round_, dict.fromkeys(versions, targets), now, final=final, again=again)
    return _result(round_, count, versions)


def _resolve_known(scorer: Scorer, candidates: Sequence[Round], now: datetime, *, again: bool) -> ScoredRound:
    # The oldest first: rounds resolve in their order.
    for round_ in reversed(candidates):
        targets = scorer.load_targets(round_)
        if targets is not None:
            count = scorer.score(round_, targets, now, final=True, again=again)
            return _result(round_, count, list(targets))
    numbers = ", ".join(str(round_.number) for round_ in reversed(candidates[:5]))
    raise InvalidInputError(f"The targets of round {numbers} are not known; give them with --targets FILE.")


def _result(round_: Round, count: int | None, versions: Sequence[str]) -> ScoredRound:
    if count is None:
        raise ConflictError(f"Round {round_.number} was scored by another process at the same time; look at it again.")
    return ScoredRound(round=round_, submissions=count, versions=tuple(versions))


def _store_targets(scorer: Scorer, version: str, number: int, targets: Targets) -> None:
    with tempfile.TemporaryDirectory(prefix="predictd-") as folder:
        path = Path(folder) / "targets.parquet"
        pq.write_table(pa.table({"id": targets.ids, TARGET: targets.values}), path)
        scorer.storage.put_file(targets_key(version, number), path)
