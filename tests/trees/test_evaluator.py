"""Sums by compiled trees are those of walking the trees, bit for bit, on every path of this machine."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from forests import chain, random_forest, random_matrix, walked

from predictd.trees import UnsupportedModelError, native
from predictd.trees.compiled import compile_forest
from predictd.trees.evaluator import Evaluator
from predictd.trees.matrix import small_integers

SHAPES = {
    "stumps and single leaves": {"trees": 40, "most_leaves": 3},
    "depth 5": {"trees": 30, "most_leaves": 32, "depth": 5},
    "31 leaves of any depth": {"trees": 70, "most_leaves": 31},
    "around the limit of small trees": {"trees": 30, "most_leaves": 40},
    "depth 10": {"trees": 4, "most_leaves": 1024, "depth": 10},
    "hundreds of leaves of any depth": {"trees": 8, "most_leaves": 700},
    "several outputs": {"trees": 60, "most_leaves": 50, "outputs": 5},
    "the whole range of int8": {"trees": 20, "most_leaves": 300, "low": -128, "high": 127},
    "many features": {"trees": 50, "most_leaves": 31, "features": 3000},
    "no trees": {"trees": 0, "most_leaves": 1, "outputs": 2},
}


@pytest.mark.parametrize("path", native.paths())
@pytest.mark.parametrize("single", [False, True], ids=["float64", "float32"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_sums_are_those_of_walking_the_trees(shape, single, path):
    random = np.random.default_rng(len(str(shape)))
    for rows in (1, 511, 1300):
        forest = random_forest(random, **shape, single=single)
        evaluator = Evaluator(compile_forest(forest), path=path)
        matrix = random_matrix(random, forest, rows)
        expected = walked(forest, matrix)
        found = evaluator.sums(matrix)
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        assert np.ascontiguousarray(found).tobytes() == expected.tobytes()
        by_rows = np.ascontiguousarray(matrix.T).T
        assert np.ascontiguousarray(evaluator.sums(by_rows)).tobytes() == expected.tobytes()


@pytest.mark.parametrize("path", native.paths())
def test_a_tree_as_deep_as_it_has_leaves(path):
    forest = chain(2000)
    matrix = random_matrix(np.random.default_rng(1), forest, 600)
    assert (Evaluator(compile_forest(forest), path=path).sums(matrix) == walked(forest, matrix)).all()


def test_more_rows_than_fit_the_cache_at_once():
    random = np.random.default_rng(2)
    forest = random_forest(random, 5, 31, low=-50, high=50)
    matrix = random_matrix(random, forest, 20_000)
    assert (Evaluator(compile_forest(forest)).sums(matrix) == walked(forest, matrix)).all()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"left": np.zeros(1, dtype=np.int32)}, "reached twice"),
        ({"right": np.array([~9], dtype=np.int32)}, "out of range"),
        ({"right": np.array([7], dtype=np.int32)}, "out of range"),
        ({"right": np.array([~0], dtype=np.int32)}, "reached twice"),
        ({"feature": np.array([2], dtype=np.int32)}, "out of range"),
        ({"outputs_of": np.array([1], dtype=np.int32)}, "output"),
        ({"low": -129}, "range of input values"),
        ({"features": 0}, "features"),
        ({"threshold": np.zeros(2, dtype=np.int32)}, "different lengths"),
    ],
)
def test_what_is_no_forest_is_refused(change, reason):
    forest = replace(
        random_forest(np.random.default_rng(0), 1, 1, features=2),
        roots=np.zeros(1, dtype=np.int32),
        feature=np.zeros(1, dtype=np.int32),
        threshold=np.ones(1, dtype=np.int32),
        left=np.array([~0], dtype=np.int32),
        right=np.array([~1], dtype=np.int32),
        values=np.array([1.0, 2.0]),
    )
    compile_forest(forest)
    with pytest.raises(UnsupportedModelError, match=reason):
        compile_forest(replace(forest, **change))


def test_a_tree_of_too_many_leaves_is_refused():
    with pytest.raises(UnsupportedModelError, match="65,536 leaves"):
        compile_forest(chain(65_537))


TYPES = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8"]


@pytest.mark.parametrize("kind", TYPES)
def test_whole_numbers_of_any_type_and_layout_are_small_integers(kind):
    whole = np.random.default_rng(3).integers(0, 5, size=(700, 9))
    for values in (
        whole.astype(kind),
        np.asfortranarray(whole.astype(kind)),
        np.repeat(whole, 3, 1).astype(kind)[:, ::3],
    ):
        for data in (values, pd.DataFrame(values)):
            found = small_integers(data, 9, 0, 4)
            assert found is not None
            assert found.dtype == np.int8
            assert (found == whole.T).all()


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("wrong", [5, -1, 127, 300, 2.5, float("nan"), float("inf"), 2**40, 256, -(2.0**63)])
def test_anything_else_is_not(kind, wrong):
    with np.errstate(invalid="ignore"):
        value = np.array([wrong]).astype(kind)[0]
    if value != wrong and kind not in ("f4", "f8"):
        return  # the type does not hold it
    for order in ("C", "F"):
        values = np.ones((700, 9), dtype=kind, order=order)
        assert small_integers(values, 9, 0, 4) is not None
        values[650, 7] = value
        assert small_integers(values, 9, 0, 4) is None
        assert small_integers(pd.DataFrame(values), 9, 0, 4) is None


def test_other_data_is_left_to_the_library():
    good = np.ones((5, 3), dtype=np.int8)
    frame = pd.DataFrame(good)
    assert small_integers(frame, 3, 0, 4) is not None
    for data in (
        good[:, :2],
        good[:0],
        good[0],
        good.tolist(),
        good.astype(object),
        good.astype(">i2"),
        np.ma.masked_array(good),
        frame.astype({0: "category"}),
        frame.astype("Int8"),
        frame.astype({1: object}),
    ):
        assert small_integers(data, 3, 0, 4) is None
    assert small_integers(frame.astype({0: "float32", 1: "int64"}), 3, 0, 4) is not None


def test_a_frame_over_one_block_of_int8_is_not_copied():
    block = np.ones((3, 5), dtype=np.int8)
    found = small_integers(pd.DataFrame(block.T, copy=False), 3, -128, 127)
    assert found is not None
    assert np.shares_memory(found, block)
