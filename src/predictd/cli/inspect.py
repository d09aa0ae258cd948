"""`predictd inspect`: the contents of a pickle."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from predictd.cli.options import AsJson, PickleFile
from predictd.cli.output import console, output_console, print_json
from predictd.domain.errors import InvalidInputError
from predictd.pickles.compatibility import check_flaw
from predictd.pickles.formatting import format_name, format_size, join_names
from predictd.pickles.functions import FunctionSummary, Import
from predictd.pickles.inspection import Inspection, inspect_pickle
from predictd.pickles.lint import suspicious_calls

MIN_PART_BYTES = 1000


def inspect(file: PickleFile, as_json: AsJson = False) -> None:
    """Show the contents of a pickle without unpickling it; no code in the file runs.

    The output has the Python version that created it, modules that it imports or contains, models with their trees, the
    largest parts, feature names and suspicious calls.

    Example: predictd inspect model.pkl
    """
    inspection = inspect_with_status(file)
    if as_json:
        print_json(_summary(inspection))
    elif inspection.flaw is None:
        _show(inspection)
    if inspection.flaw is not None:
        problem = check_flaw(inspection)
        raise InvalidInputError(f"{problem.sentence} {problem.fix}")


def inspect_with_status(file: Path) -> Inspection:
    """Inspect a file, with a message on a terminal while it is read."""
    with console.status(f"Reading {file.name} ({file.stat().st_size / 1e6:,.1f} MB)"):
        return inspect_pickle(file)


def _show(inspection: Inspection) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in _rows(inspection):
        table.add_row(name, text)
    output_console(120).print(table)


def _rows(inspection: Inspection) -> Iterator[tuple[str, str]]:
    note = "" if inspection.complete else ", only partly read"
    yield "file", f"{inspection.path}, {format_size(inspection.size)}, pickle protocol {inspection.protocol}{note}"
    yield "object", inspection.signature.shown
    python = " or ".join(inspection.pythons) or "unknown: the pickle contains no functions"
    yield "Python", f"{python}, according to its {_count(inspection.functions)}" if inspection.pythons else python
    yield "imports", _modules(item for item in inspection.imports if item.at_load)
    later = _modules(item for item in inspection.imports if not item.at_load)
    if later:
        yield "imports later", later
    if inspection.by_value:
        yield "contains", f"{join_names(inspection.by_value, 20)} (by value)"
    if inspection.versions:
        yield (
            "created with",
            ", ".join(f"{format_name(name)} {format_name(v)}" for name, v in inspection.versions.items()),
        )
    for index, model in enumerate(inspection.models[:8]):
        trees = "" if model.trees is None else f", {model.trees:,} trees"
        count = "" if model.count == 1 else f"{model.count} x "
        yield "" if index else "models", f"{count}{format_name(model.kind)}, {format_size(model.size)}{trees}"
    parts = [part for part in inspection.parts if part.size >= MIN_PART_BYTES]
    for index, part in enumerate(parts[:8]):
        yield "" if index else "largest parts", f"{format_size(part.size):>9}  {format_name(part.name)} ({part.kind})"
    if inspection.features:
        yield "features", f"{len(inspection.features)}: {join_names(inspection.features, 3)}"
    if inspection.devices:
        yield "devices", join_names(inspection.devices)
    if inspection.manifest is not None:
        yield "manifest", _manifest(inspection.manifest)
    for index, call in enumerate(suspicious_calls(inspection)[:12]):
        yield "" if index else "suspicious calls", call


def _manifest(manifest: dict[str, Any]) -> str:
    """Summarize the manifest of predictd.wrap; --json prints all of it."""
    labels = {"Python": "python", "data version": "data_version", "SHA-256 of the features": "features_sha256"}
    fields = [f"{label} {format_name(str(manifest[key]), 12)}" for label, key in labels.items() if manifest.get(key)]
    return f"written by predictd.wrap: {', '.join(fields)}"


def _count(functions: Sequence[FunctionSummary]) -> str:
    return "function" if len(functions) == 1 else f"{len(functions)} functions"


def _modules(imports: "Iterator[Import]") -> str:
    """List the packages, each with its number of modules."""
    packages: dict[str, set[str]] = {}
    for item in imports:
        packages.setdefault(item.top, set()).add(item.module)
    labels = [
        package if len(modules) == 1 else f"{package} ({len(modules)} modules)"
        for package, modules in sorted(packages.items())
    ]
    return join_names(labels, 30)


def _summary(inspection: Inspection) -> dict[str, Any]:
    signature = inspection.signature
    return {
        "file": inspection.path,
        "size": inspection.size,
        "flaw": None if inspection.flaw is None else dict(zip(("code", "detail"), inspection.flaw, strict=True)),
        "complete": inspection.complete,
        "protocol": inspection.protocol,
        "holds": signature.shown,
        "callable": signature.callable,
        "arguments": signature.arguments,
        "pythons": inspection.pythons,
        "functions": [function.name for function in inspection.functions],
        "imports": [
            {"module": item.module, "names": item.names, "when": "unpickled" if item.at_load else "called"}
            for item in inspection.imports
        ],
        "by_value": inspection.by_value,
        "versions": inspection.versions,
        "models": [
            {"kind": model.kind, "count": model.count, "bytes": model.size, "trees": model.trees}
            for model in inspection.models
        ],
        "parts": [{"name": part.name, "kind": part.kind, "bytes": part.size} for part in inspection.parts],
        "features": inspection.features,
        "devices": inspection.devices,
        "calls": suspicious_calls(inspection),
        "manifest": inspection.manifest,
    }
