"""Replays of recorded runs, compared with the original results.

Read-only for the database and storage.
"""

import io
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from predictd.data import read_ids
from predictd.data.mapped_cache import MappedCache
from predictd.db.models import Run
from predictd.domain.errors import InvalidInputError, NotFoundError, PlatformError
from predictd.domain.failures import ModelFailure
from predictd.domain.limits import max_rows
from predictd.domain.run_records import SUCCESS, RunRecord, StoredObject
from predictd.domain.runs import Machine, Predictions, RunReport, RunRequest, RuntimePaths, SandboxKind
from predictd.domain.states import RunState
from predictd.replay.runtime_upgrade_check import UNCHANGED, Movement, compare
from predictd.sandbox import run
from predictd.scoring import check_submission, predictions_csv
from predictd.scoring.prediction_files import read_submission_columns
from predictd.storage import Storage
from predictd.worker.diagnostics_run import predictions_table
from predictd.worker.hashes import code_version, hash_object
from predictd.worker.provenance import list_records, runtime_hashes, stored_object

_SLOT = 997


class Verdict(StrEnum):
    """The result of a replay."""

    IDENTICAL = "identical"
    """The same predictions bit for bit, or the same failure."""
    CLOSE = "close"
    """Predictions that differ by no more than rounding does."""
    DIFFERS = "differs"
    """Other predictions, or another end."""
    IMPOSSIBLE = "impossible"
    """What went in is not there any more, or is not what it was."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Something that is not as it was recorded: `now` is None where it is gone."""

    name: str
    recorded: str | None
    now: str | None


@dataclass(frozen=True, kw_only=True)
class Replay:
    """A recorded run, and what became of running it again.

    Attributes:
        record: what was recorded.
        verdict: how the two compare.
        outcome: 'success' or the code of the failure now; empty where it could not be run.
        message: what went wrong now, with the remedy; empty for a success.
        inputs: what of the inputs is missing or changed; they make a comparison impossible.
        differences: what else is not as it was, as explanations.
        movement: how the predictions differ; None where they are identical or can't be compared.
    """

    record: RunRecord
    verdict: Verdict
    outcome: str = ""
    message: str = ""
    inputs: tuple[Difference, ...] = ()
    differences: tuple[Difference, ...] = ()
    movement: Movement | None = None


def find_record(session: Session, run_id: str, attempt: int | None) -> RunRecord:
    """The record of that attempt of the run, or of its newest one that ended.

    Raises:
        NotFoundError: there is no such run, or no record of such an attempt.
    """
    run = session.get(Run, run_id)
    if run is None:
        raise NotFoundError(f"There is no run {run_id[:64]!r}; `predictd status MODEL` shows a pickle's runs.")
    rows = list_records(session, run.id)
    for row in rows:
        if attempt in (None, row.attempt):
            return RunRecord.of(row.facts)
    if rows:
        attempts = ", ".join(str(row.attempt) for row in rows)
        raise NotFoundError(f"Attempt {attempt} of run {run.id} has no record; there are those of: {attempts}.")
    if run.pickle_id is None:
        raise NotFoundError(f"Run {run.id} scored an uploaded file; there is no run that could be replayed.")
    if not RunState(run.state).is_final:
        raise NotFoundError(f"Run {run.id} is {run.state}; replay it when it has ended.")
    raise NotFoundError(
        f"Run {run.id} has no record: no attempt of it got to its end, or it ended before records were stored."
    )


def replay_run(
    storage: Storage,
    record: RunRecord,
    mapped: MappedCache,
    *,
    find_runtime: Callable[[str], RuntimePaths],
    kind: SandboxKind,
    on_step: Callable[[str], None],
) -> Replay:
    """Check what went in, run it once more in a cold process within the recorded limits, and compare.

    Args:
        storage: where pickles and data are.
        record: of the run.
        mapped: cache of memory-mapped data files.
        find_runtime: where the runtime in a folder lies on this machine.
        kind: what isolates the model.
        on_step: called with progress messages.

    Raises:
        PlatformError: the platform failed while running it.
    """
    on_step("Comparing the hashes of what went in")
    inputs, runtime, differences = _check(storage, record, find_runtime)
    if inputs or runtime is None:
        return Replay(record=record, verdict=Verdict.IMPOSSIBLE, inputs=tuple(inputs), differences=tuple(differences))
    on_step(f"Running it again in Python {record.runtime.python}, {record.limits.seconds:g} s at most")
    with ExitStack() as files:
        features = files.enter_context(storage.local_path(record.features.key))
        report = _run(storage, record, features, mapped, runtime, kind, files)
        ended = _checked_outcome(report, record, features)
    differences += _differences(record, kind, report.machine)
    outcome = ended.code if isinstance(ended, ModelFailure) else SUCCESS
    message = ended.describe() if isinstance(ended, ModelFailure) else ""
    verdict, movement = _compare(storage, record, ended)
    return Replay(
        record=record,
        verdict=verdict,
        outcome=outcome,
        message=message,
        differences=tuple(differences),
        movement=movement,
    )


def _check(
    storage: Storage, record: RunRecord, find_runtime: Callable[[str], RuntimePaths]
) -> tuple[list[Difference], RuntimePaths | None, list[Difference]]:
    """What of the inputs is not as it was, the runtime, and what else of the stored is not."""
    inputs, differences = [], []
    for name in ("pickle", "features", "benchmarks"):
        recorded: StoredObject | None = getattr(record, name)
        if recorded is not None:
            inputs += _object(storage, name, recorded)
    if record.output is not None:
        differences += _object(storage, "output", record.output)
    try:
        runtime = find_runtime(record.runtime.folder)
    except PlatformError:
        recorded_lock = record.runtime.lock_sha256 or record.runtime.tag
        return [*inputs, Difference(name="runtime", recorded=recorded_lock, now=None)], None, differences
    lock, interpreter = runtime_hashes(runtime)
    if record.runtime.lock_sha256 is not None and lock != record.runtime.lock_sha256:
        inputs.append(Difference(name="runtime lock", recorded=record.runtime.lock_sha256, now=lock))
    if record.runtime.interpreter_sha256 not in (None, interpreter):
        differences.append(Difference(name="interpreter", recorded=record.runtime.interpreter_sha256, now=interpreter))
    return inputs, runtime, differences


def _object(storage: Storage, name: str, recorded: StoredObject) -> list[Difference]:
    current = hash_object(storage, recorded.key)
    if current == recorded:
        return []
    return [Difference(name=name, recorded=recorded.sha256, now=current.sha256 if current is not None else None)]


def _run(
    storage: Storage,
    record: RunRecord,
    features: Path,
    mapped: MappedCache,
    runtime: RuntimePaths,
    kind: SandboxKind,
    files: ExitStack,
) -> RunReport:
    benchmarks = None
    if record.benchmarks is not None:
        path = files.enter_context(storage.local_path(record.benchmarks.key))
        benchmarks = files.enter_context(mapped.held(path))
    request = RunRequest(
        pickle=files.enter_context(storage.local_path(record.pickle.key)),
        live=files.enter_context(mapped.held(features, without_targets=record.is_validation)),
        benchmarks=benchmarks,
        runtime=runtime,
        limits=record.limits,
        slot=_SLOT,
        trees=record.trees,
        seed=record.seed,
    )
    return run(request, on_log=lambda _: None, kind=kind)


def _checked_outcome(report: RunReport, record: RunRecord, features: Path) -> Predictions | ModelFailure:
    """The end as the recorded run would have had it: predictions on validation data are stored unchecked."""
    ended = report.outcome()
    if isinstance(ended, ModelFailure) or record.is_validation:
        return ended
    return check_submission(ended, read_ids(features)) or ended


def _compare(storage: Storage, record: RunRecord, ended: Predictions | ModelFailure) -> tuple[Verdict, Movement | None]:
    if record.output is None:
        is_same = isinstance(ended, ModelFailure) and ended.code == record.outcome
        return (Verdict.IDENTICAL if is_same else Verdict.DIFFERS), None
    if isinstance(ended, ModelFailure):
        return Verdict.DIFFERS, None
    content = _parquet(ended) if record.is_validation else predictions_csv(ended)
    if stored_object(record.output.key, content) == record.output:
        return Verdict.IDENTICAL, None
    recorded_values = _stored_values(storage, record.output, ended.ids)
    if recorded_values is None:
        return Verdict.DIFFERS, None
    if np.array_equal(recorded_values, ended.values, equal_nan=True):
        return Verdict.IDENTICAL, None
    movement = compare(recorded_values, np.asarray(ended.values))
    return (Verdict.CLOSE if movement.max_difference <= UNCHANGED else Verdict.DIFFERS), movement


def _stored_values(storage: Storage, output: StoredObject, ids: list[str]) -> NDArray[np.float64] | None:
    """The recorded predictions in the order of these ids; None where they are gone, changed or of other ids."""
    if hash_object(storage, output.key) != output:
        return None
    try:
        with storage.local_path(output.key) as path:
            stored_ids, values = read_submission_columns(path, max_rows(len(ids)))
    except InvalidInputError:
        return None
    row_by_id = {id_: row for row, id_ in enumerate(stored_ids.to_pylist())}
    if len(row_by_id) != len(ids) or not all(id_ in row_by_id for id_ in ids):
        return None
    ordered: NDArray[np.float64] = values[[row_by_id[id_] for id_ in ids]]
    return ordered


def _parquet(predictions: Predictions) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(predictions_table(predictions), buffer)
    return buffer.getvalue()


def _differences(record: RunRecord, kind: SandboxKind, machine: Machine | None) -> list[Difference]:
    """What besides the inputs is not as it was."""
    code, recorded_machine = code_version(), record.machine
    pairs: list[tuple[str, str | None, str | None]] = [
        ("predictd", record.code.version, code.version),
        ("predictd's source", record.code.source_sha256, code.source_sha256),
        ("sandbox", record.sandbox.value, kind.value),
    ]
    if machine is not None and recorded_machine is not None:
        pairs += [
            ("processor", recorded_machine.processor, machine.processor),
            ("instructions", " ".join(recorded_machine.flags), " ".join(machine.flags)),
            ("architecture", recorded_machine.architecture, machine.architecture),
            ("kernel", recorded_machine.kernel, machine.kernel),
            ("C library", recorded_machine.libc, machine.libc),
        ]
    return [Difference(name=name, recorded=old, now=new) for name, old, new in pairs if old != new]
