"""The 20,000-tree model on a validation of Numerai's size, as a whole isolated run within 4 GB and 10 minutes.

3.3 million rows by 2,748 features in 650 eras, 9 GB as int8, are written to a folder that is removed afterwards (13 GB
of disk). The seconds are those of the run alone; making and mapping the file are told beside it.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from models import forest
from whole_runs import prepare_runtime

from predictd.data.mapping import map_parquet
from predictd.domain.limits import MIB, Limits
from predictd.domain.runs import RunRequest
from predictd.sandbox import run

FEATURES = 2748
ROWS_OF_AN_ERA = 5077


def write_validation(path: Path, eras: int) -> None:
    """A parquet of so many eras, a row group each, of features that are whole numbers from 0 to 4."""
    rng = np.random.default_rng(7)
    names = [f"feature_{number}" for number in range(FEATURES)]
    pool = rng.integers(0, 5, (FEATURES, 2 * ROWS_OF_AN_ERA), dtype=np.int8)
    schema = pa.schema([("era", pa.string()), *((name, pa.int8()) for name in names), ("id", pa.string())])
    columns = [_as_pandas_tells(field.name, is_text=field.type == pa.string()) for field in schema]
    told = json.dumps({"index_columns": ["id"], "column_indexes": [], "columns": columns})
    with pq.ParquetWriter(path, schema.with_metadata({b"pandas": told.encode()}), compression="lz4") as writer:
        for era in range(eras):
            start = int(rng.integers(0, ROWS_OF_AN_ERA))
            columns = [pa.array(column[start : start + ROWS_OF_AN_ERA]) for column in rng.permutation(pool)]
            ids = pa.array([f"n{era:05x}{row:010x}" for row in range(ROWS_OF_AN_ERA)])
            text = pa.array([f"{era + 1:04d}"] * ROWS_OF_AN_ERA)
            writer.write_table(pa.table([text, *columns, ids], schema=schema))
            if era % 50 == 0:
                print(f"\rwriting era {era} of {eras}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def _as_pandas_tells(name: str, *, is_text: bool) -> dict[str, object]:
    kinds = ("unicode", "object") if is_text else ("int8", "int8")
    return {"name": name, "field_name": name, "pandas_type": kinds[0], "numpy_type": kinds[1], "metadata": None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--eras", type=int, default=650, help="how many eras of 5,077 rows (default: 650)")
    eras = parser.parse_args().eras
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    limits = Limits()
    with tempfile.TemporaryDirectory(prefix="predictd-validation-", dir="/var/tmp") as folder:
        parquet, mapped = Path(folder, "validation.parquet"), Path(folder, "validation.map")
        write_validation(parquet, eras)
        began = time.perf_counter()
        map_parquet(parquet, mapped)
        mapping = time.perf_counter() - began
        request = RunRequest(pickle=forest(), live=mapped, benchmarks=None, runtime=prepare_runtime(), limits=limits)
        began = time.perf_counter()
        report = run(request, on_log=sys.stderr.buffer.write)
        seconds = time.perf_counter() - began
        rows = 0 if report.predictions is None else len(report.predictions.ids)
        print(f"file: {parquet.stat().st_size / 1e9:.1f} GB as parquet, {mapped.stat().st_size / 1e9:.1f} GB mapped")
    print(f"mapping it once: {mapping:.0f} s")
    if report.failure is not None:
        sys.exit(report.failure.describe())
    print(f"the run: {seconds:.0f} of {limits.seconds:.0f} s, {rows:,} rows, {report.describe_use(limits)}")
    print(f"peak of its control group: {report.peak_memory_bytes / MIB:.0f} of {limits.memory_bytes / MIB:.0f} MiB")


if __name__ == "__main__":
    main()
