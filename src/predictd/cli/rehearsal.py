"""`predictd runtime upgrade-rehearsal`: what would break or move in another runtime."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.progress import Progress
from sqlalchemy.orm import Session

from predictd.cli.options import AsJson, DataDir, opened
from predictd.cli.output import console, print_json, print_rows, say
from predictd.db.catalogue import known_runtime, list_runtimes
from predictd.db.models import Runtime
from predictd.domain.limits import MIB
from predictd.replay.runtime_upgrade_check import Case, Outcome, Replay, Verdict, count_cases, find_cases, rehearse
from predictd.runtimes import PYTHONS, SPECS
from predictd.sandbox import choose_sandbox
from predictd.server.setup import find_runtime


def upgrade_rehearsal(
    a: Annotated[str, typer.Argument(help="Runtime that the pickles have: 3.11, an image, a name, a tag or an id.")],
    b: Annotated[str, typer.Argument(help="Runtime that they might get.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Run every pickle that is assigned to a model on runtime A in A and in B, and say which break and which move.

    The runs see the live data of the newest round, in the sandbox and within the limits of the server. Nothing is
    submitted and nothing is changed. Exit code 1 when a pickle breaks, which is that it works in A and not in B.

    Example: predictd runtime upgrade-rehearsal 3.11 3.12
    """
    with opened(data_dir) as deployment:
        settings = deployment.settings
        kind, missing = choose_sandbox(settings.sandbox, trust_users=settings.trust_users)
        if missing:
            say(f"Models run without isolation, because the users are trusted: {missing}")
        with deployment.database.read() as session:
            first, second = known_runtime(session, runtime_name(a)), known_runtime(session, runtime_name(b))
            cases = find_cases(session, deployment.storage, first.id, datetime.now(UTC))
            elsewhere = _elsewhere(session, first)
        in_a, in_b = (find_runtime(deployment, one.folder) for one in (first, second))
        say(f"A is {first.name} ({first.tag}), B is {second.name} ({second.tag}): {len(cases)} pickles to replay")
        if not cases and elsewhere:
            say(f"No pickle is assigned on A. There are on {elsewhere}.")
        with Progress(console=console) as bars:
            shown = _Runs(bars, 2 * len(cases))
            runs = rehearse(deployment.storage, cases, in_a, in_b, settings.limits, kind=kind, on_run=shown.show)
            replays = list(runs)
            shown.end()
    _report(first, second, replays, as_json=as_json)
    if any(replay.verdict is Verdict.BREAKS for replay in replays):
        raise typer.Exit(1)


def runtime_name(text: str) -> str:
    """The image of a Python version, as '3.11', 'py3.11' and 'Python 3.11' mean it; other names as they are."""
    version = python_version(text)
    return SPECS[version].image_name if version in PYTHONS else text


def python_version(text: str) -> str:
    """'3.11', 'py3.11', 'Python 3.11' and 'numerai_predict_py_3_11' mean the same."""
    return (
        text.lower()
        .removeprefix("numerai_predict_")
        .removeprefix("python")
        .removeprefix("py")
        .strip(" _")
        .replace("_", ".")
    )


class _Runs:
    """The progress of a rehearsal: a bar, or on a pipe a line for each run."""

    def __init__(self, bars: Progress, total: int) -> None:
        self._bars = bars
        self._task = bars.add_task("Rehearsing", total=total) if console.is_terminal and total else None
        self._begun = 0
        self._total = total

    def show(self, case: Case, runtime: str) -> None:
        """Say that a run begins."""
        what = f"{', '.join(case.models)} ({case.filename}) in {runtime}"
        if self._task is not None:
            self._bars.update(self._task, description=f"Rehearsing {what}", completed=self._begun)
        else:
            say(f"Run {self._begun + 1} of {self._total}: {what}")
        self._begun += 1

    def end(self) -> None:
        """Say that all runs have ended."""
        if self._task is not None:
            self._bars.update(self._task, description="Rehearsed", completed=self._total)


def _elsewhere(session: Session, runtime: Runtime) -> str:
    """The other runtimes that have assigned pickles, for people."""
    counts = count_cases(session)
    others = [*list_runtimes(session), *list_runtimes(session, deprecated=True)]
    return ", ".join(
        f"{one.name} {one.tag} ({counts[one.id]})" for one in others if one.id in counts and one.id != runtime.id
    )


def _report(a: Runtime, b: Runtime, replays: Sequence[Replay], *, as_json: bool) -> None:
    found = Counter(replay.verdict for replay in replays)
    if as_json:
        sides = {side: _runtime_fields(one) for side, one in (("a", a), ("b", b))}
        summary = {"pickles": len(replays), **{verdict.name.lower(): found[verdict] for verdict in Verdict}}
        print_json({**sides, "summary": summary, "pickles": [_fields(replay) for replay in replays]})
    else:
        print_rows([_row(replay) for replay in replays], as_json=False, empty="There is nothing to rehearse.")
        for replay in replays:
            for name, outcome in (("A", replay.a), ("B", replay.b)):
                if outcome.message:
                    say(f"{', '.join(replay.case.models)} in {name}: {outcome.code}: {outcome.message}")
    others = [f"{found[one]} {one.value}" for one in (Verdict.FAILS, Verdict.REPAIRED, Verdict.UNKNOWN) if found[one]]
    counts = [f"{found[Verdict.BREAKS]} break", f"{found[Verdict.MOVES]} move", f"{found[Verdict.SAME]} stay the same"]
    say(f"{len(replays)} pickles: {', '.join([*counts, *others])}.")


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
