"""What a node brings back of one run, in a framing of ours: written on the node, read as the word of a stranger.

A line that names the format, three big-endian sizes (u32, u64, u64), then a small JSON object, the predictions as a
runner sends them, and the compiled tables. A node may be in the hands of a model that got out of its sandbox, so that
the server believes nothing: types, sizes and counts are checked, and nothing is unpickled.
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
from predictd.sandbox.protocol import STAGES, AnswerLimits, BadFrame, TooLarge, read_predictions

MAGIC = b"predictd answer 1\n"
_SIZES = struct.Struct(">IQQ")
_MOST_JSON = 64 * 1024
_MOST_FACTS, _FACT_LENGTH = 16, 2000
_MOST_MEMORY = 1 << 50
_FACTS = {"failure", "stages", "peak_memory_bytes", "imports", "forked", "machine"}
_MOST_FLAGS, _TEXT_LENGTH, _MOST_THREADS = 64, 200, 10_000
# What is wrong with predictions is for the server to find.
_FAILURES = FAILURES.keys() - {
    "constant_predictions",
    "duplicate_ids",
    "missing_ids",
    "nan_predictions",
    "out_of_range",
    "unknown_ids",
}


def most_bytes(limits: AnswerLimits) -> int:
    """How large an answer may be: predictions, tables, and a little for the rest."""
    return limits.result_bytes + limits.output_bytes + MIB


def write_answer(report: RunReport) -> bytes:
    """The report as bytes."""
    failure = report.failure
    content = {
        "failure": None if failure is None else _written(failure),
        "stages": report.stages,
        "peak_memory_bytes": report.peak_memory_bytes,
        "imports": list(report.imports),
        "forked": report.forked,
        "machine": None if report.machine is None else asdict(report.machine),
    }
    facts = json.dumps(content).encode()
    predictions = b"" if report.predictions is None else _packed(report.predictions)
    tables = b"" if report.tables is None else Path(report.tables.name).read_bytes()
    return b"".join((MAGIC, _SIZES.pack(len(facts), len(predictions), len(tables)), facts, predictions, tables))


def read_answer(file: IO[bytes], limits: AnswerLimits) -> RunReport:
    """The report in the file, which is read from its beginning.

    Raises:
        PlatformError: it is no answer to a run within these limits.
    """
    try:
        return _read(file, limits)
    except BadFrame as error:
        raise PlatformError(f"The node's answer can't be read: {error}.") from error
    except TooLarge as error:
        raise PlatformError(f"The node's answer can't be read: it is larger than {error}.") from error


def _read(file: IO[bytes], limits: AnswerLimits) -> RunReport:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(len(MAGIC) + _SIZES.size)
    if len(head) < len(MAGIC) + _SIZES.size or not head.startswith(MAGIC):
        raise BadFrame("it does not begin as one")
    facts_size, predictions_size, tables_size = _SIZES.unpack_from(head, len(MAGIC))
    if facts_size > _MOST_JSON:
        raise TooLarge(f"{_MOST_JSON} bytes of facts")
    limits.check_result(predictions_size)
    limits.check_tables(tables_size)
    if len(head) + facts_size + predictions_size + tables_size != size:
        raise BadFrame("its sizes do not add up")
    facts = _facts(file.read(facts_size))
    failure = _failure(facts["failure"])
    if (failure is None) != (predictions_size > 0):
        raise BadFrame("neither predictions nor a failure, or both")
    if failure is not None and tables_size:
        raise BadFrame("tables of a run that failed")
    return RunReport(
        predictions=None if failure else read_predictions(file.read(predictions_size), limits),
        failure=failure,
        stages=_stages(facts["stages"]),
        peak_memory_bytes=_count(facts["peak_memory_bytes"]),
        tables=_copied(file) if tables_size else None,
        imports=_imports(facts["imports"]),
        forked=facts["forked"] is True,
        machine=_machine(facts["machine"]),
    )


def _copied(file: IO[bytes]) -> IO[bytes]:
    """What is left of the file, in one of its own."""
    copy = tempfile.NamedTemporaryFile(prefix="predictd-tables-")  # noqa: SIM115
    shutil.copyfileobj(file, copy)
    copy.flush()
    return copy


def _facts(payload: bytes) -> dict[str, Any]:
    try:
        facts = json.loads(payload)
    except (ValueError, RecursionError):
        raise BadFrame("its facts are not JSON") from None
    if not isinstance(facts, dict) or facts.keys() != _FACTS:
        raise BadFrame("its facts are others")
    return facts


def _failure(told: object) -> ModelFailure | None:
    if told is None:
        return None
    if not isinstance(told, dict) or told.keys() != {"code", "cause", "facts"}:
        raise BadFrame("a failure that is none")
    code, cause, facts = told["code"], told["cause"], told["facts"]
    if not isinstance(code, str) or code not in _FAILURES or not isinstance(facts, dict) or len(facts) > _MOST_FACTS:
        raise BadFrame("a failure that a run can't have")
    if cause is not None and (not isinstance(cause, str) or cause not in FAILURES[code].causes):
        raise BadFrame("a cause that the failure can't have")
    for name, value in facts.items():
        if len(name) > 100 or not isinstance(value, str) or len(value) > _FACT_LENGTH:
            raise BadFrame("a fact that is none")
    failure = ModelFailure(code=code, cause=cause, facts=facts)
    try:
        failure.describe()
    except (LookupError, ValueError):
        raise BadFrame("a failure without its facts") from None
    return failure


def _stages(told: object) -> dict[str, float]:
    if not isinstance(told, dict) or not set(told) <= set(STAGES):
        raise BadFrame("stages that are none")
    for taken in told.values():
        if isinstance(taken, bool) or not isinstance(taken, int | float) or not 0 <= taken < math.inf:
            raise BadFrame("a stage that took no time that there is")
    return {stage: float(told[stage]) for stage in STAGES if stage in told}


def _count(told: object) -> int:
    if isinstance(told, bool) or not isinstance(told, int) or not 0 <= told <= _MOST_MEMORY:
        raise BadFrame("a memory that is none")
    return told


def _imports(told: object) -> tuple[str, ...]:
    if not isinstance(told, list) or not all(isinstance(name, str) and name in USUAL_MODULES for name in told):
        raise BadFrame("imports that are none")
    return tuple(name for name in USUAL_MODULES if name in told)


def _machine(told: object) -> Machine | None:
    if told is None:
        return None
    names = ("processor", "architecture", "kernel", "libc")
    if not isinstance(told, dict) or told.keys() != {*names, "flags", "threads"}:
        raise BadFrame("a machine that is none")
    flags, threads = told["flags"], told["threads"]
    if (
        not isinstance(flags, list)
        or len(flags) > _MOST_FLAGS
        or not all(map(_is_text, (*flags, *map(told.get, names))))
    ):
        raise BadFrame("a machine of no words")
    if isinstance(threads, bool) or not isinstance(threads, int) or not 0 <= threads <= _MOST_THREADS:
        raise BadFrame("threads that are none")
    return Machine(flags=tuple(flags), threads=threads, **{name: told[name] for name in names})


def _is_text(told: object) -> bool:
    return isinstance(told, str) and len(told) <= _TEXT_LENGTH and "\x00" not in told


def _written(failure: ModelFailure) -> dict[str, Any]:
    facts = {name: value[:_FACT_LENGTH] for name, value in failure.facts.items()}
    return {"code": failure.code, "cause": failure.cause, "facts": facts}


def _packed(predictions: Predictions) -> bytes:
    texts = [one.encode() for one in predictions.ids]
    lengths = np.fromiter((len(text) for text in texts), dtype=">u4", count=len(texts))
    values = predictions.values.astype("<f8")
    return b"".join((struct.pack(">I", len(texts)), lengths.tobytes(), *texts, values.tobytes()))
