"""Submission files: uploaded files, which are untrusted, and files written for download."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from predictd.data.atomic_write import staged_file
from predictd.domain.errors import InvalidInputError
from predictd.domain.limits import MIB, max_prediction_bytes
from predictd.domain.runs import Predictions
from predictd.domain.text import replace_unprintable
from predictd.parsing import ParserLimits, parse_confined
from predictd.parsing.packed_columns import Columns, columns_size, pack_columns, unpack_columns

_HEADERS = (("id", "prediction"), ("id", "probability"))
_REMEDY = "write it with predictions.to_csv(path), index 'id' and one column 'prediction'"
_BLOCK = 1024 * 1024
_MAX_ID_BYTES = 256
_PARSER_BYTES = 48 * MIB
_PARSER_BYTES_PER_ROW = 512
_PARSER_SECONDS = 15.0
_ROWS_PER_SECOND = 40_000
_BATCH_ROWS = 65_536
_PARQUET_MAGIC = b"PAR1"
_ARROW_ROW = re.compile(r"Row #(\d+): (.*)", re.DOTALL)
_ARROW_VALUE = re.compile(r"conversion error to double: invalid value '(.*)'", re.DOTALL)


def read_submission_file(path: Path, max_rows: int) -> Predictions:
    """Read an uploaded CSV or parquet file with columns id and prediction (or probability), values unchecked.

    A CSV has exactly these two columns in this order; in a parquet file either may be the index. Missing values ('',
    'NaN', 'NA') become NaN for `check_submission` to find. The file is parsed in a confined process
    (`predictd.parsing`), for at most `max_rows` rows, which limits memory to about 150 bytes per row.

    Raises:
        InvalidInputError: a row or column is invalid, or a limit is exceeded.
        OutageError: the confined process failed.
    """
    ids, values = read_submission_columns(path, max_rows)
    return Predictions(ids=ids.to_pylist(), values=values)


def read_submission_columns(path: Path, max_rows: int) -> Columns:
    """Read a submission file as two columns of the same length, ids and values, which takes half the memory."""
    limits = ParserLimits(
        memory_bytes=_PARSER_BYTES + max_rows * _PARSER_BYTES_PER_ROW,
        result_bytes=columns_size(max_rows, max_prediction_bytes(max_rows)),
        seconds=_PARSER_SECONDS + max_rows / _ROWS_PER_SECOND,
    )
    content = parse_confined(parse_submission_file, [path], limits, {"max_rows": max_rows})
    return unpack_columns(content, max_rows)


def parse_submission_file(files: list[BinaryIO], max_rows: int) -> list[bytes | memoryview]:
    """Parse the file in the current process into packed columns."""
    return pack_columns(*parse_submission_columns(files[0], max_rows))


def parse_submission_columns(file: BinaryIO, max_rows: int) -> Columns:
    """Parse the file in the current process: only for files of the user on the user's own machine.

    Raises InvalidInputError like `read_submission_file`.
    """
    is_parquet = file.read(len(_PARQUET_MAGIC)) == _PARQUET_MAGIC
    file.seek(0)
    ids: list[pa.Array] = []
    values: list[pa.Array] = []
    rows = size = 0
    try:
        for batch in _parquet_batches(file, max_rows) if is_parquet else _csv_batches(file):
            rows += batch.num_rows
            if rows > max_rows:
                raise _too_many(max_rows)
            ids.append(_texts(batch.column(0)))
            size += ids[-1].nbytes
            if size > (max_bytes := max_prediction_bytes(max_rows)):
                raise InvalidInputError(f"The ids take more than {max_bytes} bytes. Use the ids of the data.")
            values.append(pc.cast(batch.column(1), pa.float64(), safe=False))
    except (pa.ArrowException, OSError) as error:
        # Arrow raises an OSError without a number for a damaged file; one with a number comes from the disk.
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None):
            raise
        if "bad_alloc" in str(error):
            # Arrow's thrift reader has no other error for this.
            raise MemoryError from error
        raise _explained(str(error)) from error
    numbers = [array.to_numpy(zero_copy_only=False) for array in values]
    return pa.concat_arrays(ids or [pa.array([], pa.string())]), np.concatenate(numbers or [np.empty(0)])


def write_predictions_csv(predictions: Predictions, path: Path) -> None:
    """Write `predictions_csv` to `path` atomically."""
    with staged_file(path) as staging:
        staging.write_bytes(predictions_csv(predictions))


def predictions_csv(predictions: Predictions) -> bytes:
    """Return the predictions as CSV with the columns `id,prediction`.

    Values are the shortest decimals that parse to the same float64, with a decimal point or an exponent.
    """
    header = ",".join(_HEADERS[0]) + "\n"
    ids = "".join(predictions.ids)
    if not any(character in ids for character in '",\r\n'):
        return (header + "".join(_plain_lines(predictions))).encode()
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows(zip(predictions.ids, predictions.values.tolist(), strict=True))
    return (header + text.getvalue()).encode()


def _plain_lines(predictions: Predictions) -> list[str]:
    """Return the lines with line endings, vectorized, for ids that need no quotes."""
    values = predictions.values
    texts = pc.cast(pa.array(values), pa.string())
    is_whole = values == np.round(values)
    if is_whole.any():
        # Arrow omits the decimal point, and a column of only whole numbers would be read as integers.
        is_bare = pc.and_not(pa.array(is_whole), pc.match_substring_regex(texts, "[^0-9-]"))
        texts = pc.if_else(is_bare, pc.binary_join_element_wise(texts, "0", "."), texts)
    lines = pc.binary_join_element_wise(pa.array(predictions.ids, pa.string()), texts, ",")
    terminated: list[str] = pc.binary_join_element_wise(lines, "\n", "").to_pylist()
    return terminated


def _csv_batches(file: BinaryIO) -> Iterator[pa.RecordBatch]:
    header = _csv_header(file)
    file.seek(0)
    if header not in _HEADERS:
        columns = ",".join(header)[:100]
        raise InvalidInputError(f"The header must be 'id,prediction', but it is '{columns}'; {_REMEDY}.")
    yield from pyarrow.csv.open_csv(
        file,
        # A single thread, because only then do errors contain the row.
        read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=_BLOCK),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types={header[0]: pa.string(), header[1]: pa.float64()}, include_columns=list(header)
        ),
    )


def _csv_header(file: BinaryIO) -> tuple[str, ...]:
    line = file.readline(_BLOCK)
    if not line:
        raise InvalidInputError(f"The file is empty; {_REMEDY}.")
    try:
        return tuple(next(csv.reader([line.decode("utf-8").removeprefix("\ufeff").rstrip("\r\n")]), ()))
    except UnicodeDecodeError:
        raise InvalidInputError(f"The file is not UTF-8 text, so it is not a CSV; {_REMEDY}.") from None
    except csv.Error as error:
        raise InvalidInputError(f"The header can't be read as CSV ({error}); {_REMEDY}.") from error


def _parquet_batches(file: BinaryIO, max_rows: int) -> Iterator[pa.RecordBatch]:
    metadata = pq.read_metadata(file)
    header = _parquet_header(metadata.schema.to_arrow_schema())
    if metadata.num_rows > max_rows:
        raise _too_many(max_rows)
    file.seek(0)
    # Ids are read as indices into their distinct values: a small file can repeat a huge string a million times.
    parquet = pq.ParquetFile(file, metadata=metadata, read_dictionary=["id"])
    for batch in parquet.iter_batches(_BATCH_ROWS, columns=list(header), use_threads=False):
        yield batch.select(header)


def _parquet_header(columns: pa.Schema) -> tuple[str, str]:
    header = next((header for header in _HEADERS if sorted(columns.names) == sorted(header)), None)
    if header is None:
        names = ", ".join(columns.names[:5])[:100]
        raise InvalidInputError(f"The columns must be id and prediction, but they are {names}; {_REMEDY}.")
    ids, numbers = (columns.field(name).type for name in header)
    if pa.types.is_dictionary(ids):
        ids = ids.value_type
    if not (pa.types.is_string(ids) or pa.types.is_large_string(ids)):
        raise InvalidInputError(f"The column 'id' must hold strings, but it holds {ids}; {_REMEDY}.")
    if not (pa.types.is_floating(numbers) or pa.types.is_integer(numbers)):
        raise InvalidInputError(f"The column '{header[1]}' must hold numbers, but it holds {numbers}; {_REMEDY}.")
    return header


def _texts(column: pa.Array) -> pa.Array:
    distinct = column.dictionary if pa.types.is_dictionary(column.type) else column
    if len(distinct) and (pc.max(pc.binary_length(distinct)).as_py() or 0) > _MAX_ID_BYTES:
        raise InvalidInputError(f"An id is longer than {_MAX_ID_BYTES} bytes. Use the ids of the live data.")
    if column.null_count:
        raise InvalidInputError(f"{column.null_count} ids are missing; {_REMEDY}.")
    return column.cast(pa.string())


def _too_many(max_rows: int) -> InvalidInputError:
    return InvalidInputError(f"The file has more than {max_rows} rows. Send one row for each id of the data.")


def _explained(reason: str) -> InvalidInputError:
    """Return Arrow's error in words that name the row; content of the file is quoted short and on one line."""
    row = _ARROW_ROW.search(reason)
    if row is None:
        if "straddl" in reason:
            return InvalidInputError(f"A row is longer than {_BLOCK} bytes; {_REMEDY}.")
        if "UTF8" in reason:
            return InvalidInputError(f"The file is not UTF-8 text; {_REMEDY}.")
        return InvalidInputError(f"The file can't be read ({_quoted(reason)}); {_REMEDY}.")
    where = f"Row {row[1]} (the header is row 1, empty rows don't count)"
    value = _ARROW_VALUE.search(row[2])
    if value is not None:
        return InvalidInputError(f"{where}: the prediction '{_quoted(value[1])}' is not a number; {_REMEDY}.")
    if "UTF8" in row[2]:
        return InvalidInputError(f"{where} is not UTF-8 text; {_REMEDY}.")
    return InvalidInputError(f"{where}: {_quoted(row[2])}; {_REMEDY}.")


def _quoted(text: str, max_length: int = 100) -> str:
    printable = replace_unprintable(text[:max_length], " ")
    return printable if len(text) <= max_length else printable + "…"
