"""Series as a line of blocks."""

import numpy as np

from predictd.reports.report import Floats

_BLOCKS = "▁▂▃▄▅▆▇█"
_NOTHING = "·"


def sparkline(values: Floats, width: int = 60, *, low: float | None = None, high: float | None = None) -> str:
    """A character for each value, from `low` to `high` (of all values by default), a dot where there is none.

    More than `width` values are taken together, each character being the mean of its own.
    """
    if not len(values):
        return ""
    parts = [part[~np.isnan(part)] for part in np.array_split(values, min(width, len(values)))]
    means = [float(part.mean()) if len(part) else None for part in parts]
    known = [mean for mean in means if mean is not None]
    if not known:
        return _NOTHING * len(parts)
    low = min(known) if low is None else low
    high = max(known) if high is None else high
    return "".join(_NOTHING if mean is None else _block(mean, low, high) for mean in means)


def _block(value: float, low: float, high: float) -> str:
    if not high > low:
        return _BLOCKS[len(_BLOCKS) // 2]
    share = (value - low) / (high - low)
    return _BLOCKS[min(max(int(share * len(_BLOCKS)), 0), len(_BLOCKS) - 1)]
