"""The result of a job: written on the node, validated on the server.

A line with the format, three big-endian sizes (u32, u64, u64), then a small JSON object, the predictions as a
runner sends them, and the compiled tables. Nodes are untrusted, because a model may have escaped from its sandbox:
types, sizes and counts are checked, and nothing is unpickled.
"""

import json
import math
import os
import shutil
import struct
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np

from predictd.domain.errors import PlatformError
from predictd.domain.failures import FAILURES, ModelFailure
from predictd.domain.limits import MIB
from predictd.domain.runs import Machine, Predictions, RunReport
from predictd.runner.channel import USUAL_MODULES
from predictd.sandbox.protocol import STAGES, FrameError, ResultLimits, ResultTooLargeError, read_predictions

MAGIC = b"predictd result 1\n"
_SIZES = struct.Struct(">IQQ")
_MAX_JSON_BYTES = 64 * 1024
_MAX_FACTS, _MAX_FACT_LENGTH = 16, 2000
_MAX_MEMORY = 1 << 50
_FACTS = {"failure", "stages", "peak_memory_bytes", "imports", "forked", "machine"}
_MAX_FLAGS, _MAX_TEXT_LENGTH, _MAX_THREADS = 64, 200, 10_000
# The server checks the predictions itself.
_FAILURES = FAILURES.keys() - {
    "constant_predictions",
    "duplicate_ids",
    "missing_ids",
    "nan_predictions",
    "out_of_range",
    "unknown_ids",
}


def max_result_bytes(limits: ResultLimits) -> int:
    """Return the maximum size of a result: predictions, tables, and an allowance for the rest."""
    return limits.result_bytes + limits.output_bytes + MIB


def write_result(report: RunReport) -> bytes:
    """Serialize the report."""
    failure = report.failure
    content = {
        "failure": None if failure is None else _failure_to_json(failure),
        "stages": report.stages,
        "peak_memory_bytes": report.peak_memory_bytes,
        "imports": list(report.imports),
        "forked": report.forked,
        "machine": None if report.machine is None else asdict(report.machine),
    }
    facts = json.dumps(content).encode()
    predictions = b"" if report.predictions is None else _pack_predictions(report.predictions)
    tables = b"" if report.tables is None else Path(report.tables.name).read_bytes()
    return b"".join((MAGIC, _SIZES.pack(len(facts), len(predictions), len(tables)), facts, predictions, tables))


def read_result(file: IO[bytes], limits: ResultLimits) -> RunReport:
    """Read and validate the report in the file, from its start.

    Raises:
        PlatformError: It is not a valid result of a run within these limits.
    """
    try:
        return _read(file, limits)
    except FrameError as error:
        raise PlatformError(f"The node's result is invalid: {error}.") from error
    except ResultTooLargeError as error:
        raise PlatformError(f"The node's result is invalid: it exceeds {error}.") from error


def _read(file: IO[bytes], limits: ResultLimits) -> RunReport:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    header = file.read(len(MAGIC) + _SIZES.size)
    if len(header) < len(MAGIC) + _SIZES.size or not header.startswith(MAGIC):
        raise FrameError("unknown format")
    facts_size, predictions_size, tables_size = _SIZES.unpack_from(header, len(MAGIC))
    if facts_size > _MAX_JSON_BYTES:
        raise ResultTooLargeError(f"{_MAX_JSON_BYTES} bytes of facts")
    limits.check_result(predictions_size)
    limits.check_tables(tables_size)
    if len(header) + facts_size + predictions_size + tables_size != size:
        raise FrameError("its sizes do not add up")
    facts = _facts(file.read(facts_size))
    failure = _failure(facts["failure"])
    if (failure is None) != (predictions_size > 0):
        raise FrameError("neither predictions nor a failure, or both")
    if failure is not None and tables_size:
        raise FrameError("tables of a run that failed")
    return RunReport(
        predictions=None if failure else read_predictions(file.read(predictions_size), limits),
        failure=failure,
        stages=_stages(facts["stages"]),
        peak_memory_bytes=_memory(facts["peak_memory_bytes"]),
        tables=_copy_rest(file) if tables_size else None,
        imports=_imports(facts["imports"]),
        forked=facts["forked"] is True,
        machine=_machine(facts["machine"]),
    )


def _copy_rest(file: IO[bytes]) -> IO[bytes]:
    """Copy the rest of the file to a temporary file."""
    copy = tempfile.NamedTemporaryFile(prefix="predictd-tables-")  # noqa: SIM115
    shutil.copyfileobj(file, copy)
    copy.flush()
    return copy


def _facts(payload: bytes) -> dict[str, Any]:
    try:
        facts = json.loads(payload)
    except (ValueError, RecursionError):
        raise FrameError("its facts are not JSON") from None
    if not isinstance(facts, dict) or facts.keys() != _FACTS:
        raise FrameError("unexpected facts")
    return facts


def _failure(value: object) -> ModelFailure | None:
    if value is None:
        return None
    if not isinstance(value, dict) or value.keys() != {"code", "cause", "facts"}:
        raise FrameError("an invalid failure")
    code, cause, facts = value["code"], value["cause"], value["facts"]
    if not isinstance(code, str) or code not in _FAILURES or not isinstance(facts, dict) or len(facts) > _MAX_FACTS:
        raise FrameError("a failure that a run can't have")
    if cause is not None and (not isinstance(cause, str) or cause not in FAILURES[code].causes):
        raise FrameError("a cause that the failure can't have")
    for name, fact in facts.items():
        if len(name) > 100 or not isinstance(fact, str) or len(fact) > _MAX_FACT_LENGTH:
            raise FrameError("an invalid fact")
    failure = ModelFailure(code=code, cause=cause, facts=facts)
    try:
        failure.describe()
    except (LookupError, ValueError):
        raise FrameError("a failure without its facts") from None
    return failure


def _stages(value: object) -> dict[str, float]:
    if not isinstance(value, dict) or not set(value) <= set(STAGES):
        raise FrameError("invalid stages")
    for taken in value.values():
        if isinstance(taken, bool) or not isinstance(taken, int | float) or not 0 <= taken < math.inf:
            raise FrameError("an invalid duration of a stage")
    return {stage: float(value[stage]) for stage in STAGES if stage in value}


def _memory(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_MEMORY:
        raise FrameError("an invalid peak of memory")
    return value


def _imports(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) and name in USUAL_MODULES for name in value):
        raise FrameError("invalid imports")
    return tuple(name for name in USUAL_MODULES if name in value)


def _machine(value: object) -> Machine | None:
    if value is None:
        return None
    names = ("processor", "architecture", "kernel", "libc")
    if not isinstance(value, dict) or value.keys() != {*names, "flags", "threads"}:
        raise FrameError("an invalid machine")
    flags, threads = value["flags"], value["threads"]
    if (
        not isinstance(flags, list)
        or len(flags) > _MAX_FLAGS
        or not all(map(_is_text, (*flags, *map(value.get, names))))
    ):
        raise FrameError("invalid texts of a machine")
    if isinstance(threads, bool) or not isinstance(threads, int) or not 0 <= threads <= _MAX_THREADS:
        raise FrameError("an invalid number of threads")
    return Machine(flags=tuple(flags), threads=threads, **{name: value[name] for name in names})


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _MAX_TEXT_LENGTH and "\x00" not in value


def _failure_to_json(failure: ModelFailure) -> dict[str, Any]:
    facts = {name: value[:_MAX_FACT_LENGTH] for name, value in failure.facts.items()}
    return {"code": failure.code, "cause": failure.cause, "facts": facts}


def _pack_predictions(predictions: Predictions) -> bytes:
    texts = [row_id.encode() for row_id in predictions.ids]
    lengths = np.fromiter((len(text) for text in texts), dtype=">u4", count=len(texts))
    values = predictions.values.astype("<f8")
    return b"".join((struct.pack(">I", len(texts)), lengths.tobytes(), *texts, values.tobytes()))
