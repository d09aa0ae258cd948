"""The scores of a round's submissions, all at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from predictd.data.mapped_cache import MappedCache
from predictd.domain.scores import METRICS
from predictd.scoring.evaluation_data import MeasuredData, open_measured, taken
from predictd.scoring.metrics import meta_model, score
from predictd.scoring.metrics.ranks import Floats, Ranking


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Targets of a round's ids: `values[i]` (float64) is that of `ids[i]`, NaN where it is not known."""

    ids: pa.Array
    values: Floats


@dataclass(frozen=True, kw_only=True)
class LiveScores:
    """Return the scores of a round's submissions, shape (submissions,), NaN for none; see docs/reference/metrics.md.

    `percentiles` has the same by the names of METRICS: the part of the scores that it is at least as good as, from
    1 / submissions to 1, equal scores sharing the mean. `meta_model` has the shape (rows,), None without submissions
    that weigh.
    """

    corr: Floats
    mmc: Floats
    bmc: Floats
    fnc: Floats
    fnc_v3: Floats
    percentiles: dict[str, Floats]
    meta_model: Floats | None


@contextmanager
def open_live(
    live: Path, benchmarks: Path | None, sets: Path, targets: Targets, mapped: MappedCache, factors: Path | None
) -> Iterator[MeasuredData]:
    """The live data of a round with its targets.

    Args:
        live: the live features, parquet.
        benchmarks: the live benchmark models, for BMC.
        sets: the data version's features.json, for FNCv3.
        targets: of the live ids.
        mapped: where `live` is kept in its mapped form.
        factors: folder where the factors of the features are kept for the round's further days.

    Raises:
        InvalidInputError: a file lacks what it should hold.
    """
    others = {} if benchmarks is None else {"benchmark": benchmarks}
    with open_measured(
        live,
        mapped,
        kind="live",
        sets=sets,
        others=others,
        targets=lambda ids: taken(ids, targets.ids, targets.values),
        factors=factors,
    ) as found:
        yield found


def score_live(data: MeasuredData, predictions: Floats, weights: Floats) -> LiveScores:
    """The scores of all submissions of a round.

    Args:
        data: of one era.
        predictions: shape (submissions, rows), in the order of `data.ids`, NaN where one is missing.
        weights: how much each counts in the meta model, shape (submissions,), 0 or more. Those that lack a row don't.
    """
    complete = ~np.isnan(predictions).any(axis=1) & (weights > 0)
    together = meta_model(predictions[complete], weights[complete]) if complete.any() else None
    found = score(predictions.T, replace(data.truth, meta_model=together), data.features)
    scores = {name: getattr(found, name)[0] for name in METRICS}
    percentiles = {name: percentiles_of(values) for name, values in scores.items()}
    return LiveScores(**scores, percentiles=percentiles, meta_model=together)


def percentiles_of(values: Floats) -> Floats:
    """Which part of the values each is at least as good as; equal ones share the mean, NaN stays NaN."""
    found = np.full(len(values), np.nan)
    there = ~np.isnan(values)
    if there.any():
        # Ranks come from 0 and doubled, so that the mean of two is a whole number.
        found[there] = (Ranking.of(values[there][None]).doubled[0] / 2 + 1) / there.sum()
    return found
