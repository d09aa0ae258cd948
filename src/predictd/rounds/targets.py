"""Files of targets: what a round resolves to."""

from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv

from predictd.data.files import open_parquet
from predictd.data.tables import INDEX
from predictd.domain.errors import InvalidInputError
from predictd.domain.limits import MIB
from predictd.parsing import ParserLimits, parse_confined
from predictd.parsing.packed_columns import columns_size, pack_columns, unpack_columns
from predictd.scoring.evaluation_data import TARGET, numbers
from predictd.scoring.live_scoring import Targets

# A round has some thousands of ids; the file may be of many rounds.
MAX_ROWS = 200_000
_IDS_BYTES = 8 * MIB
_LIMITS = ParserLimits(memory_bytes=64 * MIB, result_bytes=columns_size(MAX_ROWS, _IDS_BYTES))
_REMEDY = f"write it with the columns '{INDEX}' and '{TARGET}', or name the column with --target"


def read_targets(path: Path, column: str = TARGET) -> Targets:
    """The targets in a parquet or CSV file: index or column `id`, and the column named.

    Raises:
        InvalidInputError: the file can't be read or is too large, lacks a column, repeats an id or holds no numbers.
    """
    arguments = {"name": path.name, "is_csv": path.suffix.lower() == ".csv", "column": column}
    content = parse_confined(parse_targets, [path], _LIMITS, arguments)
    ids, values = unpack_columns(content, MAX_ROWS)
    if len(ids.unique()) < len(ids):
        raise InvalidInputError(f"{path.name} repeats some ids; write one row for each id.")
    if np.isinf(values).any():
        raise InvalidInputError(f"{path.name}: the column '{column}' holds infinite numbers; leave them empty.")
    return Targets(ids=ids, values=values)


def parse_targets(files: list[BinaryIO], name: str, is_csv: bool, column: str) -> list[bytes | memoryview]:
    """Parse the one file, in the process that calls this, to packed columns."""
    table = _csv(files[0], name) if is_csv else _parquet(files[0], name, column)
    missing = [required for required in (INDEX, column) if required not in table.column_names]
    if missing:
        shown = ", ".join(table.column_names[:8])
        raise InvalidInputError(f"{name} has no column '{missing[0]}' but {shown}; {_REMEDY}.")
    try:
        values = numbers(table.column(column).combine_chunks())
        ids = table.column(INDEX).cast(pa.string()).combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InvalidInputError(f"{name}: the column '{column}' must hold numbers ({error}).") from error
    if ids.null_count:
        raise InvalidInputError(f"{name} lacks {ids.null_count} ids; write one row for each id.")
    if len(ids) > MAX_ROWS or ids.nbytes > _IDS_BYTES:
        raise InvalidInputError(
            f"{name} has {len(ids)} rows with {ids.nbytes} bytes of ids; at most {MAX_ROWS} rows with {_IDS_BYTES} "
            "bytes can be read. Write one row for each live id of the round."
        )
    return pack_columns(ids, values)


def _parquet(source: BinaryIO, name: str, column: str) -> pa.Table:
    file = open_parquet(source, name)
    present = [required for required in (INDEX, column) if required in file.schema_arrow.names]
    return file.read(columns=present, use_threads=False) if len(present) == 2 else file.schema_arrow.empty_table()


def _csv(source: BinaryIO, name: str) -> pa.Table:
    try:
        return pyarrow.csv.read_csv(source, read_options=pyarrow.csv.ReadOptions(use_threads=False))
    except (pa.ArrowInvalid, OSError) as error:
        raise InvalidInputError(f"{name} can't be read as CSV ({error}); {_REMEDY}.") from error
