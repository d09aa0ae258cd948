"""The validation data of a data version, and the metrics of predictions for it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from predictd.data import schema
from predictd.data.mapped_cache import MappedCache
from predictd.domain.errors import InvalidInputError
from predictd.scoring.evaluation_data import EvaluationData, open_evaluation_data
from predictd.scoring.metrics import Diagnostics, diagnose_scores, score
from predictd.scoring.metrics.ranks import Floats

TOP_BOTTOM = 200
_COMPARED = {
    "meta_model": schema.META_MODEL_FILE,
    "benchmark": schema.VALIDATION_BENCHMARKS_FILE,
    "example": schema.VALIDATION_EXAMPLE_FILE,
}

Progress = Callable[[int, int], None]


class ValidationData(EvaluationData):
    """The validation data of a data version."""

    def diagnose(self, models: Sequence[Floats], progress: Progress | None = None) -> list[Diagnostics]:
        """Return the metrics of each model, whose predictions `align` returned.

        All models together take hardly longer than one. `progress(done, all)` is called as eras finish.
        """
        predictions = np.stack(models, axis=1)
        eras = len(self.truth.eras)

        def report(offset: int, done: int, _: int) -> None:
            if progress is not None:
                progress(offset + done, 2 * eras)

        scores = score(predictions, self.truth, self.features, progress=partial(report, 0))
        tails = score(predictions, self.truth, self.features, top_bottom=TOP_BOTTOM, progress=partial(report, eras))
        return [diagnose_scores(scores, number, top_bottom=tails) for number in range(len(models))]


@contextmanager
def open_validation(
    folder: Path, mapped: MappedCache, *, factors: Path | None = None, features: bool = True
) -> Iterator[ValidationData]:
    """Yield the validation data in a data version's folder.

    Args:
        folder: contains validation.parquet (index `id`, columns `era`, `target` and features as int8), and optionally
            features.json, meta_model.parquet, validation_benchmark_models.parquet and validation_example_preds.parquet.
        mapped: the cache for the mapped form of validation.parquet.
        factors: folder to cache the factors of the features, about 16 MB an era; None for no cache.
        features: whether to compute FNC and exposure.

    Raises:
        InvalidInputError: a file is missing, or lacks a required column.
    """
    path = folder / schema.VALIDATION_FILE
    if not path.is_file():
        raise InvalidInputError(f"This data version has no {path.name}, which validation needs.")
    compared_files = {name: folder / filename for name, filename in _COMPARED.items()}
    sets = folder / schema.FEATURES_FILE
    with open_evaluation_data(
        path, mapped, kind="validation", sets=sets, compared_files=compared_files, factors=factors, features=features
    ) as data:
        yield ValidationData(ids=data.ids, truth=data.truth, features=data.features, kind=data.kind)
