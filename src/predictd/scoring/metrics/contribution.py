"""How much submissions add to a meta model within one era: MMC, and BMC against a benchmark model."""

import numpy as np

from predictd.scoring.metrics.correlation import overlaps
from predictd.scoring.metrics.era_batch import Submitted
from predictd.scoring.metrics.ranks import Floats, Ranking, extremes


def correlation_contribution(
    group: Submitted, meta_model: Floats, targets: Floats, *, top_bottom: int | None = None
) -> Floats:
    """The contribution of each submission to the meta model's correlation with the target, shape (submissions,).

    `meta_model` and `targets` have the shape (rows of the era,), NaN where they are missing. Ranked and gaussianised
    predictions are orthogonalised to the meta model's and multiplied with the centred target.
    """
    with_meta = group.rows & ~np.isnan(meta_model)
    both = with_meta & ~np.isnan(targets)
    if not overlaps(with_meta) or not overlaps(both, with_meta):
        return np.full(len(group.columns), np.nan)
    meta = Ranking.of(meta_model[both][None]).gaussian[0]
    return contributions(group.ranking(both).gaussian, meta, targets[both], top_bottom)


def contributions(values: Floats, meta: Floats, targets: Floats, top_bottom: int | None = None) -> Floats:
    """The mean product of the target with what is left of `values`, shape (submissions, rows), beside `meta`."""
    if targets.min() >= 0 and targets.max() <= 1:
        targets = targets * 4  # from -2 to 2 once they are centred
    targets = targets - targets.mean()
    with np.errstate(invalid="ignore", divide="ignore"):
        if not top_bottom:
            # The projection is symmetric, so it may as well be the target that loses the meta model.
            left = targets - meta * ((meta @ targets) / (meta @ meta))
            return np.asarray(values @ left / len(targets))
        neutral = values - np.outer((values @ meta) / (meta @ meta), meta)
    chosen = extremes(neutral, top_bottom)
    if chosen is None:
        return np.full(len(values), np.nan)
    picked = np.take_along_axis(neutral, chosen, axis=1)
    return np.asarray(np.einsum("ij,ij->i", picked, targets[chosen]) / (2 * top_bottom))
