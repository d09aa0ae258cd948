"""`predictd replay`: repeat a recorded run and compare the results."""

from dataclasses import asdict
from functools import partial
from typing import Any

import typer

from predictd.cli.deployment_access import server_sandbox, use_deployment
from predictd.cli.options import AsJson, Attempt, DataDir, RunId
from predictd.cli.output import echo, fail, print_json, say
from predictd.domain.errors import PredictdError
from predictd.replay.reproduction import Difference, Replay, Verdict, find_record, replay_run
from predictd.server.deployment import mapped_cache
from predictd.server.setup import find_runtime

EXIT_CODES = {Verdict.IDENTICAL: 0, Verdict.CLOSE: 0, Verdict.DIFFERS: 1, Verdict.IMPOSSIBLE: 2}


def replay(
    run: RunId,
    attempt: Attempt = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Repeat a recorded run on the server's machine and compare its output with the recorded output.

    The command first compares the pickle, the data and the runtime with the hashes of the record. Then the model runs
    in the sandbox with the recorded limits and seeds. Nothing is submitted or changed. The exit code is 0 if the
    results are equal (bit for bit, or within 1e-8), 1 if they differ, and 2 if the run can't be repeated.

    Example: predictd replay 3f1c8e52-5f0a-4a3e-9a0b-0c9d6d1c7e11
    """
    try:
        with use_deployment(data_dir) as deployment:
            kind = server_sandbox(deployment.settings)
            with deployment.database.read() as session:
                record = find_record(session, run, attempt)
            result = replay_run(
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
        print_json(_wire(result))
    else:
        _print(result)
    raise typer.Exit(EXIT_CODES[result.verdict])


def _print(result: Replay) -> None:
    record = result.record
    echo(f"Run {record.run_id}, attempt {record.attempt}: recorded outcome {record.outcome}.")
    for difference in result.inputs:
        echo(f"{difference.name}: {_describe(difference)}")
        if difference.name == "runtime":
            echo(f"  The runtime is {record.runtime.image}:{record.runtime.tag}; build it: predictd runtime build")
    echo(_describe_verdict(result))
    if result.message:
        echo(f"  {result.outcome}: {result.message}")
    if result.differences:
        echo("Different from the record:")
        for difference in result.differences:
            echo(f"  {difference.name}: {_describe(difference)}")
    elif result.verdict in (Verdict.DIFFERS, Verdict.CLOSE):
        echo("Everything else is as recorded, so the model is not deterministic.")


def _describe_verdict(result: Replay) -> str:
    record, movement = result.record, result.movement
    if result.verdict is Verdict.IMPOSSIBLE:
        return "Can't be replayed: inputs of the run are missing or have changed."
    if result.verdict is Verdict.IDENTICAL:
        return "Identical: the same predictions, bit for bit." if record.output else f"Same outcome: {result.outcome}."
    if movement is not None:
        label = "Equal except for rounding" if result.verdict is Verdict.CLOSE else "Differs"
        return (
            f"{label}: predictions differ by {movement.max_difference:.3g} at most and "
            f"{movement.mean_difference:.3g} on average, {movement.changed:.1%} of them by more than 1e-8; rank "
            f"correlation {movement.spearman:.6f}."
        )
    if record.output is not None and not result.message:
        return "Differs: the predictions are different, but the recorded ones are gone or have other ids."
    return f"Differs: recorded outcome {record.outcome}, outcome now {result.outcome}."


def _describe(difference: Difference) -> str:
    now = "missing" if difference.now is None else difference.now
    return f"recorded {difference.recorded or 'unknown'}, now {now}"


def _wire(result: Replay) -> dict[str, Any]:
    return {
        "run": result.record.run_id,
        "attempt": result.record.attempt,
        "verdict": result.verdict.value,
        "outcome": result.outcome or None,
        "message": result.message or None,
        "inputs": [asdict(difference) for difference in result.inputs],
        "differences": [asdict(difference) for difference in result.differences],
        "movement": asdict(result.movement) if result.movement is not None else None,
        "record": result.record.facts(),
    }
