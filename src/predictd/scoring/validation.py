"""The validation data of a data version, and the figures of predictions for it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from predictd.data import schema
from predictd.data.mapped_cache import MappedCache
from predictd.domain.errors import InvalidInputError
from predictd.scoring.evaluation_data import MeasuredData, open_measured
from predictd.scoring.metrics import Diagnostics, diagnose_scores, score
from predictd.scoring.metrics.ranks import Floats

TOP_BOTTOM = 200
_COMPARED = {
    "meta_model": schema.META_MODEL_FILE,
    "benchmark": schema.VALIDATION_BENCHMARKS_FILE,
    "example": schema.VALIDATION_EXAMPLE_FILE,
}

Progress = Callable[[int, int], None]


class ValidationData(MeasuredData):
    """The validation data of a data version."""

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
    others = {name: folder / filename for name, filename in _COMPARED.items()}
    sets = folder / schema.FEATURES_FILE
    with open_measured(
        path, mapped, kind="validation", sets=sets, others=others, factors=factors, features=features
    ) as found:
        yield ValidationData(ids=found.ids, truth=found.truth, features=found.features, kind=found.kind)
