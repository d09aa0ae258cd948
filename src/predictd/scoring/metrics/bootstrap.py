"""Confidence intervals of differences: a block bootstrap over eras, because neighboring eras are similar.

Targets of neighboring eras overlap, and markets persist. So whole blocks of consecutive eras are drawn, the same for
both models: an effect of an era on both models does not change their difference.
"""

import math
from collections.abc import Callable

import numpy as np

from predictd.scoring.metrics.ranks import Floats, Integers

SAMPLES = 2000
MIN_BLOCK = 4
"""Eras that overlap with a target of 20 days, the gap that Numerai recommends between training and validation."""
_MIN_ERAS = 20
_MIN_BLOCKS = 3
CONFIDENCE = 0.95
_QUANTILE = 1.959964
"""The quantile of the normal distribution for that confidence."""


def block_length(eras: int) -> int:
    """Return the eras in a block: twice the cube root of their number, rounded up, but at least MIN_BLOCK."""
    double = round(math.cbrt(8 * eras))
    return max(MIN_BLOCK, double + (double**3 < 8 * eras))


def min_eras(block: int) -> int:
    """Return the eras required for an interval; with fewer it would be too narrow."""
    return max(_MIN_ERAS, _MIN_BLOCKS * block)


def draws(eras: int, block: int, samples: int, seed: int) -> Integers:
    """Return the era indices of each sample, shape (samples, eras): blocks, the last of which is truncated.

    The bootstrap is circular, so that each era is drawn equally often.
    """
    starts = np.random.default_rng(seed).integers(eras, size=(samples, math.ceil(eras / block)))
    numbers = (starts[:, :, None] + np.arange(block)) % eras
    return np.asarray(numbers.reshape(samples, -1)[:, :eras], dtype=np.intp)


def means(samples: Floats) -> Floats:
    """Return the mean of each sample, shape (samples,)."""
    return np.asarray(samples.mean(axis=1))


def sharpes(samples: Floats) -> Floats:
    """Return mean over standard deviation (ddof 0) of each sample, shape (samples,); NaN if all values are equal."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = samples.mean(axis=1) / samples.std(axis=1)
    return np.where(np.ptp(samples, axis=1) == 0, np.nan, ratios)


def interval(
    base: Floats, other: Floats, of: Callable[[Floats], Floats], rows: Integers, block: int
) -> tuple[float, float] | None:
    """Return the 95% confidence interval of the difference of a statistic, other minus base.

    `base` and `other` are scores of the same eras, `rows` the result of `draws` for them. Returns None if no sample has
    a value.
    """
    differences = of(other[rows]) - of(base[rows])
    present = differences[~np.isnan(differences)]
    if not len(present):
        return None
    low, high = np.quantile(present, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    middle = float((of(other[None]) - of(base[None]))[0])
    wider = widening(len(base) / block)
    return middle + (float(low) - middle) * wider, middle + (float(high) - middle) * wider


def widening(blocks: float) -> float:
    """Return the factor that corrects an interval of few blocks: Student's quantile over the normal, and ddof 0 to 1.

    Student's quantile has one degree of freedom less than there are blocks. It comes from Fisher's expansion, which is
    accurate to 4% for 2 degrees of freedom and to 0.3% for 4 or more.
    """
    z, freedom = _QUANTILE, blocks - 1
    student = (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
    return math.sqrt(blocks / freedom) * student / z
