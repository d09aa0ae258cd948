"""The columns of a data version, read from its downloaded files."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from predictd.data.schema import FEATURES_FILE, LIVE_BENCHMARKS_FILE, LIVE_FILE
from predictd.domain.errors import InvalidInputError
from predictd.pickles.static_checks import DataColumns


def read_columns(folder: Path) -> DataColumns:
    """Return the columns of a data version from its features.json and, if present, its live files.

    Raises:
        InvalidInputError: the folder has neither features.json nor live.parquet, or they are invalid.
    """
    live = columns_in(folder / LIVE_FILE)
    features = features_in(folder / FEATURES_FILE)
    if features is None:
        features = frozenset(name for name in live or () if name.startswith("feature_"))
    if not features:
        raise InvalidInputError(
            f"{folder} contains neither {FEATURES_FILE} nor {LIVE_FILE}. Pass the folder of a data version, such as "
            "v5.3, that contains at least one of them."
        )
    benchmarks = columns_in(folder / LIVE_BENCHMARKS_FILE)
    return DataColumns(version=folder.absolute().name, features=features, live=live, benchmarks=benchmarks)


def features_in(path: Path) -> frozenset[str] | None:
    """Return every feature in a features.json, or None if the file does not exist.

    Raises:
        InvalidInputError: it is not the features.json of a data version.
    """
    if not path.exists():
        return None
    try:
        sets = json.loads(path.read_text(encoding="utf-8"))["feature_sets"]
        return frozenset(str(name) for names in sets.values() for name in names)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInputError(f"{path} is not the features.json of a data version; download it again.") from error


def columns_in(path: Path) -> frozenset[str] | None:
    """Return the columns of a parquet file, or None if the file does not exist.

    Raises:
        InvalidInputError: the file cannot be read.
    """
    if not path.exists():
        return None
    try:
        return frozenset(str(name) for name in pq.read_schema(path).names)
    except (OSError, pa.ArrowException) as error:
        raise InvalidInputError(f"{path} can't be read as parquet; download it again.") from error
