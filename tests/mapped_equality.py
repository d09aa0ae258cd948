"""Whether mapped files give what `pandas.read_parquet` gives; also run as a program inside the runtimes.

As a program: one argument per pair of files, the parquet file and the mapped one joined by a colon.
"""

import copy
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from predictd.runner.mapped import MappedTable, open_table
from predictd.runner.predictions import iterate_eras


def read(source: int | Path) -> pd.DataFrame:
    """All rows of a mapped file or a parquet file."""
    table = open_table(source)
    return table.whole() if isinstance(table, MappedTable) else table


def assert_same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Values, dtypes, columns, index, names and attributes, exactly."""
    pd.testing.assert_frame_equal(
        found, expected, check_exact=True, check_index_type="exact", check_column_type="exact"
    )
    assert type(found) is type(expected)
    assert type(found.index) is type(expected.index)
    assert type(found.columns) is type(expected.columns)
    assert [str(one) for one in found.dtypes] == [str(one) for one in expected.dtypes]
    assert found.columns.dtype == expected.columns.dtype
    assert found.index.names == expected.index.names
    assert found.columns.names == expected.columns.names
    assert found.attrs == expected.attrs


def assert_equal_to_parquet(parquet: Path, mapped: Path) -> None:
    """The whole, the eras, and the errors, if pandas refuses the file."""
    try:
        expected = pd.read_parquet(parquet)
    except Exception as error:
        try:
            read(mapped)
        except type(error):
            return
        raise AssertionError(f"pandas raised {error!r}") from error
    assert_same(read(mapped), expected)
    assert_same(read(os.open(mapped, os.O_RDONLY)), expected)
    assert_same_calls([open_table(mapped)], [expected])
    table = open_table(mapped)
    blocks = [table.block(number) for number in range(len(table))] if isinstance(table, MappedTable) else [table]
    assert sum(map(len, blocks)) == len(expected)


def assert_same_calls(found: list[Any], expected: list[Any]) -> None:
    """The arguments of each call of a model, from mapped tables and from DataFrames."""
    left, right = iterate_eras(found), iterate_eras(expected)
    for arguments in right:
        for one, other in zip(next(left), arguments, strict=True):
            assert_same(one, other)
    assert next(left, None) is None


def assert_ordinary(mapped: Path) -> None:
    """What people do to their live features works, stays theirs, and leaves the file as it was."""
    before = mapped.read_bytes()
    frame, untouched = read(mapped), read(mapped)
    features = [name for name in frame.columns if name.startswith("feature_")]
    values = frame[features].to_numpy().copy()
    assert frame.iloc[3:5][features[:42]].shape == (2, 42)
    assert (frame.groupby("era")[features[0]].sum() == untouched.groupby("era")[features[0]].sum()).all()
    assert_same(pickle.loads(pickle.dumps(frame)), frame)
    assert_same(copy.deepcopy(frame), frame)
    frame["x"] = 1.5
    frame.loc[frame.index[0], features[0]] = 7
    frame.iloc[1, frame.columns.get_loc(features[1])] = 8
    frame.loc[:, features[2]] = np.int8(9)
    frame[features[3]] += 1
    frame["era"] = "0000"
    frame.index = [f"other{row}" for row in range(len(frame))]
    assert frame.iloc[0][features[0]] == 7
    assert frame.iloc[1][features[1]] == 8
    assert (frame[features[2]] == 9).all()
    assert (untouched[features].to_numpy() == values).all()
    only_features = read(mapped)[features]
    if only_features.to_numpy().flags.writeable:  # pandas 2
        only_features.values[:] = 1
        assert (only_features == 1).all(axis=None)
    assert mapped.read_bytes() == before


if __name__ == "__main__":
    for pair in sys.argv[1:]:
        parquet_file, mapped_file = map(Path, pair.split(":"))
        assert_equal_to_parquet(parquet_file, mapped_file)
        if parquet_file.name == "live.parquet":
            assert_ordinary(mapped_file)
    print("equal in pandas", pd.__version__)
