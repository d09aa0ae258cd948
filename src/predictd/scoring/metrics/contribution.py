"""The contribution of submissions to a meta model within one era: MMC, and BMC against a benchmark model."""

import numpy as np

from predictd.scoring.metrics.correlation import overlaps
from predictd.scoring.metrics.era_batch import SubmissionGroup
from predictd.scoring.metrics.ranks import Floats, Ranking, extremes


def correlation_contribution(
    group: SubmissionGroup, meta_model: Floats, targets: Floats, *, top_bottom: int | None = None
) -> Floats:
    """Return each submission's contribution to the meta model's correlation with the target, shape (submissions,).

    `meta_model` and `targets` have the shape (rows of the era,), NaN where missing. Ranked and gaussianized predictions
    are orthogonalized to the meta model's and multiplied with the centered target.
    """
    with_meta = group.rows & ~np.isnan(meta_model)
    both = with_meta & ~np.isnan(targets)
    if not overlaps(with_meta) or not overlaps(both, with_meta):
        return np.full(len(group.columns), np.nan)
    meta = Ranking.of(meta_model[both][None]).gaussian[0]
    return _contributions(group.ranking(both).gaussian, meta, targets[both], top_bottom)


def _contributions(values: Floats, meta: Floats, targets: Floats, top_bottom: int | None = None) -> Floats:
    """Return the mean product of the target with `values`, shape (submissions, rows), orthogonalized to `meta`."""
    if targets.min() >= 0 and targets.max() <= 1:
        targets = targets * 4  # from -2 to 2 after centering
    targets = targets - targets.mean()
    with np.errstate(invalid="ignore", divide="ignore"):
        if not top_bottom:
            # The projection is symmetric, so projecting the target alone is equivalent and cheaper.
            residual = targets - meta * ((meta @ targets) / (meta @ meta))
            return np.asarray(values @ residual / len(targets))
        neutral = values - np.outer((values @ meta) / (meta @ meta), meta)
    chosen = extremes(neutral, top_bottom)
    if chosen is None:
        return np.full(len(values), np.nan)
    selected = np.take_along_axis(neutral, chosen, axis=1)
    return np.asarray(np.einsum("ij,ij->i", selected, targets[chosen]) / (2 * top_bottom))


def meta_model(predictions: Floats, weights: Floats | None = None) -> Floats:
    """Return the mean of ranked and gaussianized submissions, shape (rows,), equally weighted by default.

    Rounded to 12 decimals: it is ranked again later, and values that differ only by rounding must be ties there.
    """
    gaussian = Ranking.of(predictions).gaussian
    weights = np.ones(len(predictions)) if weights is None else weights
    return np.asarray(np.round(weights @ gaussian / weights.sum(), 12))
