"""`predictd shadow`: compare a new pickle with the one assigned to a model."""

from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

import typer

from predictd.cli.deployment_access import server_sandbox, use_deployment
from predictd.cli.options import AsJson, DataDir
from predictd.cli.output import output_console, print_json, say
from predictd.domain.names import CLASSIC
from predictd.replay.runtime_upgrade_check import Outcome
from predictd.replay.shadow_run import Shadow, ShadowSide, find_sides, run_shadow
from predictd.reports.terminal_report import print_comparison
from predictd.server.deployment import mapped_cache
from predictd.server.setup import find_runtime


def shadow(
    model: Annotated[str, typer.Argument(help="Name of the model.", show_default=False)],
    pickle: Annotated[
        str | None,
        typer.Argument(
            help="Id, filename or label of the new pickle.", show_default="the account's newest unassigned pickle"
        ),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Run a new pickle and the one assigned to a model, and compare them.

    Both run on the live data of the newest round, in the sandbox and with the limits of the server. Nothing is
    submitted or changed. The comparison on validation data comes from their diagnostics, with 95 % confidence
    intervals. Upload the new pickle without a model, so that it is not assigned. The exit code is 1 if the new pickle
    fails.

    Example: predictd shadow my_model candidate-Kc5pT9r85SRD.pkl
    """
    with use_deployment(data_dir) as deployment:
        kind = server_sandbox(deployment.settings)
        with deployment.database.read() as session:
            sides = find_sides(session, deployment.storage, CLASSIC, model, pickle, datetime.now(UTC))
        result = run_shadow(
            deployment.storage,
            sides,
            deployment.settings.limits,
            mapped_cache(deployment),
            find_runtime=partial(find_runtime, deployment),
            kind=kind,
            on_run=lambda side: say(f"Running {side.name} on live data"),
        )
    if as_json:
        print_json(_wire(result))
    else:
        _print(result)
    if result.runs[1].predictions is None:
        raise typer.Exit(1)


def _print(result: Shadow) -> None:
    out = output_console(120)
    for side, run in zip((result.assigned, result.new), result.runs, strict=True):
        out.print(f"{side.name}: {run.code} in {run.seconds:.1f} s. {run.message}", soft_wrap=True)
    if result.movement is not None:
        movement = result.movement
        out.print(
            f"On live data the Spearman correlation of their predictions is {movement.spearman:.4f}; they differ by "
            f"{movement.mean_difference:.4f} on average and {movement.max_difference:.4f} at most.",
            soft_wrap=True,
        )
    if result.comparison is not None:
        print_comparison(result.comparison, out)
    for side in (result.assigned, result.new):
        if side.waits_for:
            out.print(side.waits_for, soft_wrap=True)


def _wire(result: Shadow) -> dict[str, Any]:
    return {
        "assigned": _side(result.assigned, result.runs[0]),
        "new": _side(result.new, result.runs[1]),
        "live": asdict(result.movement) if result.movement is not None else None,
        "comparison": result.comparison.wire() if result.comparison is not None else None,
    }


def _side(side: ShadowSide, run: Outcome) -> dict[str, Any]:
    return {
        "pickle_id": side.case.pickle_id,
        "filename": side.case.filename,
        "code": run.code,
        "message": run.message or None,
        "seconds": round(run.seconds, 2),
        "peak_memory_bytes": run.peak_memory_bytes,
        "waits_for": side.waits_for,
    }
