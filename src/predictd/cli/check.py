"""`predictd check`: static checks of a pickle before an upload."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from predictd.cli.inspect import inspect_with_status
from predictd.cli.options import AsJson, PickleFile, read_settings, runtime_option
from predictd.cli.output import print_findings, print_json, say
from predictd.domain.findings import verdict
from predictd.pickles.compatibility import choose_target
from predictd.pickles.data_columns import read_columns
from predictd.pickles.formatting import Finding, Level, passed, warn
from predictd.pickles.runtime_target import Target, all_targets, find_target
from predictd.pickles.server_runtimes import fetch_server_runtimes
from predictd.pickles.static_checks import DataColumns, check_inspected
from predictd.runtimes import load


def check(
    file: PickleFile,
    runtime: Annotated[str | None, runtime_option("the best match for the pickle")] = None,
    server: Annotated[
        str | None, typer.Option(help="Address of a server; check against its runtimes and data versions.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of a data version with features.json or live.parquet.", file_okay=False, exists=True),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a pickle before the upload without unpickling it: each check passes, warns or fails, with a fix.

    A check fails only if every run would fail; a warning describes what may fail. No code in the file runs. Use
    `predictd test` to check what only a run shows, such as the shape of the predictions. The exit code is 1 if a check
    fails, and 0 with warnings.

    Example: predictd check model.pkl --runtime 3.12 --data v5.3
    """
    settings = read_settings()
    targets = all_targets(load(settings.runtimes_home))
    columns = None if data is None else read_columns(data)
    server_findings: list[Finding] = []
    if server is not None:
        targets, versions = fetch_server_runtimes(server, targets)
        server_findings = _check_data_version(versions, columns)
    inspection = inspect_with_status(file)
    target = choose_target(inspection, targets) if runtime is None else find_target(runtime, targets)
    findings = check_inspected(inspection, target, columns, settings.max_pickle_bytes) + server_findings
    failed = any(finding.level is Level.FAIL for finding in findings)
    if as_json:
        print_json(_summary(file, target, findings, failed=failed))
    else:
        print_findings(findings)
        _conclude(file, findings, target)
    if failed:
        raise typer.Exit(1)


def _check_data_version(versions: list[str], columns: DataColumns | None) -> list[Finding]:
    if not versions:
        return [warn("data", "no_data_version", "The server has no data version yet.", "Ask its admin.")]
    if columns is None or columns.version in versions:
        return [passed("data", f"The server's data version is {versions[0]}.")]
    text = f"The features were checked against {columns.version}, but the server has {', '.join(versions)}."
    return [warn("data", "other_data_version", text, f"Check against {versions[0]}: --data {versions[0]}.")]


def _conclude(file: Path, findings: list[Finding], target: Target | None) -> None:
    conclusion = verdict(findings, target.name if target is not None else "")
    has_problems = any(finding.level is not Level.PASS for finding in findings)
    say(conclusion if has_problems else f"{conclusion} Run it to check its predictions: predictd test {file}")


def _summary(file: Path, target: Target | None, findings: list[Finding], *, failed: bool) -> dict[str, object]:
    runtime = None if target is None else {"name": target.name, "image": target.image, "tag": target.tag}
    return {"file": file, "ok": not failed, "runtime": runtime, "findings": [asdict(finding) for finding in findings]}
