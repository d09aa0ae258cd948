"""The 20,000-tree model on a validation of Numerai's size, as an isolated run, and its metrics.

3.3 million rows by 2,748 features in 650 eras, 9 GB as int8, are written to a temporary folder (13 GB of disk, and 11
GB more for the factors of the features). The run has 4 GB and 10 minutes; writing and mapping the file are measured
separately. The metrics are computed as on the server, in a subprocess, twice: the second time with the cached factors
of the first. `--only scores` skips the run.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from models import forest
from whole_runs import prepare_runtime

from predictd.data.mapped_cache import MappedCache
from predictd.domain.limits import MIB, Limits
from predictd.domain.runs import RunRequest
from predictd.sandbox import run
from predictd.scoring.subprocess_scoring import Task, diagnose_in_subprocess

FEATURES = 2748
ROWS_OF_AN_ERA = 5077


def write_validation(path: Path, eras: int) -> None:
    """Write a parquet file with that many eras, one row group each, and integer features from 0 to 4."""
    rng = np.random.default_rng(7)
    names = [f"feature_{number}" for number in range(FEATURES)]
    pool = rng.integers(0, 5, (FEATURES, 2 * ROWS_OF_AN_ERA), dtype=np.int8)
    features = [(name, pa.int8()) for name in names]
    schema = pa.schema([("era", pa.string()), *features, ("target", pa.float32()), ("id", pa.string())])
    columns = [_pandas_column(field) for field in schema]
    pandas_metadata = json.dumps({"index_columns": ["id"], "column_indexes": [], "columns": columns})
    with pq.ParquetWriter(
        path, schema.with_metadata({b"pandas": pandas_metadata.encode()}), compression="lz4"
    ) as writer:
        for era in range(eras):
            start = int(rng.integers(0, ROWS_OF_AN_ERA))
            columns = [pa.array(column[start : start + ROWS_OF_AN_ERA]) for column in rng.permutation(pool)]
            ids = pa.array([f"n{era:05x}{row:010x}" for row in range(ROWS_OF_AN_ERA)])
            text = pa.array([f"{era + 1:04d}"] * ROWS_OF_AN_ERA)
            targets = pa.array(rng.integers(0, 5, ROWS_OF_AN_ERA).astype(np.float32) / 4)
            writer.write_table(pa.table([text, *columns, targets, ids], schema=schema))
            if era % 50 == 0:
                print(f"\rwriting era {era} of {eras}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def _pandas_column(field: pa.Field) -> dict[str, object]:
    kinds = ("unicode", "object") if field.type == pa.string() else (str(field.type), str(field.type))
    kinds = ("float32", "float32") if field.type == pa.float32() else kinds
    pandas_type, numpy_type = kinds
    name = field.name
    return {"name": name, "field_name": name, "pandas_type": pandas_type, "numpy_type": numpy_type, "metadata": None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--eras", type=int, default=650, help="how many eras of 5,077 rows (default: 650)")
    parser.add_argument("--only", choices=["run", "scores"], help="one of the two parts")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory(prefix="predictd-validation-", dir="/var/tmp") as name:
        folder = Path(name)
        write_validation(folder / "validation.parquet", arguments.eras)
        cache = MappedCache(folder=folder / "mapped")
        began = time.perf_counter()
        with cache.held(folder / "validation.parquet") as mapped:
            sizes = [path.stat().st_size / 1e9 for path in (folder / "validation.parquet", mapped)]
            print(f"file: {sizes[0]:.1f} GB as parquet, {sizes[1]:.1f} GB mapped")
            print(f"mapping it once: {time.perf_counter() - began:.0f} s", flush=True)
            if arguments.only != "run":
                measure_scores(folder)
            if arguments.only != "scores":
                measure_run(mapped)


def measure_scores(folder: Path) -> None:
    """Print the metrics of random predictions, and the peak memory of the process that computes them."""
    ids = pq.read_table(folder / "validation.parquet", columns=["id"]).column("id")
    values = np.random.default_rng(0).random(len(ids))
    pq.write_table(pa.table({"id": ids, "prediction": values}), folder / "predictions.parquet")
    del ids, values
    task = Task(
        predictions=str(folder / "predictions.parquet"),
        folders=(str(folder),),
        mapped=str(folder / "mapped"),
        mapped_limit=10**12,
        factors=str(folder / "factors"),
        is_complete=True,
    )
    for label in ("first", "further"):
        began, peaks = time.perf_counter(), [0.0]

        def report(done: int, every: int, peaks: list[float] = peaks) -> None:
            # The kernel's peak of ended children includes the memory of this process at the fork.
            peaks.append(max(peaks[-1], peak_of_child()))
            print(f"\r{done} of {every}", end="", flush=True)

        diagnostics, _ = diagnose_in_subprocess(task, progress=report)
        peak = peaks[-1]
        cached = sum(path.stat().st_size for path in (folder / "factors").rglob("*.factor")) / 1e9
        print(
            f"\r{label} model: {diagnostics.eras_accepted_count} eras in {time.perf_counter() - began:.0f} s, "
            f"at most {peak:.0f} MiB, {cached:.1f} GB of factors cached",
            flush=True,
        )


def peak_of_child() -> float:
    """Return the peak memory of the scoring process in MiB, including mapped files."""
    [child, *_] = psutil.Process().children()
    lines = Path(f"/proc/{child.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def measure_run(mapped: Path) -> None:
    """Run the model on all rows."""
    limits = Limits()
    request = RunRequest(pickle=forest(), live=mapped, benchmarks=None, runtime=prepare_runtime(), limits=limits)
    began = time.perf_counter()
    report = run(request, on_log=sys.stderr.buffer.write)
    seconds = time.perf_counter() - began
    rows = 0 if report.predictions is None else len(report.predictions.ids)
    if report.failure is not None:
        sys.exit(report.failure.describe())
    print(f"the run: {seconds:.0f} of {limits.seconds:.0f} s, {rows:,} rows, {report.use(limits).describe()}")
    print(f"peak of its control group: {report.peak_memory_bytes / MIB:.0f} of {limits.memory_bytes / MIB:.0f} MiB")


if __name__ == "__main__":
    main()
