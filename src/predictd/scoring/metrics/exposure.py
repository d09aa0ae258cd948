"""How much submissions follow single features within one era."""

import numpy as np

from predictd.scoring.metrics.era_batch import Submitted
from predictd.scoring.metrics.factors import Factor
from predictd.scoring.metrics.features import FeatureMatrix
from predictd.scoring.metrics.ranks import Floats, Integers, extremes


def feature_correlations(
    group: Submitted, features: FeatureMatrix, *, factor: Factor | None = None, top_bottom: int | None = None
) -> Floats:
    """Pearson's correlation of the predictions as they are with each feature, shape (submissions, features).

    `features` are those of all rows of the era, `factor` theirs, if known. Not a number for features, or submissions,
    of one value. With `top_bottom`, only that many of the highest and lowest predictions of each submission count.
    """
    within = features.within(group.rows)
    if top_bottom:
        return _of_extremes(group, within, top_bottom)
    means, lengths = (factor.means, factor.lengths) if factor and group.complete else within.moments()
    values = centred(group)
    products = within.times(values) - np.outer(values.sum(axis=1), means)
    return ratios(products, values, lengths)


def centred(group: Submitted) -> Floats:
    """Predictions less their mean, exactly 0 where a submission has one value; (submissions, rows they have)."""
    values = group.values - group.values.mean(axis=1, keepdims=True)
    values[group.ranking().constant] = 0
    return np.asarray(values)


def ratios(products: Floats, values: Floats, lengths: Floats) -> Floats:
    """Correlations of centred predictions with features, from their products and the features' centred lengths."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found = products / lengths / np.sqrt(np.einsum("ij,ij->i", values, values))[:, None]
    found[:, lengths == 0] = np.nan
    return np.asarray(np.clip(found, -1.0, 1.0))


def largest(correlations: Floats) -> tuple[Integers, Floats]:
    """The feature that each submission follows most, and the size of that correlation, shape (submissions,) each.

    The first of equals; position 0 and not a number where none is a number.
    """
    sizes = np.abs(correlations)
    positions = np.argmax(np.where(np.isnan(sizes), -1.0, sizes), axis=1)
    return positions, np.take_along_axis(sizes, positions[:, None], axis=1)[:, 0]


def _of_extremes(group: Submitted, features: FeatureMatrix, top_bottom: int) -> Floats:
    found = np.full((len(group.columns), len(features)), np.nan)
    chosen = extremes(group.values, top_bottom)
    if chosen is None:
        return found
    for number, rows in enumerate(chosen):
        values = group.values[number : number + 1, rows]
        if np.ptp(values):
            values = values - values.mean()
            some = (
                features.values[:, rows]
                if features.columns is None
                else features.values[np.ix_(features.columns, rows)]
            )
            matrix = FeatureMatrix(values=some)
            means, lengths = matrix.moments()
            found[number] = ratios(matrix.times(values) - values.sum() * means, values, lengths)[0]
    return found
