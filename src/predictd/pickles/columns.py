"""The columns of a data version, read from the files that were downloaded of it."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from predictd.data.schema import FEATURES_FILE, LIVE_BENCHMARKS_FILE, LIVE_FILE
from predictd.domain.errors import InvalidInputError
from predictd.pickles.checks import DataColumns


def read_columns(folder: Path) -> DataColumns:
    """What the folder of a data version says: its features.json, and the columns of its live files if they are there.

    Raises:
        InvalidInputError: there is no features.json and no live.parquet, or they can't be read.
    """
    live = columns_in(folder / LIVE_FILE)
    features = features_in(folder / FEATURES_FILE)
    if features is None:
        features = frozenset(name for name in live or () if name.startswith("feature_"))
    if not features:
        raise InvalidInputError(
            f"{folder} holds no {FEATURES_FILE} and no {LIVE_FILE}. Give the folder of a data version, such as v5.3, "
            "with one of them in it."
        )
    benchmarks = columns_in(folder / LIVE_BENCHMARKS_FILE)
    return DataColumns(version=folder.absolute().name, features=features, live=live, benchmarks=benchmarks)


def features_in(path: Path) -> frozenset[str] | None:
    """Every feature that a features.json names; None where there is no such file.

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
    """The columns of a parquet file; None where there is no such file.

    Raises:
        InvalidInputError: it can't be read.
    """
    if not path.exists():
        return None
    try:
        return frozenset(str(name) for name in pq.read_schema(path).names)
    except (OSError, pa.ArrowException) as error:
        raise InvalidInputError(f"{path} can't be read as parquet; download it again.") from error
