"""Mapped data: what a run reads from it is what pandas reads from the parquet file, and the cache of mapped files."""

import os
import shutil
import subprocess
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import ROOT, RUNTIMES
from mapped_equality import assert_equal_to_parquet, assert_ordinary, assert_same, assert_same_calls, read
from predictd.data import PLANS, generate
from predictd.data.mapped_cache import MappedCache
from predictd.data.mapping import is_mapped, map_parquet
from predictd.domain.errors import InvalidInputError
from predictd.runner.mapped import open_table
from predictd.runner.predictions import iterate_eras


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic data version of full width, with the mapped file of each parquet file beside it."""
    folder = tmp_path_factory.mktemp("mapped") / "v5.3"
    generate(folder, replace(PLANS["tiny"], validation_eras=5, row_group_rows=400), lambda file, share: None)
    for path in folder.glob("*.parquet"):
        map_parquet(path, path.with_suffix(".map"))
    return folder


ROWS = 12
IDS = pd.Index([f"n{row:02d}" for row in range(ROWS)], name="id")
ERAS = ["0003"] * 4 + ["0001"] * 3 + ["0003"] * 2 + ["0002"] * 3


def numbers(**more: Any) -> pd.DataFrame:
    """A small table of an era, two int8 columns and a float, and what else is asked for."""
    columns = {
        "era": ERAS,
        "feature_a": np.arange(ROWS, dtype=np.int8),
        "feature_b": np.arange(ROWS, dtype=np.int8)[::-1].copy(),
        "target": np.linspace(0, 1, ROWS, dtype=np.float32),
    }
    return pd.DataFrame(columns | more, index=IDS)


def with_attrs(frame: pd.DataFrame) -> pd.DataFrame:
    frame.attrs = {"source": "here", "scale": [1, 2]}
    return frame


MISSING = np.where(np.arange(ROWS) % 3, np.arange(ROWS), np.nan)
TABLES: dict[str, pd.DataFrame] = {
    "eras in no order": numbers(),
    "eras in order": numbers(era=sorted(ERAS)),
    "eras as numbers": numbers(era=[int(era) for era in ERAS]),
    "eras as categories": numbers(era=pd.Categorical(ERAS, categories=["0003", "0002", "0001"])),
    "eras missing": numbers(era=[None, *ERAS[1:]]),
    "no eras": numbers().drop(columns="era"),
    "a null in the floats": numbers(target=MISSING.astype(np.float32)),
    "nullable": numbers(nullable=pd.array([None, *range(1, ROWS)], "Int8"), flag=pd.array([True] * ROWS, "boolean")),
    "texts": numbers(text=[None, *"abcdefghijk"], data_type=["live"] * ROWS),
    "categories": numbers(group=pd.Categorical(list("cabcabcabcab"), ordered=True)),
    "truths": numbers(flag=[True, False] * (ROWS // 2), maybe=[True, None] * (ROWS // 2)),
    "times": numbers(
        day=pd.date_range("2024-01-01", periods=ROWS),
        zone=pd.date_range("2024-01-01", periods=ROWS, tz="Europe/Paris"),
        took=pd.to_timedelta(np.arange(ROWS), unit="s"),
    ),
    "all numbers": numbers(
        **{
            kind: np.arange(ROWS).astype(kind)
            for kind in ("int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float64")
        }
    ),
    "lists": numbers(names=[["a"], ["b", "c"]] * (ROWS // 2)),
    "periods": numbers(month=pd.period_range("2024-01", periods=ROWS, freq="M")),
    "range index": numbers().reset_index(drop=True),
    "named range index": numbers().set_index(pd.RangeIndex(5, 5 + 3 * ROWS, 3, name="row")),
    "index of numbers": numbers().set_index(pd.Index(np.arange(ROWS)[::-1], name="row")),
    "index of two levels": numbers(level=ERAS).set_index("level", append=True),
    "index without a name": numbers().rename_axis(index=None),
    "columns with a name": numbers().rename_axis(columns="kind"),
    "columns as numbers": numbers().drop(columns="era").set_axis([1, 2, 3], axis=1),
    "columns of two levels": numbers().set_axis(pd.MultiIndex.from_product([["x", "y"], ["a", "b"]]), axis=1),
    "dots in names": numbers(**{"feature": np.ones(ROWS, np.int8), "feature.a": np.zeros(ROWS, np.int8)}),
    "nothing but features": numbers()[["feature_a", "feature_b"]].reset_index(drop=True),
    "no numbers": numbers()[["era"]],
    "no rows": numbers().iloc[:0],
    "attributes": with_attrs(numbers()),
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parquet and mapped file of each of `TABLES`, in row groups that end within eras, and some of Arrow's own."""
    folder = tmp_path_factory.mktemp("tables")
    for name, frame in TABLES.items():
        frame.to_parquet(folder / f"{name}.parquet", row_group_size=5)
    arrow = {
        "a null in whole numbers": pa.table({"feature_a": pa.array([1, 2, None], pa.int8()), "b": [1, 2, 3]}),
        "same name twice": pa.table([pa.array([1, 2]), pa.array([3, 4])], names=["a", "a"]),
        "no metadata": pa.table({"era": ["2", "1", "1"], "a": pa.array([1, 2, 3], pa.int8())}),
        "no columns": pa.table({}),
    }
    for name, table in arrow.items():
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=2)
    for path in folder.glob("*.parquet"):
        map_parquet(path, path.with_suffix(".map"))
    return folder


@pytest.mark.parametrize("name", [*TABLES, "a null in whole numbers", "same name twice", "no metadata", "no columns"])
def test_any_table_reads_back_as_pandas_reads_its_parquet_file(tables: Path, name: str) -> None:
    assert is_mapped(tables / f"{name}.map")
    assert_equal_to_parquet(tables / f"{name}.parquet", tables / f"{name}.map")


def test_the_files_of_a_data_version_read_back_as_pandas_reads_them(version: Path) -> None:
    for path in version.glob("*.parquet"):
        assert_equal_to_parquet(path, path.with_suffix(".map"))
    assert_ordinary(version / "live.map")


def test_files_are_equal_in_the_pandas_of_each_runtime(version: Path, tables: Path) -> None:
    pythons = sorted(RUNTIMES.glob("numerai_predict_py_*/bin/python"))
    if not pythons:
        pytest.skip("no runtime is built")
    pairs = [f"{path}:{path.with_suffix('.map')}" for folder in (version, tables) for path in folder.glob("*.parquet")]
    for python in pythons:
        subprocess.run(
            [python, ROOT / "tests" / "mapped_equality.py", *pairs], check=True, env={"PYTHONPATH": str(ROOT / "src")}
        )


KINDS = st.sampled_from(["int8", "int64", "uint16", "float32", "float64", "bool", "str", "Int8", "datetime64[ns]"])


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    rows = draw(st.integers(0, 12))
    columns: dict[str, Any] = {}
    for number, kind in enumerate(draw(st.lists(KINDS, max_size=6))):
        values = draw(st.lists(st.integers(0, 100), min_size=rows, max_size=rows))
        columns[f"c{number}"] = pd.Series(values, dtype="int64").astype(kind)
        if kind in ("float32", "str", "Int8") and rows:
            columns[f"c{number}"] = columns[f"c{number}"].mask(pd.Series(values) % 3 == 0)
    if draw(st.booleans()):
        columns["era"] = draw(st.lists(st.sampled_from(["a", "b", "ä", "10", "9"]), min_size=rows, max_size=rows))
    order = draw(st.permutations(list(columns)))
    return pd.DataFrame(columns, index=pd.RangeIndex(rows))[order]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frame=frames(), group=st.integers(1, 5))
def test_random_tables_read_back_as_pandas_reads_them(tmp_path: Path, frame: pd.DataFrame, group: int) -> None:
    frame.to_parquet(tmp_path / "random.parquet", row_group_size=group)
    map_parquet(tmp_path / "random.parquet", tmp_path / "random.map")
    assert_equal_to_parquet(tmp_path / "random.parquet", tmp_path / "random.map")


@pytest.mark.parametrize("order", ["the same", "another", "some missing", "as a DataFrame", "another index name"])
def test_benchmarks_follow_the_features_era_by_era(tables: Path, tmp_path: Path, order: str) -> None:
    benchmarks = pd.DataFrame({"era": ERAS, "model": np.linspace(0, 1, ROWS)}, index=IDS)
    if order == "another":
        benchmarks = benchmarks[::-1]
    if order == "some missing":
        benchmarks = benchmarks.iloc[2:]
    if order == "another index name":
        benchmarks = benchmarks.rename_axis(index="row")
    benchmarks.to_parquet(tmp_path / "benchmarks.parquet")
    map_parquet(tmp_path / "benchmarks.parquet", tmp_path / "benchmarks.map")
    features = tables / "eras in no order.parquet"
    second = tmp_path / ("benchmarks.parquet" if order == "as a DataFrame" else "benchmarks.map")
    assert_same_calls(
        [open_table(features.with_suffix(".map")), open_table(second)],
        [pd.read_parquet(features), pd.read_parquet(tmp_path / "benchmarks.parquet")],
    )


def test_of_many_eras_one_is_mapped_at_a_time(version: Path) -> None:
    def maps() -> int:
        lines = Path("/proc/self/maps").read_text().splitlines()
        return len([line for line in lines if "validation.map" in line and "rw-p" in line])

    def model(features: pd.DataFrame) -> str:
        features.loc[:, "target"] = 0.0
        cycle: list[Any] = [features]
        cycle.append(cycle)
        return str(features["era"].iloc[0])

    table = open_table(version / "validation.map")
    eras = []
    for arguments in iterate_eras([table]):
        eras.append(model(*arguments))
        assert maps() == 1
    assert maps() == 0
    assert eras == sorted(set(pd.read_parquet(version / "validation.parquet")["era"]))


def test_row_groups_of_any_size_give_the_same_file(
    version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pq.read_table(version / "validation.parquet")
    monkeypatch.setattr("predictd.data.mapping._BATCH_BYTES", 100_000)
    for rows in (97, 10**9):
        pq.write_table(table, tmp_path / f"{rows}.parquet", row_group_size=rows)
        map_parquet(tmp_path / f"{rows}.parquet", tmp_path / "again.map")
        assert_same(read(tmp_path / "again.map"), pd.read_parquet(version / "validation.parquet"))


def test_a_conversion_tells_how_far_it_is(version: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    map_parquet(version / "live.parquet", tmp_path / "live.map", lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] == PLANS["tiny"].live_rows * (2748 + 21)
    assert [path.name for path in tmp_path.iterdir()] == ["live.map"]


def test_what_is_no_parquet_file_is_refused_and_leaves_nothing(version: Path, tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("id,prediction\n")
    content = bytearray((version / "live.parquet").read_bytes())
    content[1000:40_000] = os.urandom(39_000)
    (tmp_path / "damaged.parquet").write_bytes(content)
    for name in ("text", "damaged"):
        with pytest.raises(InvalidInputError, match=f"{name}.parquet can't be"):
            map_parquet(tmp_path / f"{name}.parquet", tmp_path / "out" / "it.map")
    assert not list((tmp_path / "out").iterdir())


def path_in_cache(folder: Path, source: Path) -> Path:
    return MappedCache(folder=folder).path_of(source)


def test_processes_and_threads_convert_a_file_once(version: Path, tmp_path: Path) -> None:
    source = version / "live.parquet"
    with ProcessPoolExecutor(2) as processes, ThreadPoolExecutor(4) as threads:
        asked = [pool.submit(path_in_cache, tmp_path / "cache", source) for pool in [processes, threads] * 4]
        paths = {one.result() for one in asked}
    assert len(paths) == 1
    assert sorted(path.suffix for path in (tmp_path / "cache").iterdir()) == [".lock", ".map"]
    inode = paths.pop().stat().st_ino
    assert path_in_cache(tmp_path / "cache", source).stat().st_ino == inode


@pytest.mark.parametrize("damage", ["cut", "header", "empty", "partial"])
def test_a_damaged_mapped_file_is_made_anew(version: Path, tmp_path: Path, damage: str) -> None:
    cache = MappedCache(folder=tmp_path / "cache")
    path = cache.path_of(version / "live.parquet", "live of round 1")
    content = path.read_bytes()
    path.unlink()
    if damage == "partial":
        (path.parent / f".{path.name}.123.abc.partial").write_bytes(content[:5000])
    else:
        at = len(content) - 50
        damaged = {"cut": content[:-1], "header": content[:at] + b"?" + content[at + 1 :], "empty": b""}[damage]
        path.write_bytes(damaged)
    assert cache.path_of(version / "live.parquet", "live of round 1") == path
    assert_same(read(path), pd.read_parquet(version / "live.parquet"))
    assert not list(path.parent.glob(".*"))


def test_a_file_that_changed_is_converted_again(version: Path, tmp_path: Path) -> None:
    cache = MappedCache(folder=tmp_path / "cache")
    source = tmp_path / "live.parquet"
    shutil.copy(version / "live_benchmark_models.parquet", source)
    first = cache.path_of(source)
    shutil.copy(version / "live_example_preds.parquet", source)
    assert cache.path_of(source) != first
    assert_same(read(cache.path_of(source)), pd.read_parquet(source))


def test_a_full_cache_removes_what_was_used_longest_ago_and_nothing_in_use(version: Path, tmp_path: Path) -> None:
    cache = MappedCache(folder=tmp_path / "cache", limit=300_000)
    source = version / "live_benchmark_models.parquet"
    paths = [cache.path_of(source, f"round {number}") for number in range(30)]
    assert all(path.exists() for path in paths)
    for age, path in enumerate(paths):
        then = time.time() - 1000 + age
        os.utime(path, (then, then))
    with cache.held(source, "round 0") as held:
        os.utime(held, (1, 1))
        newest = cache.path_of(source, "one more")
        assert held.exists()
        assert newest.exists()
        assert not paths[1].exists()
        assert not paths[1].with_suffix(".lock").exists()
        assert paths[-1].exists()


def test_readers_never_see_a_file_that_is_not_whole(version: Path, tmp_path: Path) -> None:
    target, source = tmp_path / "live.map", version / "live_benchmark_models.parquet"
    expected = pd.read_parquet(source)
    done = threading.Event()

    def convert() -> None:
        for _ in range(20):
            map_parquet(source, target)
        done.set()

    thread = threading.Thread(target=convert)
    thread.start()
    while not done.is_set():
        if target.exists():
            assert_same(read(target), expected)
    thread.join()
