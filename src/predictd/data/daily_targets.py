"""Targets of synthetic live data before they are final, as a market would show them from day to day."""

import numpy as np
from numpy.typing import NDArray

from predictd.data.generator import binned

Floats = NDArray[np.float64]

_STREAM = 3


def interim_targets(final: Floats, *, day: int, days: int, seed: int) -> Floats:
    """What is known of the targets on one of the days 1 to `days`; on the last of them, the final ones.

    They are as far from the final ones as a random walk is from its end: the correlation with these grows with the root
    of day / days. They take the same values, 0 to 1 in quarters, in the usual shares. `seed` names the round; the same
    seed gives the same path.
    """
    if day >= days:
        return final
    rng = np.random.default_rng([seed, _STREAM])
    # One step for each day, the sum of which is pinned to the final score: a random walk that ends where it should.
    end = final - final.mean() + 0.05 * rng.standard_normal(len(final))
    end /= max(float(end.std()), 1e-12)
    steps = rng.standard_normal((days, len(final)))
    walk = np.cumsum(steps, axis=0) / np.sqrt(days)
    share = day / days
    return np.asarray(binned(share * end + (walk[day - 1] - share * walk[-1])), dtype=np.float64)
