"""Score all submissions of a round together."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from predictd.data.mapped_cache import MappedCache
from predictd.domain.score_configs import METRICS
from predictd.scoring.evaluation_data import EvaluationData, open_evaluation_data, values_for_ids
from predictd.scoring.metrics import meta_model, score
from predictd.scoring.metrics.ranks import Floats, Ranking


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Targets of a round's ids: `values[i]` (float64) belongs to `ids[i]`, NaN where unknown."""

    ids: pa.Array
    values: Floats


@dataclass(frozen=True, kw_only=True)
class LiveScores:
    """Scores of a round's submissions, shape (submissions,), NaN where missing; docs/reference/metrics.md defines each.

    `percentiles` maps the names of METRICS to the share of scores that each is at least as good as, from 1 /
    submissions to 1, equal scores sharing the mean. `meta_model` has the shape (rows,), or is None without weighted
    submissions.
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
) -> Iterator[EvaluationData]:
    """Yield the live data of a round with its targets.

    Args:
        live: the live features, parquet.
        benchmarks: the live benchmark models, for BMC.
        sets: the data version's features.json, for FNCv3.
        targets: of the live ids.
        mapped: the cache for the mapped form of `live`.
        factors: folder to cache the factors of the features for later days of the round.

    Raises:
        InvalidInputError: a file lacks a required column.
    """
    compared_files = {} if benchmarks is None else {"benchmark": benchmarks}
    with open_evaluation_data(
        live,
        mapped,
        kind="live",
        sets=sets,
        compared_files=compared_files,
        targets=lambda ids: values_for_ids(ids, targets.ids, targets.values),
        factors=factors,
    ) as data:
        yield data


def score_live(data: EvaluationData, predictions: Floats, weights: Floats) -> LiveScores:
    """Return the scores of all submissions of a round.

    Args:
        data: of one era.
        predictions: shape (submissions, rows), in the order of `data.ids`, NaN where missing.
        weights: in the meta model, shape (submissions,), 0 or more. Incomplete submissions do not count.
    """
    complete = ~np.isnan(predictions).any(axis=1) & (weights > 0)
    meta = meta_model(predictions[complete], weights[complete]) if complete.any() else None
    era_scores = score(predictions.T, replace(data.truth, meta_model=meta), data.features)
    scores = {name: getattr(era_scores, name)[0] for name in METRICS}
    percentiles = {name: percentiles_of(values) for name, values in scores.items()}
    return LiveScores(**scores, percentiles=percentiles, meta_model=meta)


def percentiles_of(values: Floats) -> Floats:
    """Return the share of the values that each is at least as good as; equal values share the mean, NaN stays NaN."""
    percentiles = np.full(len(values), np.nan)
    is_present = ~np.isnan(values)
    if is_present.any():
        # Ranks start at 0 and are doubled, so that the mean of two is a whole number.
        percentiles[is_present] = (Ranking.of(values[is_present][None]).doubled[0] / 2 + 1) / is_present.sum()
    return percentiles
