"""What was seen of one run, and what it proves."""

import signal
from dataclasses import dataclass, field
from typing import IO

from predictd.domain.errors import PlatformError
from predictd.domain.failures import ModelFailure
from predictd.domain.limits import MIB, Limits
from predictd.domain.runs import Predictions, RunReport, describe_stages
from predictd.runtimes.modules import cause_of_missing
from predictd.sandbox.protocol import PickleVersions, PlatformTrouble, ReportedFailure

_NO_CHANNEL = 70
_SEGFAULT = "Segmentation fault! Ensure python and library versions match our environment"
_UNKNOWN = PickleVersions(pythons=(), packages={})
# Failures that bytecode of another Python can cause, whatever they look like.
_MISMATCH_EXPLAINS = {"unpickle_error", "exception", "segfault", "killed", "timeout", "exited"}
# Failures that the state of an object of another version can cause, wherever it shows.
_DEATHS = {"segfault", "killed"}
# What code of a package raises on a state that is not of its version; other errors are about the data.
_STRANGE_STATE = ("AttributeError", "TypeError")


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
        versions: what made the pickle, as far as its bytes say.
        too_large: which output went over its limit, with the limit.
        timed_out: the deadline came first.
        start_timed_out: nothing of the user's was loaded before the deadline of the start.
        out_of_memory: the resource group proves it.
        exit_code: of the runner; 128 and the number for a signal, None when it was stopped.
        lost: what held the run was killed, and how.
        peak_bytes: of memory.
        tables: what it handed out of its compiled trees.
        imports: modules that a warm parent may have ready.
    """

    stage: str | None = None
    stages: dict[str, float] = field(default_factory=dict)
    predictions: Predictions | None = None
    reported: ReportedFailure | None = None
    trouble: PlatformTrouble | None = None
    bad_output: str | None = None
    versions: PickleVersions = _UNKNOWN
    too_large: str | None = None
    timed_out: bool = False
    start_timed_out: bool = False
    out_of_memory: bool = False
    exit_code: int | None = None
    lost: str | None = None
    peak_bytes: int = 0
    tables: IO[bytes] | None = None
    imports: tuple[str, ...] = ()

    @property
    def model_started(self) -> bool:
        """Whether anything of the user's was loaded: from then on, what happens is the model's doing."""
        return self.stage not in (None, "import")


def judge(seen: Evidence, limits: Limits, runtime_version: str) -> RunReport:
    """Tell how the run ended.

    Raises:
        PlatformError: it ended before anything of the user's was loaded, or was ended from outside.
    """
    if not seen.model_started:
        raise PlatformError(_trouble(seen, runtime_version))
    if seen.lost is not None and not seen.out_of_memory:
        raise PlatformError(seen.lost)
    if seen.predictions is not None and seen.bad_output is None:
        return RunReport(
            predictions=seen.predictions,
            stages=seen.stages,
            peak_memory_bytes=seen.peak_bytes,
            tables=seen.tables,
            imports=seen.imports,
        )
    failure = _explained(_failure(seen, limits, runtime_version), seen, runtime_version)
    return RunReport(failure=failure, stages=seen.stages, peak_memory_bytes=seen.peak_bytes)


def _failure(seen: Evidence, limits: Limits, runtime_version: str) -> ModelFailure:
    if seen.out_of_memory:
        return _out_of_memory(seen, limits, "")
    if seen.too_large is not None:
        return _fail("output_too_large", limit=seen.too_large)
    if seen.bad_output is not None:
        return _fail("bad_output", detail=seen.bad_output)
    if seen.reported is not None:
        return _reported(seen, seen.reported, limits, runtime_version)
    if seen.timed_out:
        taken = describe_stages(seen.stages)
        return _fail("timeout", limit=f"{limits.seconds:g} seconds", stage=seen.stage or "", taken=taken)
    return _by_exit_code(seen.exit_code)


def _out_of_memory(seen: Evidence, limits: Limits, detail: str) -> ModelFailure:
    peak = f"{seen.peak_bytes / MIB:.0f} MiB" if seen.peak_bytes else "not measured"
    asked = f" when it asked for more ({detail})" if detail else ""
    return _fail("out_of_memory", limit=f"{limits.memory_bytes / MIB:.0f} MiB", peak=peak, detail=asked)


def _reported(seen: Evidence, reported: ReportedFailure, limits: Limits, runtime_version: str) -> ModelFailure:
    if reported.code == "output_too_large":
        return _fail(reported.code, limit=f"{limits.output_bytes / MIB:.0f} MiB of predictions")
    if reported.code == "out_of_memory":
        return _out_of_memory(seen, limits, reported.detail)
    cause, facts = reported.cause, reported.facts
    if reported.code == "import_error":
        cause, facts = cause_of_missing(reported.detail, runtime_version)
    return ModelFailure(code=reported.code, cause=cause, facts={**facts, "detail": reported.detail})


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
    """The same failure told by its cause, where that is another Python or another version of a package."""
    if failure.code == "unpickle_error" and failure.cause is not None:
        return failure
    pythons = seen.versions.pythons
    if failure.code in _MISMATCH_EXPLAINS and pythons and runtime_version not in pythons:
        return _fail(
            "python_mismatch",
            pickle_python=" or ".join(pythons),
            runtime_python=runtime_version,
            detail=_symptom(failure),
        )
    if failure.code == "exception" and failure.cause is not None:
        return failure
    package = _package_to_blame(failure, seen)
    if package is None:
        return failure
    name, recorded, here = package
    made_with = f"another version of {name}" if recorded is None else f"{name} {recorded}"
    return _fail("package_mismatch", made_with=made_with, package=name, runtime_version=here, detail=_symptom(failure))


def _symptom(failure: ModelFailure) -> str:
    symptoms = {
        "segfault": _SEGFAULT,
        "killed": "the process died of signal {detail}",
        "timeout": "it had not ended after {limit}",
        "exited": "the process ended ({detail})",
        "import_error": "there is no module {detail} in it",
    }
    return symptoms.get(failure.code, "{detail}").format_map(failure.facts)


def _package_to_blame(failure: ModelFailure, seen: Evidence) -> tuple[str, str | None, str] | None:
    """Package, version in the pickle if known, version in the runtime; None when no package explains the failure."""
    differing = seen.versions.packages
    if failure.code in _DEATHS:
        return next(((name, recorded, here) for name, (recorded, here) in differing.items()), None)
    if seen.reported is None or failure.code not in {"import_error", "unpickle_error", "exception"}:
        return None
    for name, here in reversed(seen.reported.packages.items()):
        if name in differing and (failure.code != "exception" or failure.facts["detail"].startswith(_STRANGE_STATE)):
            return name, *differing[name]
        if failure.code == "import_error" or _misses_a_name(failure):
            # A module or a name of an installed package that this version of it does not have.
            return name, None, here
    return None


def _misses_a_name(failure: ModelFailure) -> bool:
    return failure.code == "unpickle_error" and failure.facts["detail"].startswith(
        "AttributeError: Can't get attribute"
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
