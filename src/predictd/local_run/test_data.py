"""Data for testing a model: live data, the same with shuffled rows, a few validation eras, and one of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from predictd.client.transfer import ShowProgress, TransferError
from predictd.data.files import open_parquet, read_ids
from predictd.data.schema import (
    FEATURES_FILE,
    LIVE_BENCHMARKS_FILE,
    LIVE_FILE,
    META_MODEL_FILE,
    VALIDATION_BENCHMARKS_FILE,
    VALIDATION_EXAMPLE_FILE,
    VALIDATION_FILE,
)
from predictd.data.tables import INDEX
from predictd.domain.errors import InvalidInputError
from predictd.local_run.dataset_files import fetch_dataset, list_datasets

Progress = Callable[[int, int], None]

_ERA = "era"
_TARGET = "target"
_METRIC_FILES = (FEATURES_FILE, META_MODEL_FILE, VALIDATION_EXAMPLE_FILE)
"""Files for the metrics, which no model sees."""
_SINGLE_ERA_FILE = "one_era.parquet"
_SHUFFLED_FILE = "shuffled.parquet"
_BATCH_ROWS = 16_384
_SEED = 20


@dataclass(frozen=True, kw_only=True)
class ModelTestData:
    """The files of a test.

    Attributes:
        live: live features.
        live_ids: their ids, in the order of the rows.
        live_columns: their number of columns.
        live_benchmarks: benchmark models of the live ids, if any.
        shuffled: the shuffled rows of `live`.
        folder: folder of a data version whose validation.parquet has the few eras with targets.
        eras: names of these eras in order of time.
        alone: rows of the last of these eras.
        alone_ids: their ids.
        benchmarks: benchmark models of the ids of all eras, if any.
        is_stand_in: whether `live` is the last era, because there is no live data.
    """

    live: Path
    live_ids: list[str]
    live_columns: int
    live_benchmarks: Path | None
    shuffled: Path
    folder: Path
    eras: tuple[str, ...]
    alone: Path
    alone_ids: list[str]
    benchmarks: Path | None
    is_stand_in: bool

    @property
    def validation(self) -> Path:
        """Return the file of the few eras."""
        return self.folder / VALIDATION_FILE


def prepare_test_data(
    source: Path, live: Path | None, folder: Path, *, eras: int, progress: Progress | None = None
) -> ModelTestData:
    """Write the files of a test.

    Args:
        source: folder of a data version with validation.parquet.
        live: folder with live.parquet and optionally live_benchmark_models.parquet; without it the
            last era replaces it.
        folder: empty folder for the files, of at most 40 MB per era.
        eras: number of validation eras with targets, evenly spread.
        progress: called with the number of read and total rows.

    Raises:
        InvalidInputError: A file lacks a column, or no era has targets.
    """
    chosen = _choose_eras(source / VALIDATION_FILE, eras)
    validation = folder / VALIDATION_FILE
    table = _select_rows(source / VALIDATION_FILE, validation, _ERA, pa.array(chosen), progress)
    is_last_era = pc.equal(pc.cast(table.column(_ERA), pa.string()), chosen[-1])
    alone = table.filter(is_last_era)
    pq.write_table(alone, folder / _SINGLE_ERA_FILE)
    ids = alone.column(INDEX).to_pylist()
    benchmarks = source / VALIDATION_BENCHMARKS_FILE
    if benchmarks.is_file():
        _select_rows(benchmarks, folder / benchmarks.name, INDEX, table.column(INDEX).combine_chunks(), None)
    for name in _METRIC_FILES:
        if (source / name).is_file():
            (folder / name).symlink_to((source / name).absolute())
    era_benchmarks = folder / benchmarks.name if benchmarks.is_file() else None
    live_file = folder / _SINGLE_ERA_FILE if live is None else live / LIVE_FILE
    live_benchmarks = None if live is None else live / LIVE_BENCHMARKS_FILE
    return ModelTestData(
        live=live_file,
        live_ids=ids if live is None else _checked_ids(live_file),
        live_columns=len(table.column_names),
        live_benchmarks=era_benchmarks
        if live_benchmarks is None
        else (live_benchmarks if live_benchmarks.is_file() else None),
        shuffled=_shuffle(live_file, folder / _SHUFFLED_FILE),
        folder=folder,
        eras=tuple(chosen),
        alone=folder / _SINGLE_ERA_FILE,
        alone_ids=ids,
        benchmarks=era_benchmarks,
        is_stand_in=live is None,
    )


def find_live(source: Path, server: str, cache: Path, folder: Path, show: ShowProgress) -> Path | None:
    """Return a folder with live.parquet and optionally live_benchmark_models.parquet, or None.

    Args:
        source: folder of the data version. If it is in `cache`, its live data is downloaded, because each
            round has its own; otherwise the folder's live data is used.
        server: address to download from.
        cache: folder of downloaded data versions.
        folder: folder for the download.
        show: called with the progress of downloads.
    """
    if source.parent != cache:
        return source if (source / LIVE_FILE).is_file() else None
    try:
        names = list_datasets(server)
        for filename in (LIVE_FILE, LIVE_BENCHMARKS_FILE):
            if f"{source.name}/{filename}" in names:
                fetch_dataset(server, f"{source.name}/{filename}", folder, show)
    except TransferError:
        # A model can be tested offline with validation data.
        return None
    downloaded = folder / source.name
    return downloaded if (downloaded / LIVE_FILE).is_file() else None


def spread_evenly(names: Sequence[str], count: int) -> list[str]:
    """Return `count` names, evenly spread with the first and the last, or all names if there are fewer."""
    positions = np.unique(np.linspace(0, len(names) - 1, min(count, len(names))).round().astype(int))
    return [names[position] for position in positions]


def _choose_eras(path: Path, count: int) -> list[str]:
    with open_parquet(path) as file:
        missing_columns = [name for name in (INDEX, _ERA, _TARGET) if name not in file.schema_arrow.names]
        if missing_columns:
            raise InvalidInputError(
                f"{path.name} has no column '{missing_columns[0]}'. Download the complete file again."
            )
        table = file.read(columns=[_ERA, _TARGET])
    target = pc.cast(table.column(_TARGET), pa.float64())
    has_target = pc.and_(pc.is_valid(target), pc.invert(pc.fill_null(pc.is_nan(target), True)))
    names = pc.unique(pc.cast(table.column(_ERA).filter(has_target), pa.string())).drop_null().to_pylist()
    if not names:
        raise InvalidInputError(f"No era of {path.name} has targets. Pass --data a data version with targets.")
    return spread_evenly(sorted(names), count)


def _select_rows(path: Path, target: Path, column: str, values: pa.Array, progress: Progress | None) -> pa.Table:
    """Return the rows with one of these texts in a column, and write them to `target`; read batch by batch."""
    with open_parquet(path) as file:
        if column not in file.schema_arrow.names:
            raise InvalidInputError(f"{path.name} has no column '{column}'. Download the complete file again.")
        batches, done = [], 0
        for number in range(file.metadata.num_row_groups):
            rows = file.metadata.row_group(number).num_rows
            keys = pc.cast(file.read_row_group(number, columns=[column]).column(column), pa.string())
            if pc.any(pc.is_in(keys, value_set=values)).as_py():
                for batch in file.iter_batches(_BATCH_ROWS, row_groups=[number]):
                    era_benchmarks = pc.is_in(pc.cast(batch.column(column), pa.string()), value_set=values)
                    batches.append(batch.filter(era_benchmarks))
            done += rows
            if progress is not None:
                progress(done, file.metadata.num_rows)
        table = pa.Table.from_batches(batches, schema=file.schema_arrow)
    pq.write_table(table, target)
    return table


def _shuffle(path: Path, target: Path) -> Path:
    with open_parquet(path) as file:
        table = file.read()
    pq.write_table(table.take(np.random.default_rng(_SEED).permutation(len(table))), target)
    return target


def _checked_ids(path: Path) -> list[str]:
    ids = read_ids(path)
    if not ids or len(set(ids)) < len(ids):
        problem = "repeats some of its ids" if ids else "has no rows"
        raise InvalidInputError(f"{path.name} {problem}. Download it again.")
    return ids
