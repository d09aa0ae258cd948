"""`predictd check`: the list before an upload."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from predictd.cli.findings import print_findings
from predictd.cli.options import AsJson, read_settings
from predictd.cli.output import print_json, say
from predictd.cli.progress import inspected
from predictd.domain.findings import verdict
from predictd.pickles.compatibility import choose_target
from predictd.pickles.data_columns import read_columns
from predictd.pickles.formatting import Finding, Level, passed, warn
from predictd.pickles.runtime_target import Target, all_targets, find_target
from predictd.pickles.server_runtimes import fetch_server_runtimes
from predictd.pickles.static_checks import DataColumns, check_inspected
from predictd.runtimes import load


def check(
    file: Annotated[Path, typer.Argument(help="The pickle.", exists=True, dir_okay=False)],
    runtime: Annotated[
        str | None,
        typer.Option(
            envvar="PREDICTD_RUNTIME",
            help="The runtime that it is to run in: a Python (3.12), an image's name or tag, a built runtime's folder.",
            show_default="the one that suits the pickle best",
        ),
    ] = None,
    server: Annotated[
        str | None, typer.Option(help="Address of a server, whose runtimes and data versions it is compared with.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a data version, with its features.json or live.parquet.", file_okay=False, exists=True
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a pickle before the upload, without unpickling it: pass, warn or fail for each point, with the fix.

    A point fails only where every run would fail; a warning says what may fail and what cannot be told. Nothing in the
    file is run. What only a run can show, such as the shape of the predictions, `predictd run` shows. The exit code is
    1 when a point fails, and 0 with warnings.

    Example: predictd check model.pkl --runtime 3.12 --data v5.3
    """
    settings = read_settings()
    targets = all_targets(load(settings.runtimes_home))
    columns = None if data is None else read_columns(data)
    extra: list[Finding] = []
    if server is not None:
        targets, versions = fetch_server_runtimes(server, targets)
        extra = _data_version(versions, columns)
    inspection = inspected(file)
    target = choose_target(inspection, targets) if runtime is None else find_target(runtime, targets)
    findings = check_inspected(inspection, target, columns, settings.max_pickle_bytes) + extra
    failed = any(one.level is Level.FAIL for one in findings)
    if as_json:
        print_json(_summary(file, target, findings, failed=failed))
    else:
        print_findings(findings)
        _conclude(findings, target)
    if failed:
        raise typer.Exit(1)


def _data_version(versions: list[str], columns: DataColumns | None) -> list[Finding]:
    if not versions:
        return [warn("data", "no_data_version", "The server has no data version yet.", "Ask whoever runs it.")]
    if columns is None or columns.version in versions:
        return [passed("data", f"The server's data version is {versions[0]}.")]
    text = f"The server has {', '.join(versions)}, and not {columns.version}, which the features were checked against."
    return [warn("data", "other_data_version", text, f"Check it against {versions[0]}: --data {versions[0]}.")]


def _conclude(findings: list[Finding], target: Target | None) -> None:
    told = verdict(findings, target.name if target is not None else "")
    speaks_against = any(one.level is not Level.PASS for one in findings)
    say(told if speaks_against else f"{told} What only a run can show, `predictd test` shows.")


def _summary(file: Path, target: Target | None, findings: list[Finding], *, failed: bool) -> dict[str, object]:
    runtime = None if target is None else {"name": target.name, "image": target.image, "tag": target.tag}
    return {"file": file, "ok": not failed, "runtime": runtime, "findings": [asdict(one) for one in findings]}
