"""How far a difference can be chance: bootstrap by blocks of eras, because eras that are near are alike.

Targets of neighbouring eras overlap, and markets stay as they are for a while. So whole blocks of consecutive eras are
drawn, and of both models the same: what an era does to both leaves their difference alone.
"""

import math
from collections.abc import Callable

import numpy as np

from predictd.scoring.metrics.ranks import Floats, Integers

SAMPLES = 2000
SHORTEST_BLOCK = 4
"""Eras that a target of 20 days overlaps with: as many as Numerai says to leave out between training and validation."""
_FEWEST_ERAS = 20
_FEWEST_BLOCKS = 3
CONFIDENCE = 0.95
_QUANTILE = 1.959964
"""Of the normal distribution, for that confidence."""


def block_length(eras: int) -> int:
    """Eras of a block: twice the cube root of their number, rounded up, but no fewer than SHORTEST_BLOCK."""
    double = round(math.cbrt(8 * eras))
    return max(SHORTEST_BLOCK, double + (double**3 < 8 * eras))


def fewest_eras(block: int) -> int:
    """Of fewer eras there is no interval: it would claim more than it knows."""
    return max(_FEWEST_ERAS, _FEWEST_BLOCKS * block)


def draws(eras: int, block: int, samples: int, seed: int) -> Integers:
    """Numbers of the eras of each sample, shape (samples, eras): blocks, of which the last one is cut.

    The first era follows the last (a circular bootstrap), so that each era is drawn as often as any other.
    """
    starts = np.random.default_rng(seed).integers(eras, size=(samples, math.ceil(eras / block)))
    numbers = (starts[:, :, None] + np.arange(block)) % eras
    return np.asarray(numbers.reshape(samples, -1)[:, :eras], dtype=np.intp)


def means(samples: Floats) -> Floats:
    """The mean of each sample, shape (samples,)."""
    return np.asarray(samples.mean(axis=1))


def sharpes(samples: Floats) -> Floats:
    """Mean over standard deviation (ddof 0) of each sample, shape (samples,); NaN where all values are equal."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found = samples.mean(axis=1) / samples.std(axis=1)
    return np.where(np.ptp(samples, axis=1) == 0, np.nan, found)


def interval(
    base: Floats, other: Floats, of: Callable[[Floats], Floats], rows: Integers, block: int
) -> tuple[float, float] | None:
    """Where the difference of a statistic, other less base, lies with 95 % confidence.

    `base` and `other` are scores of the same eras, `rows` what `draws` gave for them and the length of a block. None if
    no sample has a value.
    """
    differences = of(other[rows]) - of(base[rows])
    known = differences[~np.isnan(differences)]
    if not len(known):
        return None
    low, high = np.quantile(known, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    middle = float((of(other[None]) - of(base[None]))[0])
    wider = widening(len(base) / block)
    return middle + (float(low) - middle) * wider, middle + (float(high) - middle) * wider


def widening(blocks: float) -> float:
    """By how much so few blocks make an interval too narrow: Student's quantile over the normal, and ddof 0 for 1.

    Student's quantile has as many degrees of freedom as there are blocks, less one. It comes from Fisher's expansion in
    their inverse, which is right to 4 % for 2 of them and to 0.3 % for 4 and more.
    """
    z, free = _QUANTILE, blocks - 1
    student = (
        z
        + (z**3 + z) / (4 * free)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * free**3)
    )
    return math.sqrt(blocks / free) * student / z
