"""Correlations of submissions with a target within one era: Numerai's CORR20v2 and the plain ones.

Functions of submissions that share their rows; a target is aligned with the rows of the era, NaN where it is missing.
They give what numerai-tools gives for one submission at a time, and not a number where it refuses to.
"""

import numpy as np

from predictd.scoring.metrics.era_batch import Submitted
from predictd.scoring.metrics.ranks import Floats, Ranking, Truths, extremes, powered

MOST_MISSING = 0.2
"""Largest part of a column's rows that may lack a counterpart; with more, a score is not a number."""


def numerai_corr(
    group: Submitted, targets: Floats, *, top_bottom: int | None = None, powered_target: bool = True
) -> Floats:
    """CORR20v2 of each submission, shape (submissions,).

    `targets` (rows of the era,) are centred on the mean of all that the era has. With `top_bottom`, only that many of
    the highest and lowest predictions count, equal ones in the order of their rows: rows should be in the order of ids.
    `powered_target` is for targets; returns are taken as they are.
    """
    both = group.rows & ~np.isnan(targets)
    if not overlaps(both):
        return np.full(len(group.columns), np.nan)
    centred = targets[both] - np.nanmean(targets)
    return correlation(group.ranking(both), powered(centred) if powered_target else centred, top_bottom)


def correlation(ranking: Ranking, target: Floats, top_bottom: int | None = None) -> Floats:
    """Pearson's correlation of the ranked, gaussianised and powered submissions with a target as it is."""
    return pearson(ranking.powered, target, top_bottom)


def tie_broken_rank_correlation(group: Submitted, targets: Floats) -> Floats:
    """Pearson's correlation of the target with ranks, equal predictions ranked in the order of their rows.

    The rows that a target has must be rows of the submissions, or the score is not a number.
    """
    both = group.rows & ~np.isnan(targets)
    if not overlaps(both):
        return np.full(len(group.columns), np.nan)
    return pearson(broken_ranks(group.values[:, group.chosen(both)]), targets[both])


def spearman_correlation(group: Submitted, targets: Floats) -> Floats:
    """Spearman's correlation with the target, equal values sharing the mean of their ranks."""
    both = group.rows & ~np.isnan(targets)
    if not overlaps(both):
        return np.full(len(group.columns), np.nan)
    target = Ranking.of(targets[both][None]).doubled[0].astype(np.float64)
    return pearson(group.ranking(both).doubled.astype(np.float64), target)


def broken_ranks(values: Floats) -> Floats:
    """Ranks from 0 of each submission's values, shape (submissions, rows), equal ones in the order of their rows."""
    order = np.argsort(values, axis=1, kind="stable")
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, np.arange(values.shape[1], dtype=np.float64)[None], axis=1)
    return ranks


def overlaps(both: Truths, *columns: Truths) -> bool:
    """Whether the rows in common are enough of all rows, missing values counted, and of each column's own rows."""
    common = int(np.count_nonzero(both))
    wholes = [len(both), *(int(np.count_nonzero(rows)) for rows in columns)]
    return bool(common) and all(common / whole >= 1 - MOST_MISSING for whole in wholes)


def pearson(values: Floats, target: Floats, top_bottom: int | None = None) -> Floats:
    """Pearson's correlation of each submission with the target, none of them missing a value; shape (submissions,).

    `values` has the shape (submissions, rows), `target` (rows,). With `top_bottom`, only that many of the highest and
    lowest values of each submission count. Not a number where one of the two has a single value.
    """
    if top_bottom:
        chosen = extremes(values, top_bottom)
        if chosen is None:
            return np.full(len(values), np.nan)
        return pearson_pairs(np.take_along_axis(values, chosen, axis=1), target[chosen])
    if len(target) < 2 or np.ptp(target) == 0:
        return np.full(len(values), np.nan)
    centred = target - target.mean()
    constant = np.ptp(values, axis=1) == 0
    values = values - values.mean(axis=1, keepdims=True)
    spreads = np.sqrt(np.einsum("ij,ij->i", values, values) * (centred @ centred))
    return _ratio(values @ centred, spreads, constant)


def pearson_pairs(first: Floats, second: Floats) -> Floats:
    """Pearson's correlation of two matrices of the same shape (submissions, rows), row by row."""
    constant = (np.ptp(first, axis=1) == 0) | (np.ptp(second, axis=1) == 0)
    first = first - first.mean(axis=1, keepdims=True)
    second = second - second.mean(axis=1, keepdims=True)
    spreads = np.sqrt(np.einsum("ij,ij->i", first, first) * np.einsum("ij,ij->i", second, second))
    return _ratio(np.einsum("ij,ij->i", first, second), spreads, constant)


def _ratio(upper: Floats, lower: Floats, undefined: Truths) -> Floats:
    # The mean of equal values may differ from them in the last bit, so what is constant is told beforehand.
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(undefined, np.nan, np.clip(upper / lower, -1.0, 1.0))
