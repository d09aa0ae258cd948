"""The list that a pickle is checked against before it is uploaded; all of it from its bytes."""

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
from predictd.pickles.findings import Finding, fail, listed, passed, shortened, shown_size, warn
from predictd.pickles.inspection import Inspection, inspect_pickle
from predictd.pickles.lint import check_network, check_processes, check_returns, reachable_names
from predictd.pickles.runtime_target import Target

_LARGE_TABLE = 20 << 20
_MUCH_MEMORY = 1 << 30
MOST_BYTES = 4 << 30


@dataclass(frozen=True, kw_only=True)
class DataColumns:
    """What a data version gives to a model.

    Attributes:
        version: its name.
        features: every feature.
        live: the columns of the live features; None where they are not known.
        benchmarks: the columns of the live benchmark models; None where they are not known.
    """

    version: str
    features: frozenset[str]
    live: frozenset[str] | None = None
    benchmarks: frozenset[str] | None = None


def check_pickle(
    path: Path | bytes,
    targets: Sequence[Target],
    columns: DataColumns | None = None,
    most_bytes: int = MOST_BYTES,
) -> list[Finding]:
    """The findings of the whole list, in its order; see `check_inspected`.

    Raises:
        InvalidInputError: the file can't be opened.
    """
    inspection = inspect_pickle(path)
    return check_inspected(inspection, choose_target(inspection, targets), columns, most_bytes)


def check_inspected(
    inspection: Inspection, target: Target | None, columns: DataColumns | None = None, most_bytes: int = MOST_BYTES
) -> list[Finding]:
    """The findings of the whole list, at most some 20 of each topic.

    Args:
        inspection: of the pickle.
        target: the runtime that it is to run in; None leaves out what depends on one.
        columns: the data version that it is to run on; None leaves out what depends on one.
        most_bytes: the largest file that the server takes.
    """
    if inspection.flaw is not None:
        return [check_flaw(inspection)]
    inspection = inspection if target is None else inspection.in_python(target.python)
    reachable = reachable_names(inspection)
    found = [_whole(inspection)]
    if target is not None:
        found.append(check_python(inspection, target))
        found += check_imports(inspection, target)
        found += check_versions(inspection, target)
    found += _by_value(inspection)
    found += _call(inspection)
    found += check_returns(inspection)
    found += _size(inspection, most_bytes)
    found += _tensors(inspection)
    found += list(check_files(inspection, reachable)) or [
        passed("files", "It names no files or paths of this machine.")
    ]
    found += list(check_network(inspection)) or [passed("network", "It does not use the network.")]
    found += check_processes(inspection)
    found += _tables(inspection)
    if columns is not None:
        found += _features(inspection, columns)
        found += _columns(inspection, columns)
    return shortened(found)


def _whole(inspection: Inspection) -> Finding:
    if inspection.complete:
        return passed("file", f"It is a whole pickle of protocol {inspection.protocol}.")
    return warn(
        "file",
        "partly_read",
        "It holds more than can be read here; what is said holds for a part of it.",
        "Try it with predictd test.",
    )


def _by_value(inspection: Inspection) -> Iterator[Finding]:
    if inspection.by_value:
        yield passed("modules", f"It carries modules of yours by value: {listed(inspection.by_value, 8)}.")


def _call(inspection: Inspection) -> list[Finding]:
    found = check_call(inspection)
    if found:
        return found
    signature = inspection.signature
    if signature.network:
        sentence = f"It is {signature.what}, a network itself, which takes tensors and no DataFrame."
        return [
            warn("signature", "bad_signature", sentence, "predictd.wrap(model, features=...) makes a predict of it.")
        ]
    return list(check_second_parameter(inspection)) or [passed("signature", f"It is {signature.shown}.")]


def _size(inspection: Inspection, most: int) -> Iterator[Finding]:
    size = shown_size(inspection.size)
    if inspection.size > most:
        text = f"It has {size}, and the server takes {shown_size(most)}."
        yield fail(
            "size", "too_large", text, "Leave out what predict does not use; see predictd inspect for the parts."
        )
    elif inspection.size > _MUCH_MEMORY:
        text = f"It has {size}, which a run holds in its memory of 4 GB beside the data."
        yield warn("size", "out_of_memory", text, "Use a smaller model or smaller types; predictd test tells the peak.")
    else:
        yield passed("size", f"It has {size}.")


def _tensors(inspection: Inspection) -> Iterator[Finding]:
    if inspection.devices:
        text = f"It holds tensors of the device {listed(inspection.devices)}, and no run has one."
        remedy = ModelFailure(code="unpickle_error", cause="gpu_tensor").remedy
        yield fail("tensors", "gpu_tensor", text, remedy)


def _tables(inspection: Inspection) -> Iterator[Finding]:
    large = [size for _, size in inspection.tables if size > _LARGE_TABLE]
    if large:
        names = [
            part.name for part in inspection.parts if part.kind.endswith(".DataFrame") and part.size > _LARGE_TABLE
        ]
        text = f"It carries {'a table' if len(large) == 1 else f'{len(large)} tables'} of {shown_size(max(large))}"
        text += f" in the variable {listed(names)}." if names else "."
        fix = "Let predict use no table of the training: a function carries along every global that it names."
        yield warn("tables", "large_capture", text, fix)


def _features(inspection: Inspection, columns: DataColumns) -> list[Finding]:
    if not inspection.features:
        return []
    unknown = [name for name in inspection.features if name not in columns.features]
    if not unknown:
        text = f"The data version {columns.version} has all {len(inspection.features)} features that it names."
        return [passed("features", text)]
    taken = {column for _, column in _certain_columns(inspection)}
    make = fail if taken.intersection(unknown) else warn
    text = f"{len(unknown)} of the {len(inspection.features)} features that it names are not in {columns.version}: "
    fix = f"Train on the features of {columns.version}, or choose the data version that it was trained on."
    return [make("features", "unknown_features", text + listed(unknown) + ".", fix)]


def _certain_columns(inspection: Inspection) -> set[tuple[int, str]]:
    """The columns without which no run succeeds, each with the number of the argument that has it."""
    names = (inspection.signature.arguments or ())[:2]
    found = {
        (names.index(argument), column)
        for function in inspection.functions
        if function.entry
        for argument, column in function.certain_columns
        if argument in names
    }
    declared = (inspection.manifest or {}).get("needs")
    for place, key in enumerate(("live", "benchmarks")):
        needed = declared.get(key) if isinstance(declared, dict) else None
        found |= {(place, one) for one in needed if isinstance(one, str)} if isinstance(needed, list) else set()
    return found


def _columns(inspection: Inspection, columns: DataColumns) -> list[Finding]:
    """Columns that the model takes of its two arguments by their names."""
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
    found: list[Finding] = []
    for place, (what, known) in enumerate((("live features", columns.live), ("benchmark models", columns.benchmarks))):
        taken = sorted(column for position, column in used if position == place and column not in inspection.features)
        missing = [column for column in taken if known is not None and column not in known]
        if missing:
            make = fail if any((place, column) in certain for column in missing) else warn
            text = f"It takes {listed(missing)} of the {what}, which {columns.version} does not have there."
            text += "" if make is fail else " It may run where predict adds them before."
            found.append(make("columns", "missing_columns", text, "Use columns that the live data has."))
        elif taken and known is not None:
            found.append(passed("columns", f"The {what} have the columns that it takes by name: {listed(taken)}."))
    return found
