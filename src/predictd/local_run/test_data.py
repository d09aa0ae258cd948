"""The data that a model is tried on: live data, the same in another order, a few validation eras, and one of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

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

Progress = Callable[[int, int], None]

_ERA = "era"
_TARGET = "target"
_READ_AS_THEY_ARE = (FEATURES_FILE, META_MODEL_FILE, VALIDATION_EXAMPLE_FILE)
"""Files that the figures are computed from, and no model sees."""
_ALONE_FILE = "one_era.parquet"
_SHUFFLED_FILE = "shuffled.parquet"
_BATCH_ROWS = 16_384
_SEED = 20


@dataclass(frozen=True, kw_only=True)
class TrialData:
    """Files for the runs of a trial.

    Attributes:
        live: the live features.
        live_ids: their ids, in the order of the rows.
        live_columns: how many columns they have.
        live_benchmarks: the benchmark models of the live ids, if there are any.
        shuffled: the rows of `live` in another order.
        folder: a folder of a data version whose validation.parquet holds the few eras, with their targets.
        eras: the names of these eras, in order of time.
        alone: the rows of the last of these eras.
        alone_ids: their ids.
        benchmarks: the benchmark models of all the eras' ids, if there are any.
        is_stand_in: whether `live` is that last era, because there was no live data.
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
        """The few eras."""
        return self.folder / VALIDATION_FILE


def prepare_trial(
    source: Path, live: Path | None, folder: Path, *, eras: int, progress: Progress | None = None
) -> TrialData:
    """Write the files of a trial.

    Args:
        source: a data version's folder with its validation.parquet.
        live: a folder with live.parquet and maybe live_benchmark_models.parquet; None if there is none, and then the
            last of the eras stands in for it.
        folder: an empty folder for the files; at most 40 MB for each of Numerai's eras.
        eras: how many validation eras, of those that have targets, evenly spread.
        progress: told the done and the total of the rows to read.

    Raises:
        InvalidInputError: a file lacks what it should hold, or no era has targets.
    """
    chosen = _chosen(source / VALIDATION_FILE, eras)
    validation = folder / VALIDATION_FILE
    taken = _take(source / VALIDATION_FILE, validation, _ERA, pa.array(chosen), progress)
    last = pc.equal(pc.cast(taken.column(_ERA), pa.string()), chosen[-1])
    alone = taken.filter(last)
    pq.write_table(alone, folder / _ALONE_FILE)
    ids = alone.column(INDEX).to_pylist()
    benchmarks = source / VALIDATION_BENCHMARKS_FILE
    if benchmarks.is_file():
        _take(benchmarks, folder / benchmarks.name, INDEX, taken.column(INDEX).combine_chunks(), None)
    for name in _READ_AS_THEY_ARE:
        if (source / name).is_file():
            (folder / name).symlink_to((source / name).absolute())
    found = folder / benchmarks.name if benchmarks.is_file() else None
    live_file = folder / _ALONE_FILE if live is None else live / LIVE_FILE
    beside = None if live is None else live / LIVE_BENCHMARKS_FILE
    return TrialData(
        live=live_file,
        live_ids=ids if live is None else _checked_ids(live_file),
        live_columns=len(taken.column_names),
        live_benchmarks=found if beside is None else (beside if beside.is_file() else None),
        shuffled=_shuffle(live_file, folder / _SHUFFLED_FILE),
        folder=folder,
        eras=tuple(chosen),
        alone=folder / _ALONE_FILE,
        alone_ids=ids,
        benchmarks=found,
        is_stand_in=live is None,
    )


def spread(names: Sequence[str], count: int) -> list[str]:
    """So many of the names, evenly spread, with the first and the last; all of them if there are no more."""
    places = np.unique(np.linspace(0, len(names) - 1, min(count, len(names))).round().astype(int))
    return [names[place] for place in places]


def _chosen(path: Path, count: int) -> list[str]:
    with open_parquet(path) as file:
        lacking = [name for name in (INDEX, _ERA, _TARGET) if name not in file.schema_arrow.names]
        if lacking:
            raise InvalidInputError(f"{path.name} has no column '{lacking[0]}'; download it again, the whole of it.")
        table = file.read(columns=[_ERA, _TARGET])
    target = pc.cast(table.column(_TARGET), pa.float64())
    known = pc.and_(pc.is_valid(target), pc.invert(pc.fill_null(pc.is_nan(target), True)))
    names = pc.unique(pc.cast(table.column(_ERA).filter(known), pa.string())).drop_null().to_pylist()
    if not names:
        raise InvalidInputError(f"No era of {path.name} has targets; give --data a data version that has some.")
    return spread(sorted(names), count)


def _take(path: Path, target: Path, column: str, wanted: pa.Array, progress: Progress | None) -> pa.Table:
    """The rows of a file whose text in that column is wanted, also written to `target`; a batch in memory at a time."""
    with open_parquet(path) as file:
        if column not in file.schema_arrow.names:
            raise InvalidInputError(f"{path.name} has no column '{column}'; download it again, the whole of it.")
        kept, done = [], 0
        for number in range(file.metadata.num_row_groups):
            rows = file.metadata.row_group(number).num_rows
            keys = pc.cast(file.read_row_group(number, columns=[column]).column(column), pa.string())
            if pc.any(pc.is_in(keys, value_set=wanted)).as_py():
                for batch in file.iter_batches(_BATCH_ROWS, row_groups=[number]):
                    found = pc.is_in(pc.cast(batch.column(column), pa.string()), value_set=wanted)
                    kept.append(batch.filter(found))
            done += rows
            if progress is not None:
                progress(done, file.metadata.num_rows)
        table = pa.Table.from_batches(kept, schema=file.schema_arrow)
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
        wrong = "repeats some of its ids" if ids else "has no rows"
        raise InvalidInputError(f"{path.name} {wrong}; download it again.")
    return ids
