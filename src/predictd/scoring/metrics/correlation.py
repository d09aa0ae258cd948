"""Correlations of submissions with a target within one era: Numerai's CORR20v2 and FNC.

The submissions of a group share their rows; a target is aligned with the rows of the era, NaN where missing. Results
equal those of numerai-tools for one submission at a time, or NaN where it raises.
"""

import numpy as np

from predictd.scoring.metrics.era_batch import SubmissionGroup
from predictd.scoring.metrics.ranks import Floats, Ranking, Truths, extremes, powered

MAX_MISSING = 0.2
"""The largest share of a column's rows without a counterpart; above it, a score is NaN."""
# Gaussianized predictions are of size 1, and their residuals accurate to a hundredth of _SAME. Rows with equal
# features and predictions have equal residuals, and rounding must not rank them differently.
_SAME = 1e-12
_ZERO = 1e-10


def numerai_corr(group: SubmissionGroup, targets: Floats, *, top_bottom: int | None = None) -> Floats:
    """Return the CORR20v2 of each submission, shape (submissions,).

    `targets` (rows of the era,) are centered on the mean of the whole era. With `top_bottom`, only that many of
    the highest and lowest predictions count, ties in the order of their rows, so rows should be in the order of ids.
    """
    both = group.rows & ~np.isnan(targets)
    if not overlaps(both):
        return np.full(len(group.columns), np.nan)
    centered = targets[both] - np.nanmean(targets)
    return correlation(group.ranking(both), powered(centered), top_bottom)


def neutral_corr_of(group: SubmissionGroup, residual: Floats, targets: Floats, top_bottom: int | None = None) -> Floats:
    """Return the FNC of submissions from their `residual` after the features, shape (submissions, rows they have)."""
    both = group.rows & ~np.isnan(targets)
    scores = np.full(len(group.columns), np.nan)
    is_nonzero = np.ptp(residual, axis=1) > _ZERO
    if not overlaps(both) or not is_nonzero.any():
        return scores
    ranking = Ranking.of(residual[is_nonzero][:, group.selection(both)], gap=_SAME)
    scores[is_nonzero] = correlation(ranking, powered(targets[both] - np.nanmean(targets)), top_bottom)
    return scores


def correlation(ranking: Ranking, target: Floats, top_bottom: int | None = None) -> Floats:
    """Return Pearson's correlation of the ranked, gaussianized and powered submissions with a target."""
    return pearson(ranking.powered, target, top_bottom)


def broken_ranks(values: Floats) -> Floats:
    """Return ranks from 0 of each submission's values, shape (submissions, rows), ties in the order of their rows."""
    order = np.argsort(values, axis=1, kind="stable")
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, np.arange(values.shape[1], dtype=np.float64)[None], axis=1)
    return ranks


def overlaps(both: Truths, *columns: Truths) -> bool:
    """Return whether the common rows are enough of all rows, missing values included, and of each column's own rows."""
    common = int(np.count_nonzero(both))
    totals = [len(both), *(int(np.count_nonzero(rows)) for rows in columns)]
    return bool(common) and all(common / whole >= 1 - MAX_MISSING for whole in totals)


def pearson(values: Floats, target: Floats, top_bottom: int | None = None) -> Floats:
    """Return Pearson's correlation of each submission with the target, without missing values; shape (submissions,).

    `values` has the shape (submissions, rows), `target` (rows,). With `top_bottom`, only that many of the highest and
    lowest values of each submission count. NaN if one of the two has a single value.
    """
    if top_bottom:
        chosen = extremes(values, top_bottom)
        if chosen is None:
            return np.full(len(values), np.nan)
        return pearson_pairs(np.take_along_axis(values, chosen, axis=1), target[chosen])
    if len(target) < 2 or np.ptp(target) == 0:
        return np.full(len(values), np.nan)
    centered = target - target.mean()
    constant = np.ptp(values, axis=1) == 0
    values = values - values.mean(axis=1, keepdims=True)
    spreads = np.sqrt(np.einsum("ij,ij->i", values, values) * (centered @ centered))
    return _ratio(values @ centered, spreads, constant)


def pearson_pairs(first: Floats, second: Floats) -> Floats:
    """Return Pearson's correlation of two matrices of the same shape (submissions, rows), row by row."""
    constant = (np.ptp(first, axis=1) == 0) | (np.ptp(second, axis=1) == 0)
    first = first - first.mean(axis=1, keepdims=True)
    second = second - second.mean(axis=1, keepdims=True)
    spreads = np.sqrt(np.einsum("ij,ij->i", first, first) * np.einsum("ij,ij->i", second, second))
    return _ratio(np.einsum("ij,ij->i", first, second), spreads, constant)


def _ratio(upper: Floats, lower: Floats, undefined: Truths) -> Floats:
    # The mean of equal values may differ from them in the last bit, so the caller passes which ones are constant.
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(undefined, np.nan, np.clip(upper / lower, -1.0, 1.0))
