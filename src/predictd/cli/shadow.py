"""`predictd shadow`: a new pickle beside the one that is assigned to a model."""

from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

import typer

from predictd.cli.options import AsJson, DataDir, opened
from predictd.cli.output import output_console, print_json, say
from predictd.domain.names import CLASSIC
from predictd.replay.runtime_upgrade_check import Outcome
from predictd.replay.shadow import Shadow, Side, find_sides, run_shadow
from predictd.reports.terminal_report import print_comparison
from predictd.sandbox import choose_sandbox
from predictd.server.scoring import mapped_cache
from predictd.server.setup import find_runtime


def shadow(
    model: Annotated[str, typer.Argument(help="Name of the model.", show_default=False)],
    pickle: Annotated[
        str | None,
        typer.Argument(help="Id, filename or label of the new pickle; by default the account's newest other one."),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Run a new pickle beside the one that is assigned to a model, and say whether it would do better.

    Both see the live data of the newest round, in the sandbox and within the limits of the server; nothing is submitted
    and nothing is changed. What they did on the validation data is taken from their diagnostics, with 95 % confidence
    intervals. Upload the new pickle without a model, so that it takes no slot. Exit code 1 when the new one fails.

    Example: predictd shadow my_model candidate-Kc5pT9r85SRD.pkl
    """
    with opened(data_dir) as deployment:
        settings = deployment.settings
        kind, missing = choose_sandbox(settings.sandbox, trust_users=settings.trust_users)
        if missing:
            say(f"Models run without isolation, because the users are trusted: {missing}")
        with deployment.database.read() as session:
            sides = find_sides(session, deployment.storage, CLASSIC, model, pickle, datetime.now(UTC))
        found = run_shadow(
            deployment.storage,
            sides,
            settings.limits,
            mapped_cache(deployment),
            find_runtime=partial(find_runtime, deployment),
            kind=kind,
            on_run=lambda side: say(f"Running {side.name} on live data"),
        )
    if as_json:
        print_json(_wire(found))
    else:
        _print(found)
    if found.runs[1].predictions is None:
        raise typer.Exit(1)


def _print(found: Shadow) -> None:
    out = output_console(120)
    for side, run in zip((found.assigned, found.new), found.runs, strict=True):
        out.print(f"{side.name}: {run.code} in {run.seconds:.1f} s. {run.message}", soft_wrap=True)
    if found.movement is not None:
        moved = found.movement
        out.print(
            f"On live data their predictions are {moved.spearman:.4f} correlated (Spearman), and differ by "
            f"{moved.mean_difference:.4f} in the mean and {moved.max_difference:.4f} at most.",
            soft_wrap=True,
        )
    if found.comparison is not None:
        print_comparison(found.comparison, out)
    for side in (found.assigned, found.new):
        if side.waits_for:
            out.print(side.waits_for, soft_wrap=True)


def _wire(found: Shadow) -> dict[str, Any]:
    return {
        "assigned": _side(found.assigned, found.runs[0]),
        "new": _side(found.new, found.runs[1]),
        "live": asdict(found.movement) if found.movement is not None else None,
        "comparison": found.comparison.wire() if found.comparison is not None else None,
    }


def _side(side: Side, run: Outcome) -> dict[str, Any]:
    return {
        "pickle_id": side.case.pickle_id,
        "filename": side.case.filename,
        "code": run.code,
        "message": run.message or None,
        "seconds": round(run.seconds, 2),
        "peak_memory_bytes": run.peak_memory_bytes,
        "waits_for": side.waits_for,
    }
