"""Why a run is in a state is a code with facts: every code has a text, and no behavior depends on what the text is."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from test_fallback import BREAKS, first_id, made

from conftest import PREDICTD, GraphQLErrors, Server, User
from predictd.admin.run_actions import requeue_run
from predictd.client import Client, Outcome
from predictd.db import Database
from predictd.db.queue_stats import list_errors
from predictd.domain.errors import ConflictError
from predictd.domain.failures import FAILURES, ModelFailure
from predictd.domain.reasons import MESSAGES, NO_OPEN_ROUND, Reason

REWORDED = """import sys
from predictd.domain import failures, reasons
reasons.MESSAGES = dict.fromkeys(reasons.MESSAGES, "Reworded.")
failures.FAILURES = reasons.FAILURES = {
    code: failures.Failure(sentence="Reworded.", remedy="Reworded.", causes=dict.fromkeys(failure.causes, "Reworded."))
    for code, failure in failures.FAILURES.items()
}
from predictd.cli import main
sys.exit(main())
"""
FACTS = {
    "attempt": 2,
    "corr_mean": 0.01234,
    "detail": "the detail",
    "done": 0.5,
    "eras": 12,
    "failed_code": "exception",
    "failed_pickle": "bad.pkl",
    "file": "validation.parquet",
    "limit_memory_bytes": 4 << 30,
    "limit_seconds": 600,
    "memory_bytes": 1 << 30,
    "model": "my_model",
    "models": ["my_model", "other_model"],
    "pickle": "good.pkl",
    "round": 7,
    "seconds": 1.5,
    "stages": {"import": 0.5, "predict": 1.0},
    "versions": "v5.3",
}
RUNS = """query($id: ID) { computePickles(id: $id) { validationStatus triggers {
    id status failureCode statuses { status description code facts } } } }"""


@pytest.fixture(scope="module")
def reworded(
    make_server: Callable[..., AbstractContextManager[Server]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server whose every message is another."""
    program = tmp_path_factory.mktemp("reworded") / "predictd"
    program.write_text(f"#!{Path(PREDICTD).parent / 'python'}\n{REWORDED}")
    program.chmod(0o755)
    with make_server(program=program) as running:
        yield running


@pytest.mark.parametrize("code", sorted(MESSAGES))
def test_every_code_has_a_message_and_survives_its_row(code: str) -> None:
    reason = Reason(code=code, facts=FACTS, notes=(Reason(code="validated"),))
    assert reason.message.endswith((".", "!", "the detail"))
    assert not set("{}") & set(reason.message)
    assert reason.describe() == f"{reason.message} The pickle is validated."
    assert Reason.of_row(code, json.loads(json.dumps(reason.row_facts))) == reason


def test_codes_of_failures_and_of_other_reasons_differ_and_fit_the_column() -> None:
    assert not set(FAILURES) & set(MESSAGES)
    assert max(map(len, [*FAILURES, *MESSAGES])) <= 32
    failure = ModelFailure(code="nan_predictions", cause="all_missing", facts={"count": "3"})
    assert Reason.of_failure(failure).failure == failure


def test_the_wire_has_codes_beside_the_description(server: Server, user: User, pickles: dict[str, bytes]) -> None:
    pickle_id = user.upload(pickles["one_argument"])
    user.wait(pickle_id)
    [run] = user.ask(RUNS, id=pickle_id)["computePickles"][0]["triggers"]
    assert [status["code"] for status in run["statuses"]] == [
        "validation_queued",
        "running",
        "checking_predictions",
        NO_OPEN_ROUND,
    ]
    [used] = run["statuses"][2]["facts"]["notes"]
    assert used["code"] == "used"
    assert used["facts"]["limit_seconds"] == 45
    with Client(server.address, f"{user.public_id}${user.secret_key}") as client:
        ended = client.status(pickle_id).runs[0]
    assert (ended.code, ended.statuses[1].facts) == (NO_OPEN_ROUND, {"attempt": 1})


def test_no_behavior_depends_on_the_wording_of_a_message(
    reworded: Server, pickles: dict[str, bytes], default_python: str, tmp_path: Path
) -> None:
    user = reworded.user("alice")
    model_id = user.add_model("falls_back")
    path = tmp_path / "good.pkl"
    path.write_bytes(pickles["one_argument"])

    # Without an open round: validated, no error of the platform, and nothing to requeue.
    with Client(reworded.address, f"{user.public_id}${user.secret_key}") as client:
        uploaded = client.upload(path, model="falls_back")
        run = client.wait(uploaded.id)
    assert (run.outcome, run.reason, run.run.code) == (Outcome.VALIDATED, "Reworded.", NO_OPEN_ROUND)
    database = Database(reworded.environment["PREDICTD_DATABASE_URL"])
    with database.write() as session:
        assert list_errors(session, 10) == []
        with pytest.raises(ConflictError, match="no round was open"):
            requeue_run(session, run.run.id, datetime.now(UTC))
    database.close()

    # The newest pickle fails in the round, and the last good one runs in its place.
    user.wait(user.upload(made(default_python, BREAKS, first_id(reworded)), model_id))
    reworded.open_round()
    user.wait(uploaded.id, runs=2)
    [submission] = user.submissions(model_id)
    assert (submission["selected"], submission["notes"]) == (True, "Reworded.")

    # A failure has its sentence and its remedy on the page, a cancelled run that it was cancelled.
    failed = user.upload(pickles["raises"])
    user.wait(failed)
    [run] = user.ask(RUNS, id=failed)["computePickles"][0]["triggers"]
    assert (run["failureCode"], run["statuses"][-1]["code"]) == ("exception", "exception")
    with pytest.raises(GraphQLErrors, match="has already ended"):
        user.ask("mutation($t: ID!) { cancelComputePickleTrigger(triggerId: $t) { id } }", t=run["id"])
