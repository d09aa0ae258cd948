"""`predictd replay`: a recorded run once more, compared with what it was."""

from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

import typer

from predictd.cli.options import AsJson, DataDir, opened
from predictd.cli.output import echo, fail, print_json, say
from predictd.domain.errors import PredictdError
from predictd.replay.replay import Difference, Replay, Verdict, find_record, replay_run
from predictd.sandbox import choose_sandbox
from predictd.server.scoring import mapped_cache
from predictd.server.setup import find_runtime

EXIT_CODES = {Verdict.IDENTICAL: 0, Verdict.CLOSE: 0, Verdict.DIFFERS: 1, Verdict.IMPOSSIBLE: 2}


def replay(
    trigger: Annotated[str, typer.Argument(help="Id of the trigger; `predictd status MODEL` shows it.")],
    attempt: Annotated[int | None, typer.Option(help="Which attempt; by default the newest that ended.")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Run a recorded run again, on the server's machine, and compare what comes out with what came out then.

    First the pickle, the data and the runtime are compared with the hashes of the record. Then the model runs in the
    sandbox, within the recorded limits and with the recorded seeds. Nothing is submitted and nothing is changed. Exit
    code 0 when the result is equal (bit for bit, or within 1e-8), 1 when it differs, 2 when it can't be told.

    Example: predictd replay 3f1c8e52-5f0a-4a3e-9a0b-0c9d6d1c7e11
    """
    try:
        with opened(data_dir) as deployment:
            settings = deployment.settings
            kind, missing = choose_sandbox(settings.sandbox, trust_users=settings.trust_users)
            if missing:
                say(f"Models run without isolation, because the users are trusted: {missing}")
            with deployment.database.read() as session:
                record = find_record(session, trigger, attempt)
            found = replay_run(
                deployment.storage,
                record,
                mapped_cache(deployment),
                find_runtime=partial(find_runtime, deployment),
                kind=kind,
                on_step=say,
            )
    except PredictdError as error:
        fail(error)
        raise typer.Exit(2) from error
    if as_json:
        print_json(_wire(found))
    else:
        _print(found)
    raise typer.Exit(EXIT_CODES[found.verdict])


def _print(found: Replay) -> None:
    record = found.record
    echo(f"Trigger {record.trigger_id}, attempt {record.attempt}: {record.outcome} then.")
    for one in found.inputs:
        echo(f"{one.name}: {_told(one)}")
        if one.name == "runtime":
            echo(f"  It is {record.runtime.image}:{record.runtime.tag}; build it with: predictd runtime build")
    echo(_verdict(found))
    if found.message:
        echo(f"  {found.outcome}: {found.message}")
    if found.differences:
        echo("Not as it was recorded:")
        for one in found.differences:
            echo(f"  {one.name}: {_told(one)}")
    elif found.verdict in (Verdict.DIFFERS, Verdict.CLOSE):
        echo("All else is as it was recorded, so the model itself is not the same each time.")


def _verdict(found: Replay) -> str:
    record, moved = found.record, found.movement
    if found.verdict is Verdict.IMPOSSIBLE:
        return "Can't be replayed: what went in is not there any more as it was."
    if found.verdict is Verdict.IDENTICAL:
        return "Identical: the same predictions, bit for bit." if record.output else f"The same end: {found.outcome}."
    if moved is not None:
        word = "Equal but for rounding" if found.verdict is Verdict.CLOSE else "Differs"
        return (
            f"{word}: predictions differ by {moved.max_difference:.3g} at most and {moved.mean_difference:.3g} in the "
            f"mean, {moved.changed:.1%} of them by more than 1e-8; rank correlation {moved.spearman:.6f}."
        )
    if record.output is not None and not found.message:
        return "Differs: other predictions; by how much can't be told, because those of then are gone or of other ids."
    return f"Differs: {record.outcome} then, {found.outcome} now."


def _told(one: Difference) -> str:
    recorded = one.recorded or "unknown"
    return f"recorded {recorded}, now missing" if one.now is None else f"recorded {recorded}, now {one.now}"


def _wire(found: Replay) -> dict[str, Any]:
    return {
        "trigger": found.record.trigger_id,
        "attempt": found.record.attempt,
        "verdict": found.verdict.value,
        "outcome": found.outcome or None,
        "message": found.message or None,
        "inputs": [asdict(one) for one in found.inputs],
        "differences": [asdict(one) for one in found.differences],
        "movement": asdict(found.movement) if found.movement is not None else None,
        "record": found.record.facts(),
    }
