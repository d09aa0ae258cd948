"""Verify that files match what Numerai publishes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from predictd.data import schema
from predictd.data.files import open_parquet, read_ids
from predictd.data.tables import INDEX
from predictd.domain.errors import InvalidInputError
from predictd.domain.limits import GIB
from predictd.parsing import ParserLimits, parse_confined

_MAX_VALUE = 4
_DOWNLOAD = "download the file again and repeat the import"
# Numerai's largest files need about 1 GB.
_LIMITS = ParserLimits(memory_bytes=3 * GIB, result_bytes=64, seconds=3600)


def read_feature_sets(path: Path) -> dict[str, list[str]]:
    """Return the feature sets in a features.json. Raises InvalidInputError if its format is invalid."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{path.name} can't be read ({error}); {_DOWNLOAD}.") from error
    return feature_sets(content, path.name)


def feature_sets(content: bytes, name: str) -> dict[str, list[str]]:
    """Return the feature sets in the bytes of a file of that name."""
    try:
        contents = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{name} can't be read as JSON ({error}); {_DOWNLOAD}.") from error
    sets = contents.get("feature_sets") if isinstance(contents, dict) else None
    if not isinstance(sets, dict) or not sets:
        raise InvalidInputError(f"{name} has no 'feature_sets'; {_DOWNLOAD}.")
    for title, members in sets.items():
        if not isinstance(members, list) or not all(isinstance(member, str) for member in members):
            raise InvalidInputError(f"{name}: the feature set '{title}' is not a list of names; {_DOWNLOAD}.")
    return sets


def count_features(path: Path) -> int:
    """Return the number of features in a features.json. Raises InvalidInputError if its format is invalid."""
    return _number(parse_confined(parse_features, [path], _LIMITS))


def check_table(path: Path, features: Path) -> int:
    """Check a parquet file of a data version by its file name, in a confined process; return its number of rows.

    `features` is the features.json.

    All files need an index `id` of unique strings. Training, validation and live data need the columns of `features`
    and no other features, as int8; the values of live data must be within 0 to 4. Reads the ids (for live data:
    everything). Raises InvalidInputError.
    """
    return _number(parse_confined(parse_table, [path, features], _LIMITS, {"name": path.name}))


def check_live_files(folder: Path) -> None:
    """Check that the live files in `folder` belong to one round, with the same ids. Raises InvalidInputError."""
    names = [schema.LIVE_FILE, schema.LIVE_BENCHMARKS_FILE, schema.LIVE_EXAMPLE_FILES[0]]
    paths = [folder / name for name in names if name == schema.LIVE_FILE or (folder / name).exists()]
    parse_confined(parse_live_files, paths, _LIMITS, {"names": [path.name for path in paths]})


def parse_features(files: list[BinaryIO]) -> list[bytes]:
    """Count the features in a features.json in the current process."""
    return [str(len(_features(files[0]))).encode()]


def parse_table(files: list[BinaryIO], name: str) -> list[bytes]:
    """Check a parquet file against features.json in the current process; return its number of rows."""
    path, features = Path(name), _features(files[1])
    with open_parquet(files[0], name) as file:
        _check_index(path, file)
        columns: dict[str, pa.DataType] = {field.name: field.type for field in file.schema_arrow}
        if path.name in schema.FEATURE_FILES:
            _check_features(path, columns, features)
            _check_columns(path, columns, ("era", "data_type"), _is_text, "strings")
        if path.name.endswith("_benchmark_models.parquet"):
            _check_columns(path, columns, ("era",), _is_text, "strings")
            predictions = [name for name in columns if name not in ("era", "data_type", INDEX)]
            _check_columns(path, columns, predictions or ["<model>"], pa.types.is_floating, "floats")
        if path.name.endswith("_example_preds.parquet"):
            _check_columns(path, columns, ("prediction",), pa.types.is_floating, "floats")
        if path.name == schema.META_MODEL_FILE:
            _check_columns(path, columns, ("numerai_meta_model",), pa.types.is_floating, "floats")
        if path.name == schema.LIVE_FILE:
            _check_values(path, file, features)
        return [str(file.metadata.num_rows).encode()]


def parse_live_files(files: list[BinaryIO], names: list[str]) -> list[bytes]:
    """Check that all files have the ids of the first file, in the current process."""
    live, *other_ids = [set(read_ids(file, name)) for file, name in zip(files, names, strict=True)]
    for name, ids in zip(names[1:], other_ids, strict=True):
        if ids != live:
            raise InvalidInputError(
                f"{name} and {schema.LIVE_FILE} contain different ids, so they belong to different rounds; "
                "download both files for the same round."
            )
    return []


def _number(content: bytes) -> int:
    return int(content) if content.isdigit() else 0


def _features(file: BinaryIO) -> frozenset[str]:
    sets = feature_sets(file.read(), schema.FEATURES_FILE)
    return frozenset(member for members in sets.values() for member in members)


def _check_index(path: Path, file: pq.ParquetFile) -> None:
    pandas = file.schema_arrow.pandas_metadata or {}
    if pandas.get("index_columns") != [INDEX] or INDEX not in file.schema_arrow.names:
        raise InvalidInputError(
            f"{path.name}: the index must be 'id', but it is {pandas.get('index_columns')}; "
            "write the file with pandas with the ids as index 'id', or download it again."
        )
    ids = file.read(columns=[INDEX]).column(INDEX)
    if not _is_text(ids.type) or ids.null_count:
        raise InvalidInputError(
            f"{path.name}: the index 'id' must contain strings, but it contains {ids.type} ({ids.null_count} missing); "
            f"{_DOWNLOAD}."
        )
    repeated = len(ids) - pc.count_distinct(ids).as_py()
    if repeated:
        raise InvalidInputError(f"{path.name}: {repeated} of {len(ids)} rows repeat an id; {_DOWNLOAD}.")
    if not len(ids):
        raise InvalidInputError(f"{path.name} has no rows; {_DOWNLOAD}.")


def _check_features(path: Path, columns: dict[str, pa.DataType], features: frozenset[str]) -> None:
    present = {name for name in columns if name.startswith("feature_")}
    for names, problem in ((present - features, "that features.json does not have"), (features - present, "missing")):
        if names:
            raise InvalidInputError(
                f"{path.name}: {len(names)} features {problem}, first {min(names)}; "
                "use features.json and parquet files from the same data version."
            )
    _check_columns(path, columns, sorted(present), pa.types.is_int8, "int8")


def _check_columns(
    path: Path,
    columns: dict[str, pa.DataType],
    names: list[str] | tuple[str, ...],
    fits: Callable[[pa.DataType], bool],
    kind: str,
) -> None:
    for name in names:
        if name not in columns:
            raise InvalidInputError(f"{path.name} has no column '{name}'; {_DOWNLOAD}.")
        if not fits(columns[name]):
            raise InvalidInputError(
                f"{path.name}: column '{name}' must contain {kind}, but it contains {columns[name]}; {_DOWNLOAD}."
            )


def _check_values(path: Path, file: pq.ParquetFile, features: frozenset[str]) -> None:
    for group in range(file.metadata.num_row_groups):
        table = file.read_row_group(group, columns=sorted(features))
        for name, column in zip(table.column_names, table.columns, strict=True):
            bounds = pc.min_max(column, skip_nulls=False).as_py()
            if bounds["min"] is None or bounds["min"] < 0 or bounds["max"] > _MAX_VALUE:
                raise InvalidInputError(
                    f"{path.name}: column '{name}' must contain whole numbers from 0 to {_MAX_VALUE} without missing "
                    f"values, but it does not; {_DOWNLOAD}."
                )


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
