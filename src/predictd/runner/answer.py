"""How a model is called, and how its answer becomes ids and float64 values."""

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
from .exceptions import ModelFault
from .mapped import MappedTable

_OF_NO_NUMBERS = {"id": "id_column", "era": "era_column"}
# What pandas calls Python's numbers, and a column of missing values alone.
_PYTHON_NUMBERS = {"floating", "integer", "mixed-integer-float", "boolean", "decimal", "empty"}


def arguments_of(model: Any) -> int:
    """With how many arguments to call the model: 1 or 2; prints a warning where the second may not be meant so.

    Raises:
        ModelFault: the object can't be called, or not with one or two arguments.
    """
    if not callable(model):
        raise ModelFault("not_callable", describe_type(model))
    try:
        parameters = parameters_of(model)
        count = count_arguments(parameters)
    except SignatureError as error:
        raise ModelFault("bad_signature", str(error)) from None
    name = unexpected_default(parameters)
    if name is not None:
        print(f"Warning: {describe_unexpected_default(name)}", file=sys.stderr)  # noqa: T201 (it belongs to the log)
    return count


def by_era(inputs: list[Any]) -> Iterator[list[Any]]:
    """The arguments of each call of the model: whole eras, one at a time and in order, as it gets them live.

    Of a mapped table one era is in memory at a time: the list is emptied when the next one is asked for, so the caller
    keeps what it needs of an answer, and not the answer, which may be a view of the era's rows.

    Args:
        inputs: the features, and the benchmark models if it takes them; those get the order of the features' index.
            Each is a DataFrame or a `MappedTable`, as `mapped.open_table` gives them.
    """
    if isinstance(inputs[0], MappedTable):
        yield from _by_block(inputs[0], inputs[1:])
        return
    features = inputs[0]
    others = [_aligned(_whole(one), features.index) for one in inputs[1:]]
    if "era" not in features.columns or features["era"].nunique() < 2:
        yield [features, *others]
        return
    for _, rows in features.groupby("era", observed=True):
        yield [rows, *(_aligned(one, rows.index) for one in others)]


def _by_block(features: MappedTable, others: list[Any]) -> Iterator[list[Any]]:
    sources = [_following(one, features) for one in others]
    for number in range(len(features)):
        rows = features.block(number)
        arguments = [rows, *(part(number, rows.index) for part in sources)]
        del rows
        yield arguments
        arguments.clear()
        features.release()


def _following(table: Any, features: MappedTable) -> Callable[[int, Any], Any]:
    """What gives the rows of `table` that belong to a block of the features and its index."""
    same = table.index.names == features.index.names and table.index.equals(features.index)
    if same and isinstance(table, MappedTable) and table.has_blocks_of(features):
        return lambda number, _: table.block(number)
    whole = _whole(table)
    if same:
        return lambda number, _: whole.iloc[features.rows(number)]
    aligned = _aligned(whole, features.index)
    return lambda _, index: _aligned(aligned, index)


def _whole(table: Any) -> Any:
    return table.whole() if isinstance(table, MappedTable) else table


def _aligned(table: Any, index: Any) -> Any:
    return table if table.index.equals(index) or not table.index.is_unique else table.reindex(index)


def joined(answers: list[tuple[list[str], bytes]]) -> tuple[list[str], bytes]:
    """The ids and the values of all eras, one after the other."""
    if len(answers) == 1:
        return answers[0]
    return [one for ids, _ in answers for one in ids], b"".join(values for _, values in answers)


def ids_and_values(answer: Any) -> tuple[list[str], bytes]:
    """The index as text and the first column as little-endian float64 bytes.

    Raises:
        ModelFault: not a DataFrame, empty, or its first column holds no numbers.
    """
    import pandas  # noqa: PLC0415 (the runner reports a runtime without pandas before it comes here)

    if not isinstance(answer, pandas.DataFrame):
        raise ModelFault("not_a_dataframe", describe_type(answer), _kind_of(answer))
    if answer.shape[0] == 0 or answer.shape[1] == 0:
        raise ModelFault("empty_predictions", f" ({answer.shape[0]} rows, {answer.shape[1]} columns)")
    column = answer.iloc[:, 0]
    if not _is_numeric(column):
        cause = _OF_NO_NUMBERS.get(str(column.name))
        if cause == "era_column" and "id" in answer.columns:
            cause = "id_column"
        raise ModelFault("not_numeric", f"{column.dtype} values such as {column.iloc[0]!r}", cause)
    index = answer.index
    # An index of Arrow strings makes a list of all in a tenth of the time that it takes to go through them.
    ids = index.tolist() if isinstance(index, pandas.Index) else index
    return [str(one) for one in ids], _numbers(column).astype("<f8").tobytes()


def _numbers(column: Any) -> Any:
    try:
        return column.to_numpy(dtype="float64", na_value=float("nan"))
    except (TypeError, ValueError) as error:
        raise ModelFault("not_numeric", f"{column.dtype} values ({error})") from None


def _is_numeric(column: Any) -> bool:
    import pandas  # noqa: PLC0415

    types = pandas.api.types
    if column.dtype == object:
        return types.infer_dtype(column, skipna=True) in _PYTHON_NUMBERS
    return bool(types.is_numeric_dtype(column.dtype) and not types.is_complex_dtype(column.dtype))


def _kind_of(answer: Any) -> "str | None":
    """The cause of `not_a_dataframe` that stands for what was returned; None for arrays, lists and all others."""
    import pandas  # noqa: PLC0415

    if answer is None:
        return "nothing"
    if isinstance(answer, pandas.Series):
        return "series"
    if inspect.isgenerator(answer):
        return "generator"
    if inspect.iscoroutine(answer):
        answer.close()  # so that Python does not warn in the log that nobody awaited it
        return "coroutine"
    package = type(answer).__module__.partition(".")[0]
    return {"polars": "polars", "torch": "tensor"}.get(package)


def describe_type(value: Any) -> str:
    """'None', or the kind of thing with its module, as a failure names it."""
    if value is None:
        return "None"
    kind = type(value)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"an object of type {module}{kind.__qualname__}"
