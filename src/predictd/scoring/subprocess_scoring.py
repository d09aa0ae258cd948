"""The figures of predictions, computed in a process of their own.

A validation of full size takes minutes of a processor and a gigabyte, and an uploaded file is a stranger's: the server
leaves both to a process that it can stop, and whose death is not its own.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from predictd.data.files import row_count
from predictd.data.mapped_cache import MappedCache
from predictd.data.schema import VALIDATION_FILE
from predictd.domain.errors import CancelledError, InvalidInputError, PlatformError, PredictdError
from predictd.domain.failures import ModelFailure
from predictd.domain.limits import most_rows
from predictd.parsing.packed_columns import Columns
from predictd.scoring.evaluation_data import release_memory
from predictd.scoring.metrics import Diagnostics
from predictd.scoring.metrics.ranks import Floats
from predictd.scoring.prediction_files import read_submission_columns
from predictd.scoring.validation import Progress, ValidationData, open_validation

_MODULE = "predictd.scoring.subprocess_scoring"
_POLL_SECONDS = 0.2
_NICE = 5


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be scored.

    Attributes:
        predictions: the file, CSV or parquet of the columns id and prediction.
        folders: of the data versions that it may be for; the first whose ids it has is taken.
        mapped: folder of mapped files, and `mapped_limit` the bytes it may take.
        factors: folder of kept factors.
        whole: whether each id of the validation data needs a prediction.
    """

    predictions: str
    folders: tuple[str, ...]
    mapped: str
    mapped_limit: int
    factors: str
    whole: bool


def diagnose_apart(
    task: Task, *, progress: Progress | None = None, cancel: threading.Event | None = None
) -> tuple[Diagnostics | ModelFailure, int]:
    """The figures of the file, or the first rule that it breaks; takes one processor in a process of its own.

    Answers the number of the folder too. `progress(done, all)` is called from another thread as eras are done.

    Raises:
        InvalidInputError: the file can't be read.
        PlatformError: the data version can't be validated on, or the process died.
        CancelledError: `cancel` was set.
    """
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    process = subprocess.Popen(
        [sys.executable, "-m", _MODULE, json.dumps(asdict(task))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **threads},
    )
    assert process.stdout is not None
    answers: list[dict[str, Any]] = []
    reading = threading.Thread(target=_read, args=(process.stdout, answers, progress))
    reading.start()
    _wait(process, cancel)
    reading.join()
    if cancel is not None and cancel.is_set():
        raise CancelledError
    if not answers:
        raise PlatformError(f"The process that scores ended with {process.returncode}; the server's log says why.")
    answer = answers[-1]
    if "refused" in answer:
        raise InvalidInputError(answer["refused"])
    if "failure" in answer:
        return ModelFailure(**answer["failure"]), answer["folder"]
    return Diagnostics.from_wire(answer["diagnostics"], suspicion=answer["suspicion"]), answer["folder"]


def _wait(process: "subprocess.Popen[str]", cancel: threading.Event | None) -> None:
    """Wait for the end, killing the process when cancelled; its output is read meanwhile."""
    while True:
        try:
            process.wait(_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if cancel is not None and cancel.is_set():
                process.kill()
        else:
            return


def _read(lines: TextIO, answers: list[dict[str, Any]], progress: Progress | None) -> None:
    with lines:
        for line in lines:
            told = json.loads(line)
            if "done" not in told:
                answers.append(told)
            elif progress is not None:
                progress(told["done"], told["all"])


def main() -> None:
    """Answer the task in the first argument with lines of JSON: progress, and at last the figures."""
    task = Task(**json.loads(sys.argv[1]))
    os.nice(_NICE)
    try:
        _say(_answer(task))
    except PlatformError as error:
        sys.exit(error.message)
    except PredictdError as error:
        _say({"refused": error.message})


def _answer(task: Task) -> dict[str, Any]:
    first: dict[str, Any] | None = None
    predictions = read_submission_columns(Path(task.predictions), most_rows(_largest(task)))
    for number, folder in enumerate(task.folders):
        with _opened(Path(folder), task) as validation:
            placed = _placed(predictions, validation, whole=task.whole)
            if not isinstance(placed, ModelFailure):
                found = validation.diagnose([placed], lambda done, every: _say({"done": done, "all": every}))[0]
                return {"diagnostics": found.wire(), "suspicion": found.suspicion, "folder": number}
            answer = {"failure": asdict(placed), "folder": number}
            if placed.code != "unknown_ids":
                return answer
            first = first or answer
    assert first is not None
    return first


def _largest(task: Task) -> int:
    """Rows of the largest of the data versions."""
    try:
        return max(row_count(Path(folder) / VALIDATION_FILE) for folder in task.folders)
    except InvalidInputError as error:
        raise PlatformError(f"A data version can't be used: {error.message}") from error


def _placed(predictions: Columns, validation: ValidationData, *, whole: bool) -> Floats | ModelFailure:
    ids, values = predictions
    placed = validation.place(ids.cast(validation.ids.type), values, whole=whole)
    release_memory()
    return placed


@contextmanager
def _opened(folder: Path, task: Task) -> Iterator[ValidationData]:
    mapped = MappedCache(folder=Path(task.mapped), limit=task.mapped_limit)
    with ExitStack() as stack:
        try:
            validation = stack.enter_context(open_validation(folder, mapped, factors=Path(task.factors)))
        except InvalidInputError as error:
            raise PlatformError(f"The data version {folder.name} can't be used: {error.message}") from error
        yield validation


def _say(told: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
