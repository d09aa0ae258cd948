"""An ensemble of trees over small integers: the form that adapters of libraries create and the compiler reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LOWEST, HIGHEST = -128, 127  # the range of int8


@dataclass(frozen=True, kw_only=True)
class Forest:
    """Trees whose values are added strictly in order, separately for each output.

    A node sends a row left if its value is `<= threshold`; adapters convert `<` and fractions to this form (for
    integers `x <= 2.5` is `x <= 2`, `x < 2.5` is `x <= 2`, `x < 2` is `x <= 1`). Thresholds outside `low..high` are
    allowed: they send every row the same way. Each node and leaf is reached from exactly one root, exactly once. Arrays
    may have any layout; the compiler copies them.
    """

    features: int
    """The number of columns that the model expects."""
    low: int
    """The smallest input value; every value must be an integer in low..high, within -128..127."""
    high: int
    """The largest input value."""
    roots: NDArray[np.int32]
    """[trees] The first node of each tree, or ~leaf for a tree of one leaf."""
    outputs_of: NDArray[np.int32]
    """[trees] The output that each tree adds to."""
    feature: NDArray[np.int32]
    """[nodes] The column that a node tests."""
    threshold: NDArray[np.int32]
    """[nodes] A row goes left if its value is <= threshold."""
    left: NDArray[np.int32]
    """[nodes] >= 0: a node, < 0: ~leaf."""
    right: NDArray[np.int32]
    """[nodes] >= 0: a node, < 0: ~leaf."""
    values: NDArray[np.float64]
    """[leaves] The value that a leaf adds. With `single` each must be representable as float32."""
    start: NDArray[np.float64]
    """[outputs] The start of each sum."""
    single: bool
    """Whether sums are computed in float32 (as in XGBoost) instead of float64."""
