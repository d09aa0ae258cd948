"""Metrics of predictions that are neutralised to features within one era: FNC and its likes."""

import numpy as np

from predictd.scoring.metrics.contribution import contributions
from predictd.scoring.metrics.correlation import correlation, overlaps, pearson
from predictd.scoring.metrics.era_batch import Submitted
from predictd.scoring.metrics.factors import Factor, factor_of
from predictd.scoring.metrics.features import FeatureMatrix
from predictd.scoring.metrics.ranks import Floats, Ranking, powered

# Gaussianised predictions are about 1 in size, and their residuals right to a hundredth of this. Rows with the same
# features and the same prediction have the same residual, of which rounding must not make different ranks.
_SAME = 1e-12
_NOTHING = 1e-10


def feature_neutral_corr(
    group: Submitted,
    features: FeatureMatrix,
    targets: Floats,
    *,
    factor: Factor | None = None,
    top_bottom: int | None = None,
) -> Floats:
    """FNC of each submission, shape (submissions,): CORR20v2 of what is left of it beside the features.

    `features` and `targets` are those of all rows of the era, targets NaN where they are missing. `factor` is that of
    `features`; it serves submissions that have all rows, others need one of their own. Not a number if nothing is left:
    a submission of one value, or features that span as many dimensions as there are rows.
    """
    left = neutralised(group, features, factor)
    return neutral_corr_of(group, left, targets, top_bottom)


def neutral_corr_of(group: Submitted, left: Floats, targets: Floats, top_bottom: int | None = None) -> Floats:
    """FNC of submissions of which `left`, shape (submissions, rows they have), is left beside the features."""
    both = group.rows & ~np.isnan(targets)
    found = np.full(len(group.columns), np.nan)
    something = np.ptp(left, axis=1) > _NOTHING
    if not overlaps(both) or not something.any():
        return found
    ranking = Ranking.of(left[something][:, group.chosen(both)], gap=_SAME)
    found[something] = correlation(ranking, powered(targets[both] - np.nanmean(targets)), top_bottom)
    return found


def neutral_correlation(
    group: Submitted,
    features: FeatureMatrix,
    targets: Floats,
    *,
    factor: Factor | None = None,
    top_bottom: int | None = None,
) -> Floats:
    """Pearson's correlation of the centred target with the gaussianised predictions neutralised to the features.

    Unlike FNC without ranking again and without powers; rows without a target are left out before all else. `factor` is
    that of `features` for all rows of the era.
    """
    both = group.rows & ~np.isnan(targets)
    if not overlaps(both):
        return np.full(len(group.columns), np.nan)
    gaussian = group.ranking(both).gaussian
    left = _residual(gaussian, features.within(both), factor if both.all() else None)
    found = pearson(left, targets[both], top_bottom)
    return np.where(np.ptp(left, axis=1) > _NOTHING, found, np.nan)


def neutral_contribution(
    group: Submitted,
    meta_model: Floats,
    features: FeatureMatrix,
    targets: Floats,
    *,
    factor: Factor | None = None,
    top_bottom: int | None = None,
) -> Floats:
    """The contribution to the meta model's correlation with the target, both neutralised to the features first."""
    both = group.rows & ~np.isnan(targets) & ~np.isnan(meta_model)
    if not overlaps(both):
        return np.full(len(group.columns), np.nan)
    gaussian = group.ranking(both).gaussian
    meta = Ranking.of(meta_model[both][None]).gaussian
    left = _residual(np.concatenate([gaussian, meta]), features.within(both), factor if both.all() else None)
    nothing = np.ptp(left, axis=1) <= _NOTHING
    if nothing[-1]:
        return np.full(len(group.columns), np.nan)
    return np.where(nothing[:-1], np.nan, contributions(left[:-1], left[-1], targets[both], top_bottom))


def neutralised(group: Submitted, features: FeatureMatrix, factor: Factor | None = None) -> Floats:
    """What is left of the gaussianised predictions beside the features, shape (submissions, rows they have)."""
    return _residual(group.ranking().gaussian, features.within(group.rows), factor if group.complete else None)


def _residual(gaussian: Floats, features: FeatureMatrix, factor: Factor | None) -> Floats:
    return (factor or factor_of(features)).residual(features, gaussian)
