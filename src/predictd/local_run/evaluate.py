"""Evaluate predictions for the validation data on this machine, from files or by running pickles."""

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from predictd.domain.errors import InvalidInputError, PredictdError
from predictd.domain.failures import ModelFailure
from predictd.domain.runs import RunReport
from predictd.reports import Model, Report
from predictd.scoring.metrics import compare, correlations_by_era
from predictd.scoring.metrics.ranks import Floats
from predictd.scoring.prediction_files import parse_submission_columns
from predictd.scoring.validation import Progress, ValidationData

_PICKLE_START = b"\x80"
"""First byte of a pickle of protocol 2 or later, which no UTF-8 text starts with."""


class EvaluationError(PredictdError):
    """A model failed, or its predictions can't be evaluated.

    Attributes:
        failure: of the model or of its predictions.
    """

    code = "evaluation"

    def __init__(self, path: Path, failure: ModelFailure) -> None:
        super().__init__(f"{path}: {failure.describe()}")
        self.code = failure.code
        self.failure = failure


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file to evaluate, with a name."""

    name: str
    path: Path

    @property
    def is_pickle(self) -> bool:
        """Return whether the file is a pickle to run, not a file of predictions."""
        with self.path.open("rb") as file:
            return file.read(1) == _PICKLE_START


def name_sources(paths: Sequence[Path], names: Sequence[str] = ()) -> list[Source]:
    """Name the files: use the given names, then file names, made unique.

    Raises InvalidInputError if a file does not exist, or there are more names than files.
    """
    if len(names) > len(paths):
        raise InvalidInputError(f"{len(names)} names for {len(paths)} files. Pass --name at most once per file.")
    for path in paths:
        if not path.is_file():
            raise InvalidInputError(
                f"The file {path} does not exist. Pass a file of predictions (CSV, parquet) or a pickle."
            )
    stems = [path.stem for path in paths]
    if len(set(stems)) < len(stems):
        stems = [str(path) for path in paths]
    named: list[Source] = []
    for path, name in zip(paths, [*names, *stems[len(names) :]], strict=True):
        count = sum(other.name == name or other.name.startswith(f"{name} (") for other in named)
        named.append(Source(name=f"{name} ({count + 1})" if count else name, path=path))
    return named


def evaluate(
    sources: Sequence[Source],
    predictions: Sequence[Floats],
    validation: ValidationData,
    *,
    data: str,
    progress: Progress | None = None,
) -> Report:
    """Return the metrics of all sources, and the comparison of each with the first.

    Args:
        sources: at least one.
        predictions: from `load_predictions`, one per source.
        validation: the validation data.
        data: name of the data.
        progress: called with the completed and the total number of steps.

    Raises:
        InvalidInputError: The disk is full.
    """
    try:
        figures = validation.diagnose(predictions, progress)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InvalidInputError(
                "The disk is full: the factors of the features need 16 MB per era. Free space in "
                "~/.cache/predictd, or pass --no-features."
            ) from error
        raise
    models = [Model(name=source.name, diagnostics=item) for source, item in zip(sources, figures, strict=True)]
    bounds = validation.truth.bounds
    comparisons = [
        compare(
            models[0].diagnostics,
            model.diagnostics,
            names=(models[0].name, model.name),
            correlations=correlations_by_era(predictions[0], values, bounds),
        )
        for model, values in zip(models[1:], predictions[1:], strict=True)
    ]
    return Report(models=tuple(models), comparisons=tuple(comparisons), data=data)


def load_predictions(source: Source, validation: ValidationData, run: Callable[[Source], RunReport]) -> Floats:
    """Return the predictions of a file, or of a pickle run by `run`, in the order of the validation data.

    A file may lack ids of the validation data; a pickle must predict all of them.

    Raises:
        InvalidInputError: The file can't be read.
        EvaluationError: The model failed, or the predictions are invalid.
    """
    is_pickle = source.is_pickle
    if is_pickle:
        outcome = run(source).outcome()
        if isinstance(outcome, ModelFailure):
            raise EvaluationError(source.path, outcome)
        ids, values = pa.array(outcome.ids, pa.string()), outcome.values
    else:
        try:
            with source.path.open("rb") as file:
                ids, values = parse_submission_columns(file, max_rows=len(validation.ids))
        except InvalidInputError as error:
            raise InvalidInputError(f"{source.path}: {error.message}") from error
    placed = validation.align(ids.cast(validation.ids.type), values, is_complete=is_pickle)
    if isinstance(placed, ModelFailure):
        raise EvaluationError(source.path, placed)
    return placed
