"""`predictd inspect`: what is in a pickle."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from predictd.cli.options import AsJson
from predictd.cli.output import output_console, print_json
from predictd.cli.progress import inspected
from predictd.domain.errors import InvalidInputError
from predictd.pickles.compatibility import check_flaw
from predictd.pickles.formatting import format_name, format_size, join_names
from predictd.pickles.functions import FunctionSummary, Import
from predictd.pickles.inspection import Inspection
from predictd.pickles.lint import suspicious_calls

_SMALL = 1000


def inspect(
    file: Annotated[Path, typer.Argument(help="The pickle.", exists=True, dir_okay=False)],
    as_json: AsJson = False,
) -> None:
    """Show what is in a pickle, without unpickling it: nothing in the file is run.

    The Python that made it, the modules that it imports and carries, models and their trees, the largest parts, the
    features that it names, and calls worth a look.

    Example: predictd inspect model.pkl
    """
    inspection = inspected(file)
    if as_json:
        print_json(_summary(inspection))
    elif inspection.flaw is None:
        _show(inspection)
    if inspection.flaw is not None:
        problem = check_flaw(inspection)
        raise InvalidInputError(f"{problem.sentence} {problem.fix}")


def _show(inspection: Inspection) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, words in _rows(inspection):
        table.add_row(name, words)
    output_console(120).print(table)


def _rows(inspection: Inspection) -> Iterator[tuple[str, str]]:
    whole = "" if inspection.complete else ", of which only the beginning was read"
    yield "file", f"{inspection.path}, {format_size(inspection.size)}, pickle protocol {inspection.protocol}{whole}"
    yield "holds", inspection.signature.shown
    made_by = " or ".join(inspection.pythons) or "can't be told: it carries no function"
    yield "Python", f"{made_by}, by its {_count(inspection.functions)}" if inspection.pythons else made_by
    yield "imports", _modules(one for one in inspection.imports if one.at_load)
    later = _modules(one for one in inspection.imports if not one.at_load)
    if later:
        yield "imports later", later
    if inspection.by_value:
        yield "carries", f"{join_names(inspection.by_value, 20)} (by value)"
    if inspection.versions:
        yield "made with", ", ".join(f"{format_name(name)} {format_name(v)}" for name, v in inspection.versions.items())
    for place, model in enumerate(inspection.models[:8]):
        trees = "" if model.trees is None else f", {model.trees:,} trees"
        count = "" if model.count == 1 else f"{model.count} x "
        yield "" if place else "models", f"{count}{format_name(model.kind)}, {format_size(model.size)}{trees}"
    parts = [part for part in inspection.parts if part.size >= _SMALL]
    for place, part in enumerate(parts[:8]):
        yield "" if place else "largest parts", f"{format_size(part.size):>9}  {format_name(part.name)} ({part.kind})"
    if inspection.features:
        yield "features", f"{len(inspection.features)}: {join_names(inspection.features, 3)}"
    if inspection.devices:
        yield "devices", join_names(inspection.devices)
    if inspection.manifest is not None:
        yield "manifest", _manifest(inspection.manifest)
    for place, call in enumerate(suspicious_calls(inspection)[:12]):
        yield "" if place else "worth a look", call


def _manifest(manifest: dict[str, Any]) -> str:
    """The beginning of what predictd.wrap wrote; all of it is in the JSON."""
    words = {"Python": "python", "data version": "data_version", "SHA-256 of the features": "features_sha256"}
    shown = [f"{word} {format_name(str(manifest[key]), 12)}" for word, key in words.items() if manifest.get(key)]
    return f"written by predictd.wrap: {', '.join(shown)}"


def _count(functions: Sequence[FunctionSummary]) -> str:
    return "function" if len(functions) == 1 else f"{len(functions)} functions"


def _modules(imports: "Iterator[Import]") -> str:
    """The packages, each with how many of its modules."""
    tops: dict[str, set[str]] = {}
    for one in imports:
        tops.setdefault(one.top, set()).add(one.module)
    shown = [top if len(modules) == 1 else f"{top} ({len(modules)} modules)" for top, modules in sorted(tops.items())]
    return join_names(shown, 30)


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
        "functions": [one.name for one in inspection.functions],
        "imports": [
            {"module": one.module, "names": one.names, "when": "unpickled" if one.at_load else "called"}
            for one in inspection.imports
        ],
        "by_value": inspection.by_value,
        "versions": inspection.versions,
        "models": [
            {"kind": one.kind, "count": one.count, "bytes": one.size, "trees": one.trees} for one in inspection.models
        ],
        "parts": [{"name": one.name, "kind": one.kind, "bytes": one.size} for one in inspection.parts],
        "features": inspection.features,
        "devices": inspection.devices,
        "calls": suspicious_calls(inspection),
        "manifest": inspection.manifest,
    }
