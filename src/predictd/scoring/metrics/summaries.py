"""What a series of scores, one for each era in order of time, comes to. docs/metrics.md gives sources.

Eras without a score are left out beforehand; of too few eras a figure is not a number.
"""

import numpy as np

from predictd.scoring.metrics.ranks import Floats

_CLIP = 0.25
_WEEKS = 49
_NAN = float("nan")


def present(series: Floats) -> Floats:
    """The series without eras that have no score."""
    return series[~np.isnan(series)]


def mean(series: Floats) -> float:
    """The mean."""
    return float(series.mean()) if len(series) else _NAN


def deviation(series: Floats) -> float:
    """The standard deviation of these eras, with ddof 0 as in Numerai's own code; 0 of one era."""
    return float(series.std()) if len(series) else _NAN


def sharpe(series: Floats) -> float:
    """Mean over standard deviation, not annualised; not a number where all scores are equal."""
    if not len(series) or np.ptp(series) == 0:
        return _NAN
    return mean(series) / deviation(series)


def cumulated_drawdown(series: Floats) -> float:
    """The largest fall of the sum of scores below its highest so far, as a positive number."""
    if not len(series):
        return _NAN
    sums = np.cumsum(series)
    return float(np.max(np.maximum.accumulate(sums) - sums))


def compounded_drawdown(series: Floats) -> float:
    """The largest fall of the compounded scores below their highest so far, as a part of it: 0 or negative."""
    if not len(series):
        return _NAN
    values = np.cumprod(1 + series)
    highest = np.maximum.accumulate(values)
    return -float(np.max((highest - values) / highest))


def apy(series: Floats) -> float:
    """Yield of a year in per cent, of scores clipped to ±0.25 and compounded in 49 of its weeks."""
    if not len(series):
        return _NAN
    growth = float(np.exp(np.mean(np.log1p(np.clip(series, -_CLIP, _CLIP)))))
    return (growth**_WEEKS - 1) * 100


def autocorrelation(series: Floats) -> float:
    """Pearson's correlation of each era's score with the next; not a number of fewer than three eras."""
    if len(series) < 3 or np.ptp(series[:-1]) == 0 or np.ptp(series[1:]) == 0:
        return _NAN
    return float(np.corrcoef(series[:-1], series[1:])[0, 1])


def adjusted_sharpe(series: Floats) -> float:
    """Sharpe over the penalty for autocorrelation, sqrt(1 + 2 sum((n - i) / n * abs(r)**i)), i from 1 to n - 1."""
    rho = abs(autocorrelation(series))
    if np.isnan(rho):
        return _NAN
    lags = np.arange(1, len(series))
    penalty = np.sqrt(1 + 2 * np.sum((len(series) - lags) / len(series) * rho**lags))
    return sharpe(series) / float(penalty)
