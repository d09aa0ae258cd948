"""Summary statistics of a series of scores, one for each era in time order. docs/reference/metrics.md lists sources.

Eras without a score are removed first; for too few eras a statistic is NaN.
"""

import numpy as np

from predictd.scoring.metrics.ranks import Floats

_CLIP = 0.25
_WEEKS = 49
_NAN = float("nan")


def present(series: Floats) -> Floats:
    """Return the series without missing scores."""
    return series[~np.isnan(series)]


def mean(series: Floats) -> float:
    """Return the mean."""
    return float(series.mean()) if len(series) else _NAN


def deviation(series: Floats) -> float:
    """Return the standard deviation with ddof 0, as in Numerai's own code; 0 for a single era."""
    return float(series.std()) if len(series) else _NAN


def sharpe(series: Floats) -> float:
    """Return mean over standard deviation, not annualized; NaN if all scores are equal."""
    if not len(series) or np.ptp(series) == 0:
        return _NAN
    return mean(series) / deviation(series)


def cumulative_drawdown(series: Floats) -> float:
    """Return the largest fall of the cumulative sum below its highest value so far, as a positive number."""
    if not len(series):
        return _NAN
    sums = np.cumsum(series)
    return float(np.max(np.maximum.accumulate(sums) - sums))


def compounded_drawdown(series: Floats) -> float:
    """Return the largest fall of compounded scores below their highest value so far, as a fraction of it: 0 or
    negative.
    """
    if not len(series):
        return _NAN
    values = np.cumprod(1 + series)
    highest = np.maximum.accumulate(values)
    return -float(np.max((highest - values) / highest))


def apy(series: Floats) -> float:
    """Return the yield of a year in percent, for scores clipped to ±0.25 and compounded over 49 weeks."""
    if not len(series):
        return _NAN
    growth = float(np.exp(np.mean(np.log1p(np.clip(series, -_CLIP, _CLIP)))))
    return (growth**_WEEKS - 1) * 100


def autocorrelation(series: Floats) -> float:
    """Return Pearson's correlation of each era's score with the next; NaN for fewer than three eras."""
    if len(series) < 3 or np.ptp(series[:-1]) == 0 or np.ptp(series[1:]) == 0:
        return _NAN
    return float(np.corrcoef(series[:-1], series[1:])[0, 1])


def adjusted_sharpe(series: Floats) -> float:
    """Return Sharpe over its autocorrelation penalty, sqrt(1 + 2 sum((n - i) / n * abs(r)**i)), i from 1 to n - 1."""
    rho = abs(autocorrelation(series))
    if np.isnan(rho):
        return _NAN
    lags = np.arange(1, len(series))
    penalty = np.sqrt(1 + 2 * np.sum((len(series) - lags) / len(series) * rho**lags))
    return sharpe(series) / float(penalty)
