"""The correlation of submissions with single features within one era."""

import numpy as np

from predictd.scoring.metrics.era_batch import SubmissionGroup
from predictd.scoring.metrics.factors import Factor
from predictd.scoring.metrics.features import FeatureMatrix
from predictd.scoring.metrics.ranks import Floats, extremes


def feature_correlations(
    group: SubmissionGroup, features: FeatureMatrix, *, factor: Factor | None = None, top_bottom: int | None = None
) -> Floats:
    """Return Pearson's correlation of the raw predictions with each feature, shape (submissions, features).

    `features` are those of all rows of the era, `factor` theirs, if known. NaN for constant features or submissions.
    With `top_bottom`, only that many of the highest and lowest predictions of each submission count.
    """
    within = features.within(group.rows)
    if top_bottom:
        return _of_extremes(group, within, top_bottom)
    means, lengths = (factor.means, factor.lengths) if factor and group.complete else within.moments()
    values = centered(group)
    products = within.times(values) - np.outer(values.sum(axis=1), means)
    return ratios(products, values, lengths)


def centered(group: SubmissionGroup) -> Floats:
    """Return predictions minus their mean, exactly 0 for constant submissions; (submissions, rows they have)."""
    values = group.values - group.values.mean(axis=1, keepdims=True)
    values[group.ranking().constant] = 0
    return np.asarray(values)


def ratios(products: Floats, values: Floats, lengths: Floats) -> Floats:
    """Return correlations of centered predictions with features, from their products and the features' centered
    lengths.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        correlations = products / lengths / np.sqrt(np.einsum("ij,ij->i", values, values))[:, None]
    correlations[:, lengths == 0] = np.nan
    return np.asarray(np.clip(correlations, -1.0, 1.0))


def _of_extremes(group: SubmissionGroup, features: FeatureMatrix, top_bottom: int) -> Floats:
    correlations = np.full((len(group.columns), len(features)), np.nan)
    extreme_rows = extremes(group.values, top_bottom)
    if extreme_rows is None:
        return correlations
    for number, rows in enumerate(extreme_rows):
        values = group.values[number : number + 1, rows]
        if np.ptp(values):
            values = values - values.mean()
            selected = (
                features.values[:, rows]
                if features.columns is None
                else features.values[np.ix_(features.columns, rows)]
            )
            matrix = FeatureMatrix(values=selected)
            means, lengths = matrix.moments()
            correlations[number] = ratios(matrix.times(values) - values.sum() * means, values, lengths)[0]
    return correlations
