"""The evidence of one run, and the failure that it proves."""

import signal
from dataclasses import dataclass, field
from typing import IO

from predictd.domain.errors import PlatformError
from predictd.domain.failures import ModelFailure
from predictd.domain.limits import MIB, Limits
from predictd.domain.runs import Predictions, RunReport, describe_stages
from predictd.runtimes.modules import cause_of_missing
from predictd.sandbox.protocol import PickleVersions, ReportedFailure, ReportedPlatformFailure

_NO_CHANNEL = 70
_SEGFAULT = "Segmentation fault! Ensure python and library versions match our environment"
_UNKNOWN_VERSIONS = PickleVersions(pythons=(), packages={})
# Failures that bytecode of another Python can cause.
_MISMATCH_EXPLAINS = {"unpickle_error", "exception", "segfault", "killed", "timeout", "exited"}
# Failures that the state of an object of another version can cause in any code.
_DEATHS = {"segfault", "killed"}
# Raised by the code of a package for a state of another version; other errors concern the data.
_STATE_ERRORS = ("AttributeError", "TypeError")


@dataclass(kw_only=True)
class Evidence:
    """What is known about a run; filled while it runs.

    Attributes:
        stage: the current or last stage, None before the first.
        stages: seconds of each stage that has ended.
        predictions: the result, if it arrived.
        reported: the failure that the runner reported.
        platform_failure: the failure of the runtime that the runner reported before the user's code was loaded.
        bad_output: why its frames are invalid.
        versions: what the pickle was created with, as far as its bytes show.
        too_large: the output that exceeded its limit, with the limit.
        timed_out: the model exceeded its time limit.
        start_timed_out: the sandbox did not start in time.
        out_of_memory: the resource group proves that it ran out of memory.
        exit_code: of the runner; 128 plus the number of a signal, None if the server ended it.
        lost: the message, if the process that supervises the run was killed.
        peak_bytes: peak of memory.
        tables: the compiled tables of its trees.
        imports: modules that a fork server can import in advance.
    """

    stage: str | None = None
    stages: dict[str, float] = field(default_factory=dict)
    predictions: Predictions | None = None
    reported: ReportedFailure | None = None
    platform_failure: ReportedPlatformFailure | None = None
    bad_output: str | None = None
    versions: PickleVersions = _UNKNOWN_VERSIONS
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
        """Return whether anything of the user's was loaded; from then on the model is responsible."""
        return self.stage not in (None, "import")


def judge(evidence: Evidence, limits: Limits, runtime_version: str) -> RunReport:
    """Return the report of a run.

    Raises:
        PlatformError: The run ended before anything of the user's was loaded, or was killed from outside.
    """
    if not evidence.model_started:
        raise PlatformError(_describe_platform_failure(evidence, runtime_version))
    if evidence.lost is not None and not evidence.out_of_memory:
        raise PlatformError(evidence.lost)
    if evidence.predictions is not None and evidence.bad_output is None:
        return RunReport(
            predictions=evidence.predictions,
            stages=evidence.stages,
            peak_memory_bytes=evidence.peak_bytes,
            tables=evidence.tables,
            imports=evidence.imports,
        )
    failure = _explain_by_versions(_failure(evidence, limits, runtime_version), evidence, runtime_version)
    return RunReport(failure=failure, stages=evidence.stages, peak_memory_bytes=evidence.peak_bytes)


def _failure(evidence: Evidence, limits: Limits, runtime_version: str) -> ModelFailure:
    if evidence.out_of_memory:
        return _out_of_memory(evidence, limits, "")
    if evidence.too_large is not None:
        return _model_failure("output_too_large", limit=evidence.too_large)
    if evidence.bad_output is not None:
        return _model_failure("bad_output", detail=evidence.bad_output)
    if evidence.reported is not None:
        return _reported(evidence, evidence.reported, limits, runtime_version)
    if evidence.timed_out:
        durations = describe_stages(evidence.stages)
        return _model_failure(
            "timeout", limit=f"{limits.seconds:g} seconds", stage=evidence.stage or "", taken=durations
        )
    return _failure_of_exit_code(evidence.exit_code)


def _out_of_memory(evidence: Evidence, limits: Limits, detail: str) -> ModelFailure:
    peak = f"{evidence.peak_bytes / MIB:.0f} MiB" if evidence.peak_bytes else "not measured"
    detail_text = f" when it asked for more ({detail})" if detail else ""
    return _model_failure("out_of_memory", limit=f"{limits.memory_bytes / MIB:.0f} MiB", peak=peak, detail=detail_text)


def _reported(evidence: Evidence, reported: ReportedFailure, limits: Limits, runtime_version: str) -> ModelFailure:
    if reported.code == "output_too_large":
        return _model_failure(reported.code, limit=f"{limits.output_bytes / MIB:.0f} MiB of predictions")
    if reported.code == "out_of_memory":
        return _out_of_memory(evidence, limits, reported.detail)
    cause, facts = reported.cause, reported.facts
    if reported.code == "import_error":
        cause, facts = cause_of_missing(reported.detail, runtime_version)
    return ModelFailure(code=reported.code, cause=cause, facts={**facts, "detail": reported.detail})


def _failure_of_exit_code(code: int | None) -> ModelFailure:
    """Return the failure of an exit code; a model that fakes one only misleads its own user."""
    if code is None or code == _NO_CHANNEL:
        return _model_failure("bad_output", detail="it closed the pipe of the result")
    try:
        name = signal.Signals(code - 128).name
    except ValueError:
        return _model_failure("exited", detail=f"exit code {code}")
    if name == "SIGSEGV":
        return _model_failure("segfault")
    hint = ", a system call that the sandbox forbids" if name == "SIGSYS" else ""
    return _model_failure("killed", detail=f"{code - 128} ({name}{hint})")


def _explain_by_versions(failure: ModelFailure, evidence: Evidence, runtime_version: str) -> ModelFailure:
    """Return a version mismatch instead of the failure, if a version of Python or a package explains it."""
    if failure.code == "unpickle_error" and failure.cause is not None:
        return failure
    pythons = evidence.versions.pythons
    if failure.code in _MISMATCH_EXPLAINS and pythons and runtime_version not in pythons:
        return _model_failure(
            "python_mismatch",
            pickle_python=" or ".join(pythons),
            runtime_python=runtime_version,
            detail=_describe_symptom(failure),
        )
    if failure.code == "exception" and failure.cause is not None:
        return failure
    package = _package_to_blame(failure, evidence)
    if package is None:
        return failure
    name, recorded, installed = package
    created_with = f"another version of {name}" if recorded is None else f"{name} {recorded}"
    return _model_failure(
        "package_mismatch",
        made_with=created_with,
        package=name,
        runtime_version=installed,
        detail=_describe_symptom(failure),
    )


def _describe_symptom(failure: ModelFailure) -> str:
    symptoms = {
        "segfault": _SEGFAULT,
        "killed": "the process died of signal {detail}",
        "timeout": "it had not ended after {limit}",
        "exited": "the process ended ({detail})",
        "import_error": "there is no module {detail} in it",
    }
    return symptoms.get(failure.code, "{detail}").format_map(failure.facts)


def _package_to_blame(failure: ModelFailure, evidence: Evidence) -> tuple[str, str | None, str] | None:
    """Return package, version in the pickle if known, and version in the runtime of the package that explains it."""
    differences = evidence.versions.packages
    if failure.code in _DEATHS:
        return next(((name, recorded, installed) for name, (recorded, installed) in differences.items()), None)
    if evidence.reported is None or failure.code not in {"import_error", "unpickle_error", "exception"}:
        return None
    for name, installed in reversed(evidence.reported.packages.items()):
        if name in differences and (failure.code != "exception" or failure.facts["detail"].startswith(_STATE_ERRORS)):
            return name, *differences[name]
        if failure.code == "import_error" or _misses_a_name(failure):
            # This version of the package does not have the module or name.
            return name, None, installed
    return None


def _misses_a_name(failure: ModelFailure) -> bool:
    return failure.code == "unpickle_error" and failure.facts["detail"].startswith(
        "AttributeError: Can't get attribute"
    )


def _describe_platform_failure(evidence: Evidence, version: str) -> str:
    if evidence.platform_failure is not None:
        return f"The runtime of Python {version} is broken: {evidence.platform_failure.detail}."
    if evidence.start_timed_out:
        return f"The runtime of Python {version} did not start in time."
    if evidence.out_of_memory:
        return f"The memory limit of a run is too small for the runtime of Python {version} itself."
    return f"The sandbox of Python {version} did not start (exit code {evidence.exit_code})."


def _model_failure(code: str, **facts: str) -> ModelFailure:
    return ModelFailure(code=code, facts=facts)
