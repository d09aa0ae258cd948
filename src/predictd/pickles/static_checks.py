"""Check a pickle before it is uploaded, from its bytes alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from predictd.domain.failures import ModelFailure
from predictd.pickles.compatibility import (
    check_call,
    check_flaw,
    check_imports,
    check_python,
    check_second_parameter,
    check_versions,
    choose_target,
)
from predictd.pickles.file_access import check_files
from predictd.pickles.formatting import Finding, fail, format_size, join_names, limit_findings, passed, warn
from predictd.pickles.inspection import Inspection, inspect_pickle
from predictd.pickles.lint import check_network, check_processes, check_returns, reachable_names
from predictd.pickles.runtime_target import Target

_LARGE_TABLE = 20 << 20
_LARGE_FILE = 1 << 30
MAX_BYTES = 4 << 30


@dataclass(frozen=True, kw_only=True)
class DataColumns:
    """The columns that a data version passes to a model.

    Attributes:
        version: its name.
        features: every feature.
        live: the columns of the live features, or None if unknown.
        benchmarks: the columns of the live benchmark models, or None if unknown.
    """

    version: str
    features: frozenset[str]
    live: frozenset[str] | None = None
    benchmarks: frozenset[str] | None = None


def check_pickle(
    path: Path | bytes,
    targets: Sequence[Target],
    columns: DataColumns | None = None,
    max_bytes: int = MAX_BYTES,
) -> list[Finding]:
    """Return the findings of every check in a fixed order; see `check_inspected`.

    Raises:
        InvalidInputError: the file can't be opened.
    """
    inspection = inspect_pickle(path)
    return check_inspected(inspection, choose_target(inspection, targets), columns, max_bytes)


def check_inspected(
    inspection: Inspection, target: Target | None, columns: DataColumns | None = None, max_bytes: int = MAX_BYTES
) -> list[Finding]:
    """Return the findings of every check, limited to about 20 per topic.

    Args:
        inspection: of the pickle.
        target: the runtime of the run; None skips the checks that need a runtime.
        columns: the data version of the run; None skips the checks that need a data version.
        max_bytes: the largest file that the server accepts.
    """
    if inspection.flaw is not None:
        return [check_flaw(inspection)]
    inspection = inspection if target is None else inspection.in_python(target.python)
    reachable = reachable_names(inspection)
    findings = [_whole(inspection)]
    if target is not None:
        findings.append(check_python(inspection, target))
        findings += check_imports(inspection, target)
        findings += check_versions(inspection, target)
    findings += _by_value(inspection)
    findings += _call(inspection)
    findings += check_returns(inspection)
    findings += _size(inspection, max_bytes)
    findings += _tensors(inspection)
    findings += list(check_files(inspection, reachable)) or [
        passed("files", "It uses no files or paths of this machine.")
    ]
    findings += list(check_network(inspection)) or [passed("network", "It does not use the network.")]
    findings += check_processes(inspection)
    findings += _tables(inspection)
    if columns is not None:
        findings += _features(inspection, columns)
        findings += _columns(inspection, columns)
    return limit_findings(findings)


def _whole(inspection: Inspection) -> Finding:
    if inspection.complete:
        return passed("file", f"It is a complete pickle with protocol {inspection.protocol}.")
    return warn(
        "file",
        "partly_read",
        "It is too large to read completely; the checks cover only a part of it.",
        "Try it with predictd test.",
    )


def _by_value(inspection: Inspection) -> Iterator[Finding]:
    if inspection.by_value:
        yield passed("modules", f"It contains your modules by value: {join_names(inspection.by_value, 8)}.")


def _call(inspection: Inspection) -> list[Finding]:
    findings = check_call(inspection)
    if findings:
        return findings
    signature = inspection.signature
    if signature.network:
        sentence = f"It is {signature.description}, a network, which takes tensors instead of a DataFrame."
        return [
            warn(
                "signature",
                "bad_signature",
                sentence,
                "Create a predict function with predictd.wrap(model, features=...).",
            )
        ]
    return list(check_second_parameter(inspection)) or [passed("signature", f"It is {signature.shown}.")]


def _size(inspection: Inspection, max_bytes: int) -> Iterator[Finding]:
    size = format_size(inspection.size)
    if inspection.size > max_bytes:
        text = f"It is {size}, and the server accepts at most {format_size(max_bytes)}."
        yield fail(
            "size", "too_large", text, "Remove data that predict does not use; predictd inspect lists the parts."
        )
    elif inspection.size > _LARGE_FILE:
        text = f"It is {size}, which a run loads into its 4 GB of memory in addition to the data."
        yield warn(
            "size", "out_of_memory", text, "Use a smaller model or smaller types; predictd test reports the peak."
        )
    else:
        yield passed("size", f"It is {size}.")


def _tensors(inspection: Inspection) -> Iterator[Finding]:
    if inspection.devices:
        text = f"It contains tensors on the device {join_names(inspection.devices)}, which no run has."
        remedy = ModelFailure(code="unpickle_error", cause="gpu_tensor").remedy
        yield fail("tensors", "gpu_tensor", text, remedy)


def _tables(inspection: Inspection) -> Iterator[Finding]:
    large = [size for _, size in inspection.tables if size > _LARGE_TABLE]
    if large:
        names = [
            part.name for part in inspection.parts if part.kind.endswith(".DataFrame") and part.size > _LARGE_TABLE
        ]
        text = f"It contains {'a table' if len(large) == 1 else f'{len(large)} tables'} of {format_size(max(large))}"
        text += f" in the variable {join_names(names)}." if names else "."
        fix = "Do not use training tables in predict: a pickled function includes every global that it names."
        yield warn("tables", "large_capture", text, fix)


def _features(inspection: Inspection, columns: DataColumns) -> list[Finding]:
    if not inspection.features:
        return []
    unknown = [name for name in inspection.features if name not in columns.features]
    if not unknown:
        text = f"The data version {columns.version} has all {len(inspection.features)} features that it uses."
        return [passed("features", text)]
    certain_columns = {column for _, column in _certain_columns(inspection)}
    report = fail if certain_columns.intersection(unknown) else warn
    text = f"{len(unknown)} of the {len(inspection.features)} features that it uses are not in {columns.version}: "
    fix = f"Train on the features of {columns.version}, or choose the data version that it was trained on."
    return [report("features", "unknown_features", text + join_names(unknown) + ".", fix)]


def _certain_columns(inspection: Inspection) -> set[tuple[int, str]]:
    """Return the columns without which no run succeeds, each with the index of the argument that has it."""
    names = (inspection.signature.arguments or ())[:2]
    columns = {
        (names.index(argument), column)
        for function in inspection.functions
        if function.entry
        for argument, column in function.certain_columns
        if argument in names
    }
    declared = (inspection.manifest or {}).get("needs")
    for index, key in enumerate(("live", "benchmarks")):
        needed = declared.get(key) if isinstance(declared, dict) else None
        columns |= (
            {(index, column) for column in needed if isinstance(column, str)} if isinstance(needed, list) else set()
        )
    return columns


def _columns(inspection: Inspection, columns: DataColumns) -> list[Finding]:
    """Return findings about the columns that the model reads by name from its two arguments."""
    names = (inspection.signature.arguments or ())[:2]
    code = inspection.signature.code
    used = {
        (names.index(argument), column)
        for function in inspection.functions
        if code is not None and function.name == code.name and not function.guarded
        for argument, column in function.columns
        if argument in names
    }
    certain = _certain_columns(inspection)
    used |= certain
    findings: list[Finding] = []
    for index, (source, available) in enumerate(
        (("live features", columns.live), ("benchmark models", columns.benchmarks))
    ):
        used_names = sorted(
            column for position, column in used if position == index and column not in inspection.features
        )
        missing = [column for column in used_names if available is not None and column not in available]
        if missing:
            report = fail if any((index, column) in certain for column in missing) else warn
            text = f"It uses {join_names(missing)} of the {source}, which {columns.version} does not have."
            text += "" if report is fail else " It may run if predict adds them first."
            findings.append(report("columns", "missing_columns", text, "Use columns of the live data."))
        elif used_names and available is not None:
            findings.append(
                passed("columns", f"The {source} have the columns that it uses by name: {join_names(used_names)}.")
            )
    return findings
