"""Whether files are what Numerai publishes, before anything relies on them."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from predictd.data import schema
from predictd.data.catalogue import open_parquet, read_ids
from predictd.data.tables import INDEX
from predictd.domain.errors import InvalidInputError

_LARGEST_VALUE = 4
_DOWNLOAD = "download the file again and import the folder anew"


def read_features(path: Path) -> frozenset[str]:
    """The names of all features in a features.json; InvalidInputError when it is not of the published shape."""
    return frozenset(member for members in read_feature_sets(path).values() for member in members)


def read_feature_sets(path: Path) -> dict[str, list[str]]:
    """The named sets of features in a features.json; InvalidInputError when it is not of the published shape."""
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path.name} can't be read as JSON ({error}); {_DOWNLOAD}.") from error
    sets = contents.get("feature_sets") if isinstance(contents, dict) else None
    if not isinstance(sets, dict) or not sets:
        raise InvalidInputError(f"{path.name} has no 'feature_sets'; {_DOWNLOAD}.")
    for name, members in sets.items():
        if not isinstance(members, list) or not all(isinstance(member, str) for member in members):
            raise InvalidInputError(f"{path.name}: the feature set '{name}' is not a list of names; {_DOWNLOAD}.")
    return sets


def check_table(path: Path, features: frozenset[str]) -> int:
    """Check one parquet file of a data version by what its name says it holds; returns its number of rows.

    All files need an index `id` of unique strings. Training, validation and live data need the columns of `features`
    and no other features, as int8; the values of live data must lie within 0 to 4. Costs a read of the ids (of live
    data: of everything). Raises InvalidInputError that names file, column and remedy.
    """
    with open_parquet(path) as file:
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
        return int(file.metadata.num_rows)


def check_live_files(folder: Path) -> None:
    """Check that the live files in `folder` are of one round: the same ids throughout. Raises InvalidInputError."""
    live = set(read_ids(folder / schema.LIVE_FILE))
    for name in (schema.LIVE_BENCHMARKS_FILE, schema.LIVE_EXAMPLE_FILES[0]):
        if (folder / name).exists() and set(read_ids(folder / name)) != live:
            raise InvalidInputError(
                f"{name} and {schema.LIVE_FILE} hold different ids, so they are of different rounds; "
                f"download both for the same round and put them in place together."
            )


def _check_index(path: Path, file: pq.ParquetFile) -> None:
    pandas = file.schema_arrow.pandas_metadata or {}
    if pandas.get("index_columns") != [INDEX] or INDEX not in file.schema_arrow.names:
        raise InvalidInputError(
            f"{path.name}: the index must be 'id', but it is {pandas.get('index_columns')}; "
            "write the file by pandas with the ids as index 'id', or download it again."
        )
    ids = file.read(columns=[INDEX]).column(INDEX)
    if not _is_text(ids.type) or ids.null_count:
        raise InvalidInputError(
            f"{path.name}: the index 'id' must hold strings, but it holds {ids.type} ({ids.null_count} missing); "
            f"{_DOWNLOAD}."
        )
    repeated = len(ids) - pc.count_distinct(ids).as_py()
    if repeated:
        raise InvalidInputError(f"{path.name}: {repeated} of {len(ids)} rows repeat an id; {_DOWNLOAD}.")
    if not len(ids):
        raise InvalidInputError(f"{path.name} has no rows; {_DOWNLOAD}.")


def _check_features(path: Path, columns: dict[str, pa.DataType], features: frozenset[str]) -> None:
    found = {name for name in columns if name.startswith("feature_")}
    for names, problem in ((found - features, "that features.json does not have"), (features - found, "missing")):
        if names:
            raise InvalidInputError(
                f"{path.name}: {len(names)} features {problem}, first {min(names)}; "
                "take features.json and the parquet files from the same data version."
            )
    _check_columns(path, columns, sorted(found), pa.types.is_int8, "int8")


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
                f"{path.name}: column '{name}' must hold {kind}, but it holds {columns[name]}; {_DOWNLOAD}."
            )


def _check_values(path: Path, file: pq.ParquetFile, features: frozenset[str]) -> None:
    for group in range(file.metadata.num_row_groups):
        table = file.read_row_group(group, columns=sorted(features))
        for name, column in zip(table.column_names, table.columns, strict=True):
            bounds = pc.min_max(column, skip_nulls=False).as_py()
            if bounds["min"] is None or bounds["min"] < 0 or bounds["max"] > _LARGEST_VALUE:
                raise InvalidInputError(
                    f"{path.name}: column '{name}' must hold whole numbers 0 to {_LARGEST_VALUE}, but it holds others "
                    f"or none; {_DOWNLOAD}."
                )


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
