"""Convert a library's single list of nodes and leaves to the numbering of a `Forest`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import UnsupportedModelError
from .forest import HIGHEST, LOWEST, Forest

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray


def forest_of_nodes(
    *,
    features: int,
    roots: NDArray[Any],
    feature: NDArray[Any],
    threshold: NDArray[Any],
    left: NDArray[Any],
    right: NDArray[Any],
    values: NDArray[Any],
    start: NDArray[numpy.float64],
    outputs_of: NDArray[numpy.int32] | None = None,
    single: bool = False,
) -> Forest:
    """Return a forest from a list of nodes that all its trees share.

    roots: first node of each tree, in the order of their sums. feature, threshold: of each node; values up to and
    equal to the threshold (any float) go left. left, right: the number of a node, left < 0 at a leaf. values: [nodes]
    with `outputs_of`, else [nodes, outputs], where every tree adds to every output; only those of leaves count.
    Unreachable nodes are dropped. Raises UnsupportedModelError if the nodes do not form trees.
    """
    import numpy as np  # noqa: PLC0415

    used = _reached(roots, left, right)
    inner = np.flatnonzero(used & (left >= 0))
    leaves = np.flatnonzero(used & (left < 0))
    number = np.empty(len(left), np.int32)
    number[inner] = np.arange(len(inner), dtype=np.int32)
    number[leaves] = ~np.arange(len(leaves), dtype=np.int32)
    outputs = len(start) if outputs_of is None else 1

    def copies(numbers: NDArray[numpy.int32]) -> NDArray[numpy.int32]:
        """Return these nodes and leaves in a copy of the trees for each output."""
        step = np.where(numbers < 0, -len(leaves), len(inner)).astype(np.int32)
        return np.concatenate([numbers + copy * step for copy in range(outputs)])

    return Forest(
        features=features,
        low=LOWEST,
        high=HIGHEST,
        roots=copies(number[roots]),
        outputs_of=np.repeat(np.arange(outputs, dtype=np.int32), len(roots)) if outputs_of is None else outputs_of,
        feature=np.tile(feature[inner].astype(np.int32), outputs),
        threshold=np.tile(np.clip(np.floor(threshold[inner]), LOWEST - 1, HIGHEST).astype(np.int32), outputs),
        left=copies(number[left[inner]]),
        right=copies(number[right[inner]]),
        values=values[leaves].astype(np.float64).ravel(order="F"),
        start=start,
        single=single,
    )


def _reached(roots: NDArray[Any], left: NDArray[Any], right: NDArray[Any]) -> NDArray[numpy.bool_]:
    """Return which nodes the trees reach. Raises UnsupportedModelError if there is no tree, or two paths to a node."""
    import numpy as np  # noqa: PLC0415

    reached = np.zeros(len(left), bool)
    level, count = np.asarray(roots, np.int64), 0
    while len(level):
        if level.min() < 0 or level.max() >= len(left) or reached[level].any():
            raise UnsupportedModelError("nodes that do not form trees")
        reached[level] = True
        count += len(level)
        inner = level[left[level] >= 0]
        level = np.concatenate([left[inner], right[inner]])
    if not count or np.count_nonzero(reached) != count:
        raise UnsupportedModelError("no trees, or trees that share nodes")
    return reached
