"""Metrics of several submissions together, and from one era to the next: meta models, churn, turnover, alpha, MPC.

Of one era, none missing: submissions as (submissions, rows), neutralizers as (factors, rows).
"""

import numpy as np

from predictd.scoring.metrics.correlation import MOST_MISSING, pearson
from predictd.scoring.metrics.ranks import Floats, Integers, Ranking


def weighted(predictions: Floats, stakes: Floats) -> Floats:
    """The mean of submissions weighted by stakes (submissions,), shape (rows,), as `stake_weight`."""
    return np.asarray(stakes @ predictions / stakes.sum())


def meta_model(predictions: Floats, weights: Floats | None = None) -> Floats:
    """The mean of ranked and gaussianised submissions, shape (rows,), weighted equally if nothing else is said.

    To 12 decimals: it is ranked again where it is used, and what differs by rounding alone must be a tie there.
    """
    gaussian = Ranking.of(predictions).gaussian
    return np.round(weighted(gaussian, np.ones(len(predictions)) if weights is None else weights), 12)


def neutralized_weights(
    predictions: Floats, neutralizers: Floats, sample_weights: Floats, *, normalized: bool = False
) -> Floats:
    """The portfolio weights of submissions, shape (submissions, rows).

    `sample_weights` has the shape (rows,). If `normalized`, centred and with absolute values that add up to 1.
    """
    signal = Ranking.of(predictions).powered
    weights = (signal - ((sample_weights * signal) @ neutralizers.T) @ neutralizers) * sample_weights
    if normalized:
        weights = weights - weights.mean(axis=1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            weights = weights / np.abs(weights).sum(axis=1, keepdims=True)
    return weights


def alpha(predictions: Floats, neutralizers: Floats, sample_weights: Floats, targets: Floats) -> Floats:
    """The mean product of each submission's weights with the centred targets, shape (submissions,)."""
    weights = neutralized_weights(predictions, neutralizers, sample_weights)
    return np.asarray(weights @ (targets - targets.mean()) / len(targets))


def meta_portfolio_contribution(
    predictions: Floats, stakes: Floats, neutralizers: Floats, sample_weights: Floats, targets: Floats
) -> Floats:
    """The gradient of the stake-weighted portfolio's score with respect to each stake, shape (submissions,)."""
    shares = np.nan_to_num(stakes) / np.abs(np.nan_to_num(stakes)).sum()
    weights = neutralized_weights(predictions, neutralizers, sample_weights)
    weights = weights - weights.mean(axis=1, keepdims=True)
    portfolio = shares @ weights
    portfolio = portfolio - portfolio.mean()
    rest = weights - np.outer(weights @ portfolio / (portfolio @ portfolio), portfolio)
    return np.asarray(rest @ (targets - targets.mean()) / np.sqrt(portfolio @ portfolio) / 50)


def churn(before: Floats, after: Floats, rows: tuple[Integers, Integers], top_bottom: int | None = None) -> float:
    """How much a submission's order changes from one era to another, from 0 to 2.

    `before` and `after` are its predictions, in the order of their ids; `rows` are the positions in both of the ids in
    common. Without `top_bottom` 1 less Spearman's correlation over these, not a number if they are fewer than 80% of
    either era or one has a single value; with it, the part of the highest and lowest ids that are others.
    """
    first, second = rows
    if top_bottom:
        return _others(before, after, rows, top_bottom)
    if not _enough(before, after, rows):
        return float("nan")
    ranks = [Ranking.of(values[None]).doubled.astype(np.float64) for values in (before[first], after[second])]
    return 1 - float(pearson(ranks[0], ranks[1][0])[0])


def turnover(before: Floats, after: Floats, rows: tuple[Integers, Integers]) -> float:
    """Half of what the portfolio weights of the ids in common change by; not a number if these are too few."""
    if not _enough(before, after, rows):
        return float("nan")
    return float(np.abs(before[rows[0]] - after[rows[1]]).sum() / 2)


def _enough(before: Floats, after: Floats, rows: tuple[Integers, Integers]) -> bool:
    common = len(rows[0])
    return common > 0 and all(common / len(values) >= 1 - MOST_MISSING for values in (before, after))


def _others(before: Floats, after: Floats, rows: tuple[Integers, Integers], count: int) -> float:
    orders = [np.argsort(values, kind="stable") for values in (before, after)]
    where = np.full(len(before), -1)
    where[rows[0]] = rows[1]
    same = [
        np.isin(where[first], second).sum() / count
        for first, second in ((orders[0][-count:], orders[1][-count:]), (orders[0][:count], orders[1][:count]))
    ]
    return 1 - float(np.mean(same))
