"""Files of targets: what a round resolves to."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from predictd.data.catalogue import open_parquet
from predictd.data.tables import INDEX
from predictd.domain.errors import InvalidInputError
from predictd.scoring.live import Targets
from predictd.scoring.measured import TARGET, numbers

_REMEDY = f"write it with the columns '{INDEX}' and '{TARGET}', or name the column with --target"


def read_targets(path: Path, column: str = TARGET) -> Targets:
    """The targets in a parquet or CSV file: index or column `id`, and the column named.

    Raises:
        InvalidInputError: the file can't be read, lacks a column, repeats an id or holds no numbers.
    """
    table = _csv(path) if path.suffix.lower() == ".csv" else _parquet(path, column)
    lacking = [name for name in (INDEX, column) if name not in table.column_names]
    if lacking:
        shown = ", ".join(table.column_names[:8])
        raise InvalidInputError(f"{path.name} has no column '{lacking[0]}' but {shown}; {_REMEDY}.")
    try:
        values = numbers(table.column(column).combine_chunks())
        ids = table.column(INDEX).cast(pa.string()).combine_chunks()
    except pa.ArrowException as error:
        raise InvalidInputError(f"{path.name}: the column '{column}' must hold numbers ({error}).") from error
    if ids.null_count or len(ids.unique()) < len(ids):
        raise InvalidInputError(f"{path.name} lacks ids or repeats some; write one row for each id.")
    if np.isinf(values).any():
        raise InvalidInputError(f"{path.name}: the column '{column}' holds infinite numbers; leave them empty.")
    return Targets(ids=ids, values=values)


def _parquet(path: Path, column: str) -> pa.Table:
    with open_parquet(path) as file:
        there = [name for name in (INDEX, column) if name in file.schema_arrow.names]
        return file.read(columns=there) if len(there) == 2 else file.schema_arrow.empty_table()


def _csv(path: Path) -> pa.Table:
    try:
        return pyarrow.csv.read_csv(path)
    except (pa.ArrowException, OSError) as error:
        raise InvalidInputError(f"{path.name} can't be read as CSV ({error}); {_REMEDY}.") from error
