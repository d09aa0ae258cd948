"""The validation data of a data version, and the figures of predictions for it."""

from collections.abc import Callable, Iterator, Sequence
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

from predictd.data import schema
from predictd.data.catalogue import open_parquet
from predictd.data.mapped_cache import MappedCache
from predictd.data.tables import INDEX
from predictd.data.verification import read_feature_sets
from predictd.domain.errors import InvalidInputError, PlatformError
from predictd.domain.failures import ModelFailure
from predictd.scoring.checks import check_values
from predictd.scoring.metrics import (
    Diagnostics,
    Features,
    KeptFactors,
    MappedFeatures,
    Truth,
    diagnose_scores,
    meta_model,
    score,
)
from predictd.scoring.metrics.ranks import Floats, Integers

TARGET = "target"
TOP_BOTTOM = 200
V3_FEATURES = "fncv3_features"
_FEATURE = "feature_"

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class ValidationData:
    """What predictions for the validation data are measured by, era by era.

    Attributes:
        ids: of all rows, in the order of the eras; the same order as in `truth`.
        truth: eras, targets and the models to compare with; those that the data version has.
        features: for FNC and exposure; None if features are left out.
    """

    ids: pa.Array
    truth: Truth
    features: Features | None

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
            return _about_ids("unknown_ids", positions.null_count, len(self.ids), ids[first])
        where = positions.to_numpy(zero_copy_only=False)
        counts = np.bincount(where, minlength=len(self.ids))
        repeated = np.flatnonzero(counts > 1)
        if len(repeated):
            return _about_ids("duplicate_ids", len(repeated), len(self.ids), self.ids[int(repeated[0])])
        if whole and len(ids) < len(self.ids):
            first = int(np.argmin(counts))
            return _about_ids("missing_ids", len(self.ids) - len(ids), len(self.ids), self.ids[first])
        wrong = check_values(lambda row: str(ids[row]), values)
        if wrong is not None:
            return wrong
        placed = np.full(len(self.ids), np.nan)
        placed[where] = values
        return placed

    def diagnose(self, models: Sequence[Floats], progress: Progress | None = None) -> list[Diagnostics]:
        """The figures of each model, of which `place` gave the predictions.

        All models together take hardly longer than one. `progress(done, all)` is called as eras are done.
        """
        predictions = np.stack(models, axis=1)
        eras = len(self.truth.eras)

        def tell(before: int, done: int, _: int) -> None:
            if progress is not None:
                progress(before + done, 2 * eras)

        scores = score(predictions, self.truth, self.features, progress=partial(tell, 0))
        tails = score(predictions, self.truth, self.features, top_bottom=TOP_BOTTOM, progress=partial(tell, eras))
        return [diagnose_scores(scores, number, top_bottom=tails) for number in range(len(models))]


@contextmanager
def open_validation(
    folder: Path, mapped: MappedCache, *, factors: Path | None = None, features: bool = True
) -> Iterator[ValidationData]:
    """The validation data in a data version's folder.

    Args:
        folder: holds validation.parquet (index `id`, columns `era`, `target` and features as int8), and, as far as the
            version has them, features.json, meta_model.parquet, validation_benchmark_models.parquet and
            validation_example_preds.parquet.
        mapped: where validation.parquet is kept in its mapped form.
        factors: folder where the factors of the features are kept, some 16 MB an era; None keeps none.
        features: whether FNC and exposure are wanted.

    Raises:
        InvalidInputError: a file is missing, or lacks what it should hold.
    """
    path = folder / schema.VALIDATION_FILE
    if not path.is_file():
        raise InvalidInputError(f"This data version has no {path.name}, so nothing can be validated on it.")
    with mapped.held(path) as held:
        if held == path:
            raise PlatformError(f"The disk has no room to map {path.name}; make room, or lower PREDICTD_MAPPED_GB.")
        columns = _columns(path, ["era", TARGET])
        eras = _Eras(columns["era"])
        ids = columns[INDEX].take(pa.array(eras.order))
        others = {
            name: _aligned(folder / filename, ids, eras.bounds)
            for name, filename in (
                ("meta_model", schema.META_MODEL_FILE),
                ("benchmark", schema.VALIDATION_BENCHMARKS_FILE),
                ("example", schema.VALIDATION_EXAMPLE_FILE),
            )
        }
        truth = Truth(eras=eras.names, bounds=eras.bounds, targets=_numbers(columns[TARGET])[eras.order], **others)
        wanted = None
        if features:
            source = _EraFeatures(MappedFeatures(held), eras)
            wanted = Features(
                source=source,
                all=[name for name in source.names if name.startswith(_FEATURE)],
                v3=_feature_set(folder, V3_FEATURES, source.names),
                kept=None if factors is None else partial(KeptFactors, factors, held.name),
            )
        yield ValidationData(ids=ids, truth=truth, features=wanted)


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


def _numbers(column: pa.Array) -> Floats:
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False))


def _aligned(path: Path, ids: pa.Array, bounds: Integers) -> Floats | None:
    """The predictions in a file for the rows of the validation data; of several models, what they say together."""
    if not path.is_file():
        return None
    with open_parquet(path) as file:
        names = [field.name for field in file.schema_arrow if pa.types.is_floating(field.type)]
    if not names:
        return None
    columns = _columns(path, names)
    rows = pc.index_in(ids, value_set=columns.pop(INDEX))
    there = np.asarray(rows.is_valid())
    where = pc.fill_null(rows, 0).to_numpy(zero_copy_only=False)
    models = [np.where(there, _numbers(columns[name])[where], np.nan) for name in names]
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


def _feature_set(folder: Path, name: str, known: Sequence[str]) -> Sequence[str] | None:
    path = folder / schema.FEATURES_FILE
    members = read_feature_sets(path).get(name) if path.is_file() else None
    there = set(known)
    return [member for member in members if member in there] or None if members else None


def _about_ids(code: str, count: int, total: int, example: pa.Scalar) -> ModelFailure:
    facts = {"count": str(count), "total": str(total), "example": str(example), "kind": "validation"}
    return ModelFailure(code=code, facts=facts)
