"""What was seen of one run, and what it proves."""

import signal
from dataclasses import dataclass, field

from predictd.domain.errors import PlatformError
from predictd.domain.failures import ModelFailure
from predictd.domain.limits import MIB, Limits
from predictd.domain.runs import Predictions, RunReport
from predictd.sandbox.frames import PlatformTrouble, ReportedFailure

_NO_CHANNEL = 70
_SEGFAULT = "Segmentation fault! Ensure python and library versions match our environment"
# Failures that bytecode of another Python can cause, whatever they look like.
_MISMATCH_EXPLAINS = {"unpickle_error", "exception", "segfault", "killed", "timeout", "exited"}


@dataclass(kw_only=True)
class Evidence:
    """Filled while the run goes on.

    Attributes:
        stage: the stage it is in or ended in, None before the first.
        stages: seconds per stage that has ended.
        predictions: the answer, if one arrived.
        reported: what the runner said of a failure.
        trouble: what the runner said of the runtime, before anything of the user's was loaded.
        bad_output: what of its frames was none.
        pythons: versions that can have made the pickle, empty when there is no telling.
        too_large: which output went over its limit, with the limit.
        timed_out: the deadline came first.
        start_timed_out: nothing of the user's was loaded before the deadline of the start.
        out_of_memory: the resource group proves it.
        exit_code: of the first process; 128 and the number for a signal, None when it was stopped.
        peak_bytes: of memory.
    """

    stage: str | None = None
    stages: dict[str, float] = field(default_factory=dict)
    predictions: Predictions | None = None
    reported: ReportedFailure | None = None
    trouble: PlatformTrouble | None = None
    bad_output: str | None = None
    pythons: tuple[str, ...] = ()
    too_large: str | None = None
    timed_out: bool = False
    start_timed_out: bool = False
    out_of_memory: bool = False
    exit_code: int | None = None
    peak_bytes: int = 0

    @property
    def model_started(self) -> bool:
        """Whether anything of the user's was loaded: from then on, what happens is the model's doing."""
        return self.stage not in (None, "import")


def judge(seen: Evidence, limits: Limits, runtime_version: str) -> RunReport:
    """Tell how the run ended.

    Raises:
        PlatformError: it ended before anything of the user's was loaded.
    """
    if not seen.model_started:
        raise PlatformError(_trouble(seen, runtime_version))
    if seen.predictions is not None:
        return RunReport(predictions=seen.predictions, stages=seen.stages, peak_memory_bytes=seen.peak_bytes)
    failure = _explained(_failure(seen, limits), seen, runtime_version)
    return RunReport(failure=failure, stages=seen.stages, peak_memory_bytes=seen.peak_bytes)


def _failure(seen: Evidence, limits: Limits) -> ModelFailure:
    if seen.out_of_memory:
        return _fail("out_of_memory", limit=f"{limits.memory_bytes / MIB:.0f} MiB")
    if seen.too_large is not None:
        return _fail("output_too_large", limit=seen.too_large)
    if seen.bad_output is not None:
        return _fail("bad_output", detail=seen.bad_output)
    if seen.reported is not None:
        return _reported(seen.reported, limits)
    if seen.timed_out:
        return _fail("timeout", limit=f"{limits.seconds:g} seconds", stage=seen.stage or "")
    return _by_exit_code(seen.exit_code)


def _reported(reported: ReportedFailure, limits: Limits) -> ModelFailure:
    if reported.code == "output_too_large":
        return _fail(reported.code, limit=f"{limits.output_bytes / MIB:.0f} MiB of predictions")
    return _fail(reported.code, detail=reported.detail)


def _by_exit_code(code: int | None) -> ModelFailure:
    """An exit code can be faked, but only by a model that wants to be told something wrong."""
    if code is None or code == _NO_CHANNEL:
        return _fail("bad_output", detail="it closed the pipe of the answer")
    try:
        name = signal.Signals(code - 128).name
    except ValueError:
        return _fail("exited", detail=f"exit code {code}")
    if name == "SIGSEGV":
        return _fail("segfault")
    hint = ", a system call that the sandbox forbids" if name == "SIGSYS" else ""
    return _fail("killed", detail=f"{code - 128} ({name}{hint})")


def _explained(failure: ModelFailure, seen: Evidence, runtime_version: str) -> ModelFailure:
    if failure.code not in _MISMATCH_EXPLAINS or not seen.pythons or runtime_version in seen.pythons:
        return failure
    symptoms = {
        "segfault": _SEGFAULT,
        "killed": "the process died of signal {detail}",
        "timeout": "it had not ended after {limit}",
        "exited": "the process ended ({detail})",
    }
    symptom = symptoms.get(failure.code, "{detail}").format_map(failure.facts)
    return _fail(
        "python_mismatch", pickle_python=" or ".join(seen.pythons), runtime_python=runtime_version, detail=symptom
    )


def _trouble(seen: Evidence, version: str) -> str:
    if seen.trouble is not None:
        return f"The runtime of Python {version} is broken: {seen.trouble.detail}."
    if seen.start_timed_out:
        return f"The runtime of Python {version} did not start in time."
    if seen.out_of_memory:
        return f"The memory limit of a run is too small for the runtime of Python {version} itself."
    return f"The sandbox of Python {version} did not start (exit code {seen.exit_code})."


def _fail(code: str, **facts: str) -> ModelFailure:
    return ModelFailure(code=code, facts=facts)
