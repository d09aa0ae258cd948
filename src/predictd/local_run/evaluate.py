"""Models measured on this machine: their predictions for the validation data, from files or by running pickles."""

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

_PICKLE = b"\x80"
"""How each pickle of protocol 2 or later begins, and no text in UTF-8 does."""


class MeasuringError(PredictdError):
    """A model failed, or its predictions can't be measured.

    Attributes:
        failure: of a model that was run or a file that breaks a rule.
    """

    code = "measuring"

    def __init__(self, path: Path, failure: ModelFailure) -> None:
        super().__init__(f"{path}: {failure.describe()}")
        self.code = failure.code
        self.failure = failure


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file to measure, and what to call it."""

    name: str
    path: Path

    @property
    def is_pickle(self) -> bool:
        """Whether the file is to be run, and not read."""
        with self.path.open("rb") as file:
            return file.read(1) == _PICKLE


def sources(paths: Sequence[Path], names: Sequence[str] = ()) -> list[Source]:
    """The files with a name for each: those given, then the names of the files, told apart where they are the same.

    Raises InvalidInputError if a file is not there, or there are more names than files.
    """
    if len(names) > len(paths):
        raise InvalidInputError(f"{len(names)} names for {len(paths)} files; give --name no more often than files.")
    for path in paths:
        if not path.is_file():
            raise InvalidInputError(f"There is no file {path}; give a CSV or parquet file of predictions, or a pickle.")
    stems = [path.stem for path in paths]
    if len(set(stems)) < len(stems):
        stems = [str(path) for path in paths]
    found: list[Source] = []
    for path, name in zip(paths, [*names, *stems[len(names) :]], strict=True):
        taken = sum(one.name == name or one.name.startswith(f"{name} (") for one in found)
        found.append(Source(name=f"{name} ({taken + 1})" if taken else name, path=path))
    return found


def measure(
    wanted: Sequence[Source],
    predictions: Sequence[Floats],
    validation: ValidationData,
    *,
    data: str,
    progress: Progress | None = None,
) -> Report:
    """The figures of each source, all measured together, and each compared with the first.

    Args:
        wanted: at least one.
        predictions: what `predictions_of` answered for each.
        validation: what they are measured by.
        data: what to call the data.
        progress: told the done and the total while figures are computed.

    Raises:
        InvalidInputError: the disk is full.
    """
    try:
        figures = validation.diagnose(predictions, progress)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InvalidInputError(
                "The disk has no room for the factors of the features (16 MB an era); make room in the folder "
                "~/.cache/predictd, or leave features out with --no-features."
            ) from error
        raise
    models = [Model(name=one.name, diagnostics=found) for one, found in zip(wanted, figures, strict=True)]
    bounds = validation.truth.bounds
    comparisons = [
        compare(
            models[0].diagnostics,
            model.diagnostics,
            names=(models[0].name, model.name),
            correlations=correlations_by_era(predictions[0], theirs, bounds),
        )
        for model, theirs in zip(models[1:], predictions[1:], strict=True)
    ]
    return Report(models=tuple(models), comparisons=tuple(comparisons), data=data)


def predictions_of(source: Source, validation: ValidationData, run: Callable[[Source], RunReport]) -> Floats:
    """The predictions of a file, or of a pickle that `run` runs on the validation features; by the rows of the data.

    A file may lack ids of the validation data; a pickle has to answer for each.

    Raises:
        InvalidInputError: the file can't be read.
        MeasuringError: the model failed, or the predictions break a rule.
    """
    is_pickle = source.is_pickle
    if is_pickle:
        outcome = run(source).outcome()
        if isinstance(outcome, ModelFailure):
            raise MeasuringError(source.path, outcome)
        ids, values = pa.array(outcome.ids, pa.string()), outcome.values
    else:
        try:
            with source.path.open("rb") as file:
                ids, values = parse_submission_columns(file, max_rows=len(validation.ids))
        except InvalidInputError as error:
            raise InvalidInputError(f"{source.path}: {error.message}") from error
    placed = validation.align(ids.cast(validation.ids.type), values, is_complete=is_pickle)
    if isinstance(placed, ModelFailure):
        raise MeasuringError(source.path, placed)
    return placed
