"""Compute the metrics of predictions in a subprocess.

A full validation takes minutes of CPU and a gigabyte of memory, and an uploaded file is untrusted: the server delegates
both to a process that it can stop and whose crash it survives.
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
from predictd.domain.limits import max_rows
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
    """A scoring task.

    Attributes:
        predictions: the file, CSV or parquet of the columns id and prediction.
        folders: of the candidate data versions; the first with matching ids is used.
        mapped: folder of mapped files, limited to `mapped_limit` bytes.
        factors: folder of cached factors.
        is_complete: whether each id of the validation data needs a prediction.
    """

    predictions: str
    folders: tuple[str, ...]
    mapped: str
    mapped_limit: int
    factors: str
    is_complete: bool


def diagnose_in_subprocess(
    task: Task, *, progress: Progress | None = None, cancel: threading.Event | None = None
) -> tuple[Diagnostics | ModelFailure, int]:
    """Return the metrics of the file, or the first rule that it violates, computed on one core of a subprocess.

    Also returns the index of the folder. `progress(done, all)` is called from another thread as eras finish.

    Raises:
        InvalidInputError: the file cannot be read.
        PlatformError: the data version is unusable, or the process died.
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
    results: list[dict[str, Any]] = []
    reader = threading.Thread(target=_read, args=(process.stdout, results, progress))
    reader.start()
    _wait(process, cancel)
    reader.join()
    if cancel is not None and cancel.is_set():
        raise CancelledError
    if not results:
        raise PlatformError(f"The scoring process ended with exit code {process.returncode}. See the server's log.")
    result = results[-1]
    if "refused" in result:
        raise InvalidInputError(result["refused"])
    if "failure" in result:
        return ModelFailure(**result["failure"]), result["folder"]
    return Diagnostics.from_wire(result["diagnostics"], suspicion=result["suspicion"]), result["folder"]


def _wait(process: "subprocess.Popen[str]", cancel: threading.Event | None) -> None:
    """Wait for the end of the process, and kill it when cancelled; another thread reads its output."""
    while True:
        try:
            process.wait(_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if cancel is not None and cancel.is_set():
                process.kill()
        else:
            return


def _read(lines: TextIO, results: list[dict[str, Any]], progress: Progress | None) -> None:
    with lines:
        for line in lines:
            message = json.loads(line)
            if "done" not in message:
                results.append(message)
            elif progress is not None:
                progress(message["done"], message["all"])


def main() -> None:
    """Execute the task in the first argument and write lines of JSON: progress, and finally the metrics."""
    task = Task(**json.loads(sys.argv[1]))
    os.nice(_NICE)
    try:
        _write(_execute(task))
    except PlatformError as error:
        sys.exit(error.message)
    except PredictdError as error:
        _write({"refused": error.message})


def _execute(task: Task) -> dict[str, Any]:
    first_failure: dict[str, Any] | None = None
    predictions = read_submission_columns(Path(task.predictions), max_rows(_max_rows(task)))
    for number, folder in enumerate(task.folders):
        with _open(Path(folder), task) as validation:
            aligned = _align(predictions, validation, is_complete=task.is_complete)
            if not isinstance(aligned, ModelFailure):
                diagnostics = validation.diagnose([aligned], lambda done, total: _write({"done": done, "all": total}))[
                    0
                ]
                return {"diagnostics": diagnostics.wire(), "suspicion": diagnostics.suspicion, "folder": number}
            result = {"failure": asdict(aligned), "folder": number}
            if aligned.code != "unknown_ids":
                return result
            first_failure = first_failure or result
    assert first_failure is not None
    return first_failure


def _max_rows(task: Task) -> int:
    """Return the rows of the largest data version."""
    try:
        return max(row_count(Path(folder) / VALIDATION_FILE) for folder in task.folders)
    except InvalidInputError as error:
        raise PlatformError(f"A data version is unusable: {error.message}") from error


def _align(predictions: Columns, validation: ValidationData, *, is_complete: bool) -> Floats | ModelFailure:
    ids, values = predictions
    aligned = validation.align(ids.cast(validation.ids.type), values, is_complete=is_complete)
    release_memory()
    return aligned


@contextmanager
def _open(folder: Path, task: Task) -> Iterator[ValidationData]:
    mapped = MappedCache(folder=Path(task.mapped), limit=task.mapped_limit)
    with ExitStack() as stack:
        try:
            validation = stack.enter_context(open_validation(folder, mapped, factors=Path(task.factors)))
        except InvalidInputError as error:
            raise PlatformError(f"The data version {folder.name} is unusable: {error.message}") from error
        yield validation


def _write(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
