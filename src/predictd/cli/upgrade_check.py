"""`predictd runtime upgrade-check`: run all assigned pickles of a runtime in another one and compare."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.progress import Progress
from sqlalchemy.orm import Session

from predictd.cli.deployment_access import server_sandbox, use_deployment
from predictd.cli.options import AsJson, DataDir
from predictd.cli.output import console, print_json, print_rows, say
from predictd.db.catalog import get_runtime, list_runtimes
from predictd.db.models import Runtime
from predictd.domain.limits import MIB
from predictd.replay.runtime_upgrade_check import Case, Outcome, Replay, Verdict, check_upgrade, count_cases, find_cases
from predictd.runtimes import PYTHONS, SPECS
from predictd.server.setup import find_runtime


def upgrade_check(
    a: Annotated[
        str,
        typer.Argument(
            help="Current runtime: a Python version (3.11), or an image, name, tag or id.", show_default=False
        ),
    ],
    b: Annotated[str, typer.Argument(help="New runtime.", show_default=False)],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Run every assigned pickle of runtime A in A and in B, and report which break or change their predictions.

    The pickles run on the live data of the newest round, in the sandbox and with the limits of the server. Nothing is
    submitted or changed. The exit code is 1 if a pickle breaks: it works in A and fails in B.

    Example: predictd runtime upgrade-check 3.11 3.12
    """
    with use_deployment(data_dir) as deployment:
        limits = deployment.settings.limits
        kind = server_sandbox(deployment.settings)
        with deployment.database.read() as session:
            first, second = get_runtime(session, runtime_name(a)), get_runtime(session, runtime_name(b))
            cases = find_cases(session, deployment.storage, first.id, datetime.now(UTC))
            other_runtimes = _other_runtimes(session, first)
        in_a, in_b = (find_runtime(deployment, runtime.folder) for runtime in (first, second))
        say(f"A is {first.name} ({first.tag}), B is {second.name} ({second.tag}): {len(cases)} pickles to run")
        if not cases and other_runtimes:
            say(f"A has no assigned pickles. Runtimes with assigned pickles: {other_runtimes}.")
        with Progress(console=console) as bars:
            progress = _RunProgress(bars, 2 * len(cases))
            replays = list(
                check_upgrade(deployment.storage, cases, in_a, in_b, limits, kind=kind, on_run=progress.start_run)
            )
            progress.end()
    _report(first, second, replays, as_json=as_json)
    if any(replay.verdict is Verdict.BREAKS for replay in replays):
        raise typer.Exit(1)


def runtime_name(text: str) -> str:
    """Return the image name of a Python version such as '3.11' or 'py3.11'; return other names unchanged."""
    version = python_version(text)
    return SPECS[version].image_name if version in PYTHONS else text


def python_version(text: str) -> str:
    """Return '3.11' for '3.11', 'py3.11', 'Python 3.11' and 'numerai_predict_py_3_11'."""
    return (
        text.lower()
        .removeprefix("numerai_predict_")
        .removeprefix("python")
        .removeprefix("py")
        .strip(" _")
        .replace("_", ".")
    )


class _RunProgress:
    """Progress of the runs: a bar on a terminal, a line for each run on a pipe."""

    def __init__(self, bars: Progress, total: int) -> None:
        self._bars = bars
        self._task = bars.add_task("Running", total=total) if console.is_terminal and total else None
        self._started = 0
        self._total = total

    def start_run(self, case: Case, runtime: str) -> None:
        """Show that a run starts."""
        label = f"{', '.join(case.models)} ({case.filename}) in {runtime}"
        if self._task is not None:
            self._bars.update(self._task, description=f"Running {label}", completed=self._started)
        else:
            say(f"Run {self._started + 1} of {self._total}: {label}")
        self._started += 1

    def end(self) -> None:
        """Show that all runs have ended."""
        if self._task is not None:
            self._bars.update(self._task, description="Done", completed=self._total)


def _other_runtimes(session: Session, runtime: Runtime) -> str:
    """List the other runtimes that have assigned pickles."""
    counts = count_cases(session)
    candidates = [*list_runtimes(session), *list_runtimes(session, deprecated=True)]
    return ", ".join(
        f"{candidate.name} {candidate.tag} ({counts[candidate.id]})"
        for candidate in candidates
        if candidate.id in counts and candidate.id != runtime.id
    )


def _report(a: Runtime, b: Runtime, replays: Sequence[Replay], *, as_json: bool) -> None:
    counts = Counter(replay.verdict for replay in replays)
    if as_json:
        sides = {side: _runtime_fields(runtime) for side, runtime in (("a", a), ("b", b))}
        summary = {"pickles": len(replays), **{verdict.name.lower(): counts[verdict] for verdict in Verdict}}
        print_json({**sides, "summary": summary, "pickles": [_fields(replay) for replay in replays]})
    else:
        print_rows([_row(replay) for replay in replays], as_json=False, empty="There are no pickles to run.")
        for replay in replays:
            for name, outcome in (("A", replay.a), ("B", replay.b)):
                if outcome.message:
                    say(f"{', '.join(replay.case.models)} in {name}: {outcome.code}: {outcome.message}")
    rare = (Verdict.FAILS, Verdict.REPAIRED, Verdict.UNKNOWN)
    parts = [
        f"{counts[Verdict.BREAKS]} break",
        f"{counts[Verdict.MOVES]} change",
        f"{counts[Verdict.SAME]} are unchanged",
        *(f"{counts[verdict]} {verdict.value}" for verdict in rare if counts[verdict]),
    ]
    say(f"{len(replays)} pickles: {', '.join(parts)}.")


def _runtime_fields(runtime: Runtime) -> dict[str, str]:
    return {"name": runtime.name, "image": runtime.image, "tag": runtime.tag, "id": runtime.id}


def _fields(replay: Replay) -> dict[str, Any]:
    return {
        "id": replay.case.pickle_id,
        "filename": replay.case.filename,
        "models": list(replay.case.models),
        "verdict": replay.verdict.name.lower(),
        "a": _outcome_fields(replay.a),
        "b": _outcome_fields(replay.b),
        "movement": asdict(replay.movement) if replay.movement is not None else None,
    }


def _outcome_fields(outcome: Outcome) -> dict[str, Any]:
    return {
        "code": outcome.code,
        "message": outcome.message or None,
        "seconds": round(outcome.seconds, 2),
        "peak_memory_bytes": outcome.peak_memory_bytes,
    }


def _row(replay: Replay) -> dict[str, Any]:
    movement = replay.movement
    return {
        "models": list(replay.case.models),
        "pickle": replay.case.filename,
        "verdict": replay.verdict.value,
        "A": _shown(replay.a),
        "B": _shown(replay.b),
        "spearman": f"{movement.spearman:.6f}" if movement else None,
        "pearson": f"{movement.pearson:.6f}" if movement else None,
        "max diff": f"{movement.max_difference:.2g}" if movement else None,
        "mean diff": f"{movement.mean_difference:.2g}" if movement else None,
        "changed": f"{movement.changed:.1%}" if movement else None,
    }


def _shown(outcome: Outcome) -> str:
    memory = f", {outcome.peak_memory_bytes // MIB} MiB" if outcome.peak_memory_bytes else ""
    return f"{outcome.code}, {outcome.seconds:.1f} s{memory}"
