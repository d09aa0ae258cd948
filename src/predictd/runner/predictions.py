"""Call a model, and convert its predictions to ids and float64 values."""

import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any

from .calling_convention import (
    SignatureError,
    count_arguments,
    describe_unexpected_default,
    parameters_of,
    unexpected_default,
)
from .exceptions import ModelError
from .mapped import MappedTable

_NON_NUMERIC_CAUSES = {"id": "id_column", "era": "era_column"}
# The names that pandas has for Python's numbers, and for a column with only missing values.
_PYTHON_NUMBERS = {"floating", "integer", "mixed-integer-float", "boolean", "decimal", "empty"}


def count_model_arguments(model: Any) -> int:
    """Return the number of arguments of the model, 1 or 2; print a warning if the second may be unintended.

    Raises:
        ModelError: The object can't be called with one or two arguments.
    """
    if not callable(model):
        raise ModelError("not_callable", describe_type(model))
    try:
        parameters = parameters_of(model)
        count = count_arguments(parameters)
    except SignatureError as error:
        raise ModelError("bad_signature", str(error)) from None
    name = unexpected_default(parameters)
    if name is not None:
        print(f"Warning: {describe_unexpected_default(name)}", file=sys.stderr)  # noqa: T201 (output of the run)
    return count


def iterate_eras(inputs: list[Any]) -> Iterator[list[Any]]:
    """Yield the arguments of each call of the model: whole eras, one at a time and in order, as in live data.

    Only one era of a mapped table is in memory: the list is cleared before the next era, so the caller must copy what
    it needs of a result, which may be a view of the rows of the era.

    Args:
        inputs: the features, and the benchmark models if the model takes them; those are aligned to the features.
            Each is a DataFrame or a `MappedTable` from `mapped.open_table`.
    """
    if isinstance(inputs[0], MappedTable):
        yield from _iterate_blocks(inputs[0], inputs[1:])
        return
    features = inputs[0]
    benchmarks = [_align(_whole(table), features.index) for table in inputs[1:]]
    if "era" not in features.columns or features["era"].nunique() < 2:
        yield [features, *benchmarks]
        return
    for _, rows in features.groupby("era", observed=True):
        yield [rows, *(_align(table, rows.index) for table in benchmarks)]


def _iterate_blocks(features: MappedTable, benchmarks: list[Any]) -> Iterator[list[Any]]:
    sources = [_rows_by_block(table, features) for table in benchmarks]
    for number in range(len(features)):
        rows = features.block(number)
        arguments = [rows, *(part(number, rows.index) for part in sources)]
        del rows
        yield arguments
        arguments.clear()
        features.release()


def _rows_by_block(table: Any, features: MappedTable) -> Callable[[int, Any], Any]:
    """Return a function that returns the rows of `table` for a block of the features and its index."""
    is_same_index = table.index.names == features.index.names and table.index.equals(features.index)
    if is_same_index and isinstance(table, MappedTable) and table.has_same_blocks(features):
        return lambda number, _: table.block(number)
    whole = _whole(table)
    if is_same_index:
        return lambda number, _: whole.iloc[features.rows(number)]
    aligned = _align(whole, features.index)
    return lambda _, index: _align(aligned, index)


def _whole(table: Any) -> Any:
    return table.whole() if isinstance(table, MappedTable) else table


def _align(table: Any, index: Any) -> Any:
    return table if table.index.equals(index) or not table.index.is_unique else table.reindex(index)


def concatenate(results: list[tuple[list[str], bytes]]) -> tuple[list[str], bytes]:
    """Return the ids and the values of all eras."""
    if len(results) == 1:
        return results[0]
    return [row_id for ids, _ in results for row_id in ids], b"".join(values for _, values in results)


def extract_predictions(result: Any) -> tuple[list[str], bytes]:
    """Return the index as text and the first column as little-endian float64 bytes.

    Raises:
        ModelError: The result is not a DataFrame, is empty, or has a first column that is not numeric.
    """
    import pandas  # noqa: PLC0415 (the runner has reported a runtime without pandas before)

    if not isinstance(result, pandas.DataFrame):
        raise ModelError("not_a_dataframe", describe_type(result), _cause_of_type(result))
    if result.shape[0] == 0 or result.shape[1] == 0:
        raise ModelError("empty_predictions", f" ({result.shape[0]} rows, {result.shape[1]} columns)")
    column = result.iloc[:, 0]
    if not _is_numeric(column):
        cause = _NON_NUMERIC_CAUSES.get(str(column.name))
        if cause == "era_column" and "id" in result.columns:
            cause = "id_column"
        raise ModelError("not_numeric", f"{column.dtype} values such as {column.iloc[0]!r}", cause)
    index = result.index
    # tolist of an index of Arrow strings takes a tenth of the time of iterating over it.
    ids = index.tolist() if isinstance(index, pandas.Index) else index
    return [str(row_id) for row_id in ids], _to_numbers(column).astype("<f8").tobytes()


def _to_numbers(column: Any) -> Any:
    try:
        return column.to_numpy(dtype="float64", na_value=float("nan"))
    except (TypeError, ValueError) as error:
        raise ModelError("not_numeric", f"{column.dtype} values ({error})") from None


def _is_numeric(column: Any) -> bool:
    import pandas  # noqa: PLC0415

    types = pandas.api.types
    if column.dtype == object:
        return types.infer_dtype(column, skipna=True) in _PYTHON_NUMBERS
    return bool(types.is_numeric_dtype(column.dtype) and not types.is_complex_dtype(column.dtype))


def _cause_of_type(result: Any) -> "str | None":
    """Return the cause of `not_a_dataframe` for the type of the result, or None, as for arrays and lists."""
    import pandas  # noqa: PLC0415

    if result is None:
        return "nothing"
    if isinstance(result, pandas.Series):
        return "series"
    if inspect.isgenerator(result):
        return "generator"
    if inspect.iscoroutine(result):
        result.close()  # prevents a warning in the log that it was never awaited
        return "coroutine"
    package = type(result).__module__.partition(".")[0]
    return {"polars": "polars", "torch": "tensor"}.get(package)


def describe_type(value: Any) -> str:
    """Return 'None', or the type with its module, for a failure."""
    if value is None:
        return "None"
    kind = type(value)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"an object of type {module}{kind.__qualname__}"
