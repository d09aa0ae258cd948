"""An ensemble of trees over small integers, in the form that every library's adapter makes and the compiler reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LOWEST, HIGHEST = -128, 127  # what an int8 holds


@dataclass(frozen=True, kw_only=True)
class Forest:
    """Trees whose values are added up strictly in their order, for each output on its own.

    A node sends a row left if its value is `<= threshold`; adapters bring `<` and fractions into this form (for
    integers `x <= 2.5` is `x <= 2`, `x < 2.5` is `x <= 2`, `x < 2` is `x <= 1`). Thresholds outside `low..high` are
    allowed: they send every row the same way. Every tree's nodes and leaves are reached from its root exactly once; no
    two trees share a node or a leaf. Arrays may be of any layout; the compiler copies them.
    """

    features: int
    """How many columns the model expects."""
    low: int
    """The smallest input value; every value must be an integer in low..high, within -128..127."""
    high: int
    """The largest input value."""
    roots: NDArray[np.int32]
    """[trees] The first node of each tree, or ~leaf for a tree of one leaf."""
    outputs_of: NDArray[np.int32]
    """[trees] Which output each tree adds to."""
    feature: NDArray[np.int32]
    """[nodes] The column that a node looks at."""
    threshold: NDArray[np.int32]
    """[nodes] A row goes left if its value is <= threshold."""
    left: NDArray[np.int32]
    """[nodes] >= 0: a node, < 0: ~leaf."""
    right: NDArray[np.int32]
    """[nodes] >= 0: a node, < 0: ~leaf."""
    values: NDArray[np.float64]
    """[leaves] What a leaf adds. With `single` each must be a float32's value."""
    start: NDArray[np.float64]
    """[outputs] What each sum starts from."""
    single: bool
    """Whether sums are made in float32 (as XGBoost does); else in float64."""
