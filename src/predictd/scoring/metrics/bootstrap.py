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
FEWEST_ERAS = 5 * SHORTEST_BLOCK
"""Of fewer eras there are no five blocks, and an interval would claim more than it knows."""
CONFIDENCE = 0.95


def block_length(eras: int) -> int:
    """Eras of a block: the cube root of their number, rounded up, but no fewer than SHORTEST_BLOCK."""
    root = round(math.cbrt(eras))
    return max(SHORTEST_BLOCK, root + (root**3 < eras))


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


def interval(base: Floats, other: Floats, of: Callable[[Floats], Floats], rows: Integers) -> tuple[float, float] | None:
    """Where the difference of a statistic, other less base, lies with 95 % confidence.

    `base` and `other` are scores of the same eras, `rows` what `draws` gave for them. None if no sample has a value.
    """
    differences = of(other[rows]) - of(base[rows])
    known = differences[~np.isnan(differences)]
    if not len(known):
        return None
    low, high = np.quantile(known, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
