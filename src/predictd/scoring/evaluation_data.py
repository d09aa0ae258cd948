"""Data that predictions are measured on, era by era: the validation data of a version, or the live data of a round."""

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
from predictd.scoring.checks import cause_of_id, check_values
from predictd.scoring.metrics import Features, KeptFactors, MappedFeatures, Truth, meta_model
from predictd.scoring.metrics.ranks import Floats, Integers

TARGET = "target"
V3_FEATURES = "fncv3_features"
_FEATURE = "feature_"


@dataclass(frozen=True, kw_only=True)
class MeasuredData:
    """What predictions are measured by, era by era.

    Attributes:
        ids: of all rows, in the order of the eras; the same order as in `truth`.
        truth: eras, targets and the models to compare with; those that there are.
        features: for FNC and exposure; None if features are left out.
        kind: what ids are called in messages: 'validation' or 'live'.
    """

    ids: pa.Array
    truth: Truth
    features: Features | None
    kind: str

    def place(self, ids: pa.Array, values: Floats, *, whole: bool) -> Floats | ModelFailure:
        """Predictions in the order of the rows, NaN where there is none, or the first rule that they break.

        `values` has the shape (predictions,), one for each of `ids` (strings). Each id occurs once and is one of the
        data, each value is finite and within 0 to 1, not all the same. With `whole`, each id of the data needs one.
        """
        if not len(ids):
            return ModelFailure(code="empty_predictions", facts={"detail": ""})
        positions = pc.index_in(ids, value_set=self.ids)
        if positions.null_count:
            first = int(np.argmax(np.asarray(positions.is_null())))
            return self._about_ids("unknown_ids", positions.null_count, ids[first])
        where = positions.to_numpy(zero_copy_only=False)
        counts = np.bincount(where, minlength=len(self.ids))
        repeated = np.flatnonzero(counts > 1)
        if len(repeated):
            return self._about_ids("duplicate_ids", len(repeated), self.ids[int(repeated[0])])
        if whole and len(ids) < len(self.ids):
            first = int(np.argmin(counts))
            return self._about_ids("missing_ids", len(self.ids) - len(ids), self.ids[first])
        wrong = check_values(lambda row: str(ids[row]), values)
        if wrong is not None:
            return wrong
        placed = np.full(len(self.ids), np.nan)
        placed[where] = values
        return placed

    def _about_ids(self, code: str, count: int, example: pa.Scalar) -> ModelFailure:
        facts = {"count": str(count), "total": str(len(self.ids)), "example": str(example), "kind": self.kind}
        cause = None if code == "missing_ids" else cause_of_id(str(example))
        return ModelFailure(code=code, cause=cause, facts=facts)


@contextmanager
def open_measured(
    path: Path,
    mapped: MappedCache,
    *,
    kind: str,
    sets: Path,
    others: Mapping[str, Path],
    targets: Callable[[pa.Array], Floats] | None = None,
    factors: Path | None = None,
    features: bool = True,
) -> Iterator[MeasuredData]:
    """The rows of a parquet file with what they are measured by.

    Args:
        path: parquet, index `id`, column `era`, features as int8, and `target` unless `targets` gives them.
        mapped: where the file is kept in its mapped form.
        kind: what its ids are called in messages.
        sets: a features.json, for the set of FNCv3, if it is there.
        others: files of the columns of `Truth` by name, as far as they are there; index `id`, floats. Of several
            columns the mean of the ranked and gaussianised ones is taken.
        targets: gives the targets of ids, NaN where there is none.
        factors: folder where the factors of the features are kept, some 16 MB an era; None keeps none.
        features: whether FNC and exposure are wanted.

    Raises:
        InvalidInputError: a file lacks what it should hold.
    """
    # What models see of the validation data is mapped without targets: the same file serves both.
    with mapped.held(path, without_targets=targets is None) as held:
        if held == path:
            raise PlatformError(f"The disk has no room to map {path.name}; make room, or lower PREDICTD_MAPPED_GB.")
        columns = _columns(path, ["era"] if targets else ["era", TARGET])
        eras = _Eras(columns["era"])
        ids = columns[INDEX].take(pa.array(eras.order))
        truth = Truth(
            eras=eras.names,
            bounds=eras.bounds,
            targets=targets(ids) if targets else numbers(columns[TARGET])[eras.order],
            **{name: _aligned(file, ids, eras.bounds) for name, file in others.items()},
        )
        # Of millions of rows and row groups much is left behind that need not stay while eras are scored.
        del columns
        release_memory()
        wanted = None
        if features:
            source = _EraFeatures(MappedFeatures(held), eras)
            wanted = Features(
                source=source,
                all=[name for name in source.names if name.startswith(_FEATURE)],
                v3=_feature_set(sets, V3_FEATURES, source.names),
                kept=None if factors is None else partial(KeptFactors, factors, held.name),
            )
        yield MeasuredData(ids=ids, truth=truth, features=wanted, kind=kind)


def release_memory() -> None:
    """Give back to the system what was freed: Arrow and the C library keep it otherwise."""
    pa.default_memory_pool().release_unused()
    with contextlib.suppress(AttributeError, OSError):  # a C library other than GNU's
        ctypes.CDLL(None).malloc_trim(0)


def numbers(column: pa.Array) -> Floats:
    """A column as float64, NaN where a value is missing."""
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False))


def taken(ids: pa.Array, known: pa.Array, values: Floats) -> Floats:
    """The values of ids by `known`, to which they belong; NaN for ids that are not known."""
    rows = pc.index_in(ids, value_set=known)
    there = np.asarray(rows.is_valid())
    return np.where(there, values[pc.fill_null(rows, 0).to_numpy(zero_copy_only=False)], np.nan)


class _Eras:
    """The rows of a file by era, in order of time.

    Attributes:
        names: of the eras.
        order: positions in the file of all rows that have an era, shape (rows,).
        bounds: where each era begins among these, and their number.
    """

    def __init__(self, column: pa.Array) -> None:
        coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        found = coded.dictionary.to_pylist()
        sorted_names = sorted(range(len(found)), key=found.__getitem__)
        ranks = np.empty(len(found) + 1, np.int64)
        ranks[sorted_names] = np.arange(len(found))
        ranks[-1] = -1
        codes = ranks[pc.fill_null(coded.indices.cast(pa.int32()), len(found)).to_numpy(zero_copy_only=False)]
        order = np.argsort(codes, kind="stable")
        self.order: Integers = order[np.searchsorted(codes[order], 0) :]
        counts = np.bincount(codes[self.order], minlength=len(found))
        present = [rank for rank in range(len(found)) if counts[rank]]
        self.names = [str(found[sorted_names[rank]]) for rank in present]
        self.bounds: Integers = np.concatenate([[0], np.cumsum(counts[present])]).astype(np.intp)

    def rows(self, number: int) -> Integers:
        """Positions in the file of an era's rows."""
        return self.order[self.bounds[number] : self.bounds[number + 1]]


class _EraFeatures:
    """The features of a mapped file era by era, also where its blocks are no eras."""

    def __init__(self, mapped: MappedFeatures, eras: _Eras) -> None:
        self.names: Sequence[str] = mapped.names
        self._mapped = mapped
        self._eras = eras
        # The mapped file has one block where its eras are few, missing or categorical.
        self._is_by_era = np.array_equal(mapped.bounds, eras.bounds) and all(
            np.array_equal(mapped.rows(number), eras.rows(number)) for number in range(len(eras.names))
        )

    def values(self, number: int) -> NDArray[Any]:
        if self._is_by_era:
            return self._mapped.values(number)
        rows = self._eras.rows(number)
        return np.ascontiguousarray(self._mapped.values(0)[:, rows])


def _columns(path: Path, names: Sequence[str]) -> dict[str, pa.Array]:
    """The columns of those names and the ids, each as one array. Raises InvalidInputError if one is not there."""
    with open_parquet(path) as file:
        lacking = [name for name in (INDEX, *names) if name not in file.schema_arrow.names]
        if lacking:
            raise InvalidInputError(f"{path.name} has no column '{lacking[0]}'; download it again, the whole of it.")
        table = file.read(columns=[INDEX, *names]).combine_chunks()
    return {name: _one(table.column(name)) for name in (INDEX, *names)}


def _one(column: pa.ChunkedArray) -> pa.Array:
    joined = column.combine_chunks()
    return pa.concat_arrays(joined.chunks) if isinstance(joined, pa.ChunkedArray) else joined


def _aligned(path: Path, ids: pa.Array, bounds: Integers) -> Floats | None:
    """The predictions in a file for the rows of the validation data; of several models, what they say together."""
    if not path.is_file():
        return None
    with open_parquet(path) as file:
        names = [field.name for field in file.schema_arrow if pa.types.is_floating(field.type)]
    if not names:
        return None
    columns = _columns(path, names)
    known = columns.pop(INDEX)
    models = [taken(ids, known, numbers(columns[name])) for name in names]
    return models[0] if len(models) == 1 else _together(models, bounds)


def _together(models: Sequence[Floats], bounds: Integers) -> Floats:
    """The mean of the ranked and gaussianised models in each era, of the rows that all of them have."""
    found = np.full(len(models[0]), np.nan)
    for start, stop in pairwise(bounds):
        era = np.stack([model[start:stop] for model in models])
        complete = ~np.isnan(era).any(axis=0)
        if complete.any():
            found[start:stop][complete] = meta_model(era[:, complete])
    return found


def _feature_set(path: Path, name: str, known: Sequence[str]) -> Sequence[str] | None:
    members = read_feature_sets(path).get(name) if path.is_file() else None
    there = set(known)
    return [member for member in members if member in there] or None if members else None
