"""Random forests of any shape, and the plainest way to evaluate one."""

from dataclasses import replace

import numpy as np

from predictd.trees.forest import Forest


def random_forest(
    random: np.random.Generator,
    trees: int,
    most_leaves: int,
    *,
    depth: int = 1000,
    features: int = 12,
    low: int = 0,
    high: int = 4,
    outputs: int = 1,
    single: bool = False,
) -> Forest:
    """Trees of one to `most_leaves` leaves, grown at random leaves; some of their thresholds send all rows one way."""
    roots, feature, threshold, left, right, values = [], [], [], [], [], []

    def grow(place: tuple[list, int] | None, level: int) -> list:
        number = len(feature)
        if place is not None:
            place[0][place[1]] = number
        feature.append(random.integers(features))
        threshold.append(random.integers(low - 2, high + 2))
        left.append(None)
        right.append(None)
        return [(left, number, level + 1), (right, number, level + 1)]

    for _ in range(trees):
        leaves = int(random.integers(1, most_leaves + 1))
        roots.append(len(feature) if leaves > 1 else ~len(values))
        ends = grow(None, 0) if leaves > 1 else [([0], 0, 0)]
        while len(ends) < leaves:
            open_ends = [i for i, end in enumerate(ends) if end[2] < depth]
            if not open_ends:
                break
            chosen, number, level = ends.pop(int(random.choice(open_ends)))
            ends += grow((chosen, number), level)
        for array, number, _ in ends:
            array[number] = ~len(values)
            values.append(np.float32(random.normal()) if single else random.normal())

    def integers(of: list) -> np.ndarray:
        return np.array(of, dtype=np.int32)

    return Forest(
        features=features,
        low=low,
        high=high,
        roots=integers(roots),
        outputs_of=integers(random.integers(outputs, size=trees)),
        feature=integers(feature),
        threshold=integers(threshold),
        left=integers(left),
        right=integers(right),
        values=np.array(values, dtype=np.float64),
        start=random.normal(size=outputs).astype(np.float32).astype(np.float64),
        single=single,
    )


def chain(leaves: int) -> Forest:
    """One tree in which each node has a leaf on one side."""
    nodes = np.arange(leaves - 1, dtype=np.int32)
    below = np.append(nodes[1:], ~(leaves - 1)).astype(np.int32)
    forest = random_forest(np.random.default_rng(0), 1, 1, low=-128, high=127)
    return replace(
        forest,
        roots=np.zeros(1, dtype=np.int32),
        feature=nodes % 12,
        threshold=(nodes * 7 % 250 - 125).astype(np.int32),
        left=np.where(nodes % 2 == 0, ~nodes, below),
        right=np.where(nodes % 2 == 0, below, ~nodes),
        values=np.arange(leaves, dtype=np.float64) / 3,
    )


def random_matrix(random: np.random.Generator, forest: Forest, rows: int) -> np.ndarray:
    """int8 [features, rows] within the forest's range."""
    return random.integers(forest.low, forest.high + 1, size=(forest.features, rows)).astype(np.int8)


def walked(forest: Forest, matrix: np.ndarray) -> np.ndarray:
    """The sums [rows, outputs], each row taken down each tree."""
    rows = np.arange(matrix.shape[1])
    kind = np.float32 if forest.single else np.float64
    sums = np.tile(forest.start.astype(kind), (len(rows), 1))
    for root, output in zip(forest.roots, forest.outputs_of, strict=True):
        at = np.full(len(rows), root)
        while (at >= 0).any():
            node = np.maximum(at, 0)
            goes_left = matrix[forest.feature[node], rows] <= forest.threshold[node]
            at = np.where(at >= 0, np.where(goes_left, forest.left[node], forest.right[node]), at)
        sums[:, output] += forest.values.astype(kind)[~at]
    return sums
