"""Data that predictions are scored on, by era: validation data of a data version, or live data of a round."""

import contextlib
import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from predictd.data.files import open_parquet
from predictd.data.mapped_cache import MappedCache
from predictd.data.tables import INDEX
from predictd.data.verification import read_feature_sets
from predictd.domain.errors import InvalidInputError, PlatformError
from predictd.domain.failures import ModelFailure
from predictd.scoring.metrics import FactorCache, Features, MappedFeatures, Truth, meta_model
from predictd.scoring.metrics.ranks import Floats, Integers
from predictd.scoring.submission_checks import cause_of_id, check_values

TARGET = "target"
V3_FEATURES = "fncv3_features"
_FEATURE = "feature_"


@dataclass(frozen=True, kw_only=True)
class EvaluationData:
    """Data that predictions are scored on, by era.

    Attributes:
        ids: of all rows, in the order of the eras, as in `truth`.
        truth: eras, targets and the available models to compare with.
        features: for FNC and exposure, or None.
        kind: the kind of ids in messages: 'validation' or 'live'.
    """

    ids: pa.Array
    truth: Truth
    features: Features | None
    kind: str

    def align(self, ids: pa.Array, values: Floats, *, is_complete: bool) -> Floats | ModelFailure:
        """Align predictions with the rows, NaN where missing, or return the first rule that they violate.

        `values` has the shape (predictions,), one for each of `ids` (strings). Valid ids are unique and in the data;
        valid values are finite, within 0 to 1 and not all equal. With `is_complete`, each id of the data needs a
        prediction.
        """
        if not len(ids):
            return ModelFailure(code="empty_predictions", facts={"detail": ""})
        positions = pc.index_in(ids, value_set=self.ids)
        if positions.null_count:
            first = int(np.argmax(np.asarray(positions.is_null())))
            return self._about_ids("unknown_ids", positions.null_count, ids[first])
        rows = positions.to_numpy(zero_copy_only=False)
        counts = np.bincount(rows, minlength=len(self.ids))
        repeated = np.flatnonzero(counts > 1)
        if len(repeated):
            return self._about_ids("duplicate_ids", len(repeated), self.ids[int(repeated[0])])
        if is_complete and len(ids) < len(self.ids):
            first = int(np.argmin(counts))
            return self._about_ids("missing_ids", len(self.ids) - len(ids), self.ids[first])
        failure = check_values(lambda row: str(ids[row]), values)
        if failure is not None:
            return failure
        aligned = np.full(len(self.ids), np.nan)
        aligned[rows] = values
        return aligned

    def _about_ids(self, code: str, count: int, example: pa.Scalar) -> ModelFailure:
        facts = {"count": str(count), "total": str(len(self.ids)), "example": str(example), "kind": self.kind}
        cause = None if code == "missing_ids" else cause_of_id(str(example))
        return ModelFailure(code=code, cause=cause, facts=facts)


@contextmanager
def open_evaluation_data(
    path: Path,
    mapped: MappedCache,
    *,
    kind: str,
    sets: Path,
    compared_files: Mapping[str, Path],
    targets: Callable[[pa.Array], Floats] | None = None,
    factors: Path | None = None,
    features: bool = True,
) -> Iterator[EvaluationData]:
    """Yield the rows of a parquet file with the data to score them.

    Args:
        path: parquet, index `id`, column `era`, features as int8, and `target` unless `targets` returns them.
        mapped: the cache for the mapped form of the file.
        kind: the kind of its ids in messages.
        sets: a features.json with the feature set of FNCv3; may be missing.
        compared_files: field of `Truth` -> file with index `id` and float columns; may be missing. Several columns are
            ranked, gaussianized and averaged.
        targets: returns the targets of ids, NaN where missing.
        factors: folder to cache the factors of the features, about 16 MB an era; None for no cache.
        features: whether to compute FNC and exposure.

    Raises:
        InvalidInputError: a file lacks a required column.
    """
    # Models see the validation data mapped without targets, so both use the same file.
    with mapped.held(path, without_targets=targets is None) as mapped_path:
        if mapped_path == path:
            raise PlatformError(
                f"Not enough disk space to map {path.name}. Free some space, or lower PREDICTD_MAPPED_CACHE_GB."
            )
        columns = _columns(path, ["era"] if targets else ["era", TARGET])
        eras = _Eras(columns["era"])
        ids = columns[INDEX].take(pa.array(eras.order))
        truth = Truth(
            eras=eras.names,
            bounds=eras.bounds,
            targets=targets(ids) if targets else numbers(columns[TARGET])[eras.order],
            **{name: _aligned(file, ids, eras.bounds) for name, file in compared_files.items()},
        )
        # Millions of rows leave freed memory behind that is not needed while eras are scored.
        del columns
        release_memory()
        scored_features = None
        if features:
            source = _EraFeatures(MappedFeatures(mapped_path), eras)
            scored_features = Features(
                source=source,
                all=[name for name in source.names if name.startswith(_FEATURE)],
                v3=_feature_set(sets, V3_FEATURES, source.names),
                cache=None if factors is None else partial(FactorCache, factors, mapped_path.name),
            )
        yield EvaluationData(ids=ids, truth=truth, features=scored_features, kind=kind)


def release_memory() -> None:
    """Return freed memory to the system, which Arrow and the C library otherwise retain."""
    pa.default_memory_pool().release_unused()
    with contextlib.suppress(AttributeError, OSError):  # a C library other than GNU's
        ctypes.CDLL(None).malloc_trim(0)


def numbers(column: pa.Array) -> Floats:
    """Return a column as float64, NaN where a value is missing."""
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False))


def values_for_ids(ids: pa.Array, value_ids: pa.Array, values: Floats) -> Floats:
    """Return the values of ids, given the ids that the values belong to; NaN for other ids."""
    rows = pc.index_in(ids, value_set=value_ids)
    is_known = np.asarray(rows.is_valid())
    return np.where(is_known, values[pc.fill_null(rows, 0).to_numpy(zero_copy_only=False)], np.nan)


class _Eras:
    """The rows of a file by era, in time order.

    Attributes:
        names: of the eras.
        order: positions in the file of all rows with an era, shape (rows,).
        bounds: where each era starts among these, and their number.
    """

    def __init__(self, column: pa.Array) -> None:
        coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        names = coded.dictionary.to_pylist()
        sorted_names = sorted(range(len(names)), key=names.__getitem__)
        ranks = np.empty(len(names) + 1, np.int64)
        ranks[sorted_names] = np.arange(len(names))
        ranks[-1] = -1
        codes = ranks[pc.fill_null(coded.indices.cast(pa.int32()), len(names)).to_numpy(zero_copy_only=False)]
        order = np.argsort(codes, kind="stable")
        self.order: Integers = order[np.searchsorted(codes[order], 0) :]
        counts = np.bincount(codes[self.order], minlength=len(names))
        present = [rank for rank in range(len(names)) if counts[rank]]
        self.names = [str(names[sorted_names[rank]]) for rank in present]
        self.bounds: Integers = np.concatenate([[0], np.cumsum(counts[present])]).astype(np.intp)

    def rows(self, number: int) -> Integers:
        """Return the positions in the file of an era's rows."""
        return self.order[self.bounds[number] : self.bounds[number + 1]]


class _EraFeatures:
    """The features of a mapped file by era, even if its blocks are not eras."""

    def __init__(self, mapped: MappedFeatures, eras: _Eras) -> None:
        self.names: Sequence[str] = mapped.names
        self._mapped = mapped
        self._eras = eras
        # The mapped file has a single block if its eras are few, missing or categorical.
        self._is_by_era = np.array_equal(mapped.bounds, eras.bounds) and all(
            np.array_equal(mapped.rows(number), eras.rows(number)) for number in range(len(eras.names))
        )

    def values(self, number: int) -> NDArray[Any]:
        if self._is_by_era:
            return self._mapped.values(number)
        rows = self._eras.rows(number)
        return np.ascontiguousarray(self._mapped.values(0)[:, rows])


def _columns(path: Path, names: Sequence[str]) -> dict[str, pa.Array]:
    """Return the columns of those names and the ids, each as one array. Raises InvalidInputError if one is missing."""
    with open_parquet(path) as file:
        missing = [name for name in (INDEX, *names) if name not in file.schema_arrow.names]
        if missing:
            raise InvalidInputError(f"{path.name} has no column '{missing[0]}'. Download the complete file again.")
        table = file.read(columns=[INDEX, *names]).combine_chunks()
    return {name: _single_chunk(table.column(name)) for name in (INDEX, *names)}


def _single_chunk(column: pa.ChunkedArray) -> pa.Array:
    joined = column.combine_chunks()
    return pa.concat_arrays(joined.chunks) if isinstance(joined, pa.ChunkedArray) else joined


def _aligned(path: Path, ids: pa.Array, bounds: Integers) -> Floats | None:
    """Return the predictions of a file for those rows; several models are combined."""
    if not path.is_file():
        return None
    with open_parquet(path) as file:
        names = [field.name for field in file.schema_arrow if pa.types.is_floating(field.type)]
    if not names:
        return None
    columns = _columns(path, names)
    model_ids = columns.pop(INDEX)
    models = [values_for_ids(ids, model_ids, numbers(columns[name])) for name in names]
    return models[0] if len(models) == 1 else _combined(models, bounds)


def _combined(models: Sequence[Floats], bounds: Integers) -> Floats:
    """Return the mean of the ranked and gaussianized models in each era, for the rows that all of them have."""
    combined = np.full(len(models[0]), np.nan)
    for start, stop in pairwise(bounds):
        era = np.stack([model[start:stop] for model in models])
        complete = ~np.isnan(era).any(axis=0)
        if complete.any():
            combined[start:stop][complete] = meta_model(era[:, complete])
    return combined


def _feature_set(path: Path, name: str, names_of_data: Sequence[str]) -> Sequence[str] | None:
    members = read_feature_sets(path).get(name) if path.is_file() else None
    available = set(names_of_data)
    return [member for member in members if member in available] or None if members else None
