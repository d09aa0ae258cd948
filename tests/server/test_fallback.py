"""A cancelled run ends at once and for good; where a pickle fails before the close, the last good one runs."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select, update
from test_order import NOW, Platform, platform

from conftest import GraphQLErrors, Server, User
from predictd.db.models import Model, Pickle, Run
from predictd.domain.reasons import Reason
from predictd.domain.states import RunState
from predictd.jobs.queue import advance
from predictd.uploads.fallback import queue_fallbacks
from predictd.worker.finalize import retry_or_give_up

__all__ = ["platform"]

SLEEPS = """
import sys, time, cloudpickle
name = sys.argv[1]
def predict(live_features):
    import ctypes
    ctypes.CDLL(None).prctl(15, name.encode())  # its name among the processes
    print("asleep", flush=True)
    time.sleep(300)
sys.stdout.buffer.write(cloudpickle.dumps(predict))
"""
# Good for the live data that it is validated on, and for those of no round.
BREAKS = """
import sys, cloudpickle
known = sys.argv[1]
def predict(live_features):
    if live_features.index[0] != known:
        raise KeyError("a_feature_that_was_renamed")
    return live_features.iloc[:, 5].rank(pct=True, method="first").to_frame("prediction")
sys.stdout.buffer.write(cloudpickle.dumps(predict))
"""
CANCEL = (
    "mutation($t: ID!) { cancelComputePickleTrigger(triggerId: $t) { status failureCode statuses { description } } }"
)
RUNS = """query($id: ID) { computePickles(id: $id) { validationStatus triggers {
    id type status failureCode fallbackFor statuses { status description } } } }"""
SUBMISSIONS = """query($m: ID) { submissions(modelId: $m) { id triggerId selected sourcePlatform notes
    round { number } } }"""


def test_a_cancelled_run_ends_within_two_seconds_and_leaves_no_process(
    server: Server, user: User, default_python: str
) -> None:
    name = f"asleep{os.getpid()}"
    pickle_id = user.upload(made(default_python, SLEEPS, name))
    run_id = user.pickle(pickle_id)["triggers"][0]["id"]
    until(lambda: user.logs(run_id) == ["asleep"])
    assert is_there(name)
    with pytest.raises(GraphQLErrors, match="not found"):
        server.user("mallory").ask(CANCEL, t=run_id)
    began = time.monotonic()
    answer = user.ask(CANCEL, t=run_id)["cancelComputePickleTrigger"]
    until(lambda: not is_there(name), seconds=10)
    assert time.monotonic() - began < 2
    assert (answer["status"], answer["failureCode"]) == ("model_failed", "cancelled")
    assert answer["statuses"][-1]["description"].startswith(f"Cancelled by {user.username}.")
    assert user.ask(CANCEL, t=run_id)["cancelComputePickleTrigger"]["status"] == "model_failed"
    time.sleep(1)
    pickle = user.pickle(pickle_id)
    assert pickle["validationStatus"] == "invalid"
    assert [one["status"] for one in pickle["triggers"][0]["statuses"]] == ["pending", "running", "model_failed"]
    log = user.logs(run_id)
    assert log[0] == "asleep"
    assert log[1].startswith("[predictd] cancelled: Cancelled by")


def test_the_organiser_cancels_any_run_and_what_has_ended_stays(
    server: Server, user: User, default_python: str, pickles: dict[str, bytes]
) -> None:
    pickle_id = user.upload(made(default_python, SLEEPS, "asleep"))
    run_id = user.pickle(pickle_id)["triggers"][0]["id"]
    done = server.predictd("cancel", run_id, "--admin", "--json")
    assert json.loads(done.stdout) == {"run": run_id, "outcome": "cancelled"}
    assert user.pickle(pickle_id)["triggers"][0]["statuses"][-1]["description"].startswith("Cancelled by an admin.")
    ended = user.wait(user.upload(pickles["one_argument"]))["triggers"][0]["id"]
    with pytest.raises(GraphQLErrors, match="has already ended"):
        user.ask(CANCEL, t=ended)


def test_the_last_good_pickle_runs_where_the_newest_fails_unless_the_model_opted_out(
    new_server: Callable[..., Server], pickles: dict[str, bytes], default_python: str
) -> None:
    server = new_server()
    user = server.user("alice")
    breaks = made(default_python, BREAKS, first_id(server))
    models = {name: user.add_model(name) for name in ("falls_back", "opted_out")}
    good = {name: user.upload(pickles["one_argument"], model_id) for name, model_id in models.items()}
    for pickle_id in good.values():
        assert user.wait(pickle_id)["validationStatus"] == "validated"
    bad = {name: user.upload(breaks, model_id) for name, model_id in models.items()}
    for pickle_id in bad.values():
        assert user.wait(pickle_id)["validationStatus"] == "validated"
    opt_out = "mutation($m: ID!) { setModelFallback(modelId: $m, fallback: false) { fallback } }"
    assert user.ask(opt_out, m=models["opted_out"])["setModelFallback"] == {"fallback": False}

    number = server.open_round()
    for pickle_id in bad.values():
        user.wait(pickle_id, runs=2)
    user.wait(good["falls_back"], runs=2)
    [submission] = submissions(user, models["falls_back"])
    assert (submission["selected"], submission["sourcePlatform"]) == (True, "fallback")
    assert submission["round"] == {"number": number}
    assert "failed (exception), so its last good pickle" in submission["notes"]
    [run, _] = runs(user, good["falls_back"])
    assert (run["id"], run["fallbackFor"]) == (submission["triggerId"], models["falls_back"])
    assert run["statuses"][0]["description"] == submission["notes"]
    assert "It is the fallback for the assigned pickle, which failed." in run["statuses"][-1]["description"]
    [failed, _] = runs(user, bad["falls_back"])
    assert (failed["status"], failed["failureCode"], failed["fallbackFor"]) == ("model_failed", "exception", None)
    assert failed["statuses"][-1]["description"].endswith("runs for falls_back (fallback).")

    assert submissions(user, models["opted_out"]) == []
    assert len(runs(user, good["opted_out"])) == 1
    [failed, _] = runs(user, bad["opted_out"])
    assert "fallback" not in failed["statuses"][-1]["description"]

    # What is mended before the close wins.
    mended = user.upload(pickles["good"], models["falls_back"])
    assert user.wait(mended)["validationStatus"] == "validated"
    newest, replaced = submissions(user, models["falls_back"])
    assert (newest["selected"], newest["sourcePlatform"]) == (True, "model_upload")
    assert (replaced["id"], replaced["selected"]) == (submission["id"], False)
    # And nothing falls back where there is a submission already.
    user.ask("mutation($p: ID) { triggerComputePickleUpload(pickleId: $p) { id } }", p=bad["falls_back"])
    user.wait(bad["falls_back"], runs=3)
    assert len(submissions(user, models["falls_back"])) == 2


def test_a_run_that_the_platform_gives_up_falls_back_once_for_the_model_that_has_an_older_pickle(
    platform: Platform,
) -> None:
    old, new = platform.add("alice", 1, 1)
    with platform.database.write() as session:
        with_older, without = session.scalars(select(Model).order_by(Model.name)).all()
        session.get_one(Pickle, old).model_id = with_older.id
        with_older.pickle_id = without.pickle_id = old
    platform.open_round(NOW - timedelta(days=1))
    good = platform.claim()
    assert good is not None
    with platform.database.write() as session:
        assert advance(session, good, RunState.VALIDATING, Reason(code="checking_predictions"), NOW)
        assert advance(session, good, RunState.SUCCEEDED, Reason(code="not_assigned"), NOW)
        session.execute(update(Model).values(pickle_id=new))
    platform.open_round(number=2)

    def give_up() -> bool:
        claimed = platform.claim()
        assert platform.name(claimed) == "alice_1"
        with platform.database.write() as session:
            return retry_or_give_up(
                session,
                claimed,
                Reason(code="worker_lost"),
                NOW,
                wait_seconds=0,
                max_attempts=2,
                is_usable=lambda *_: True,
            )

    def fallbacks() -> list[tuple[str | None, str | None]]:
        with platform.database.read() as session:
            found = session.scalars(select(Run).where(Run.fallback_model_id.is_not(None)))
            return [(one.pickle_id, one.fallback_model_id) for one in found]

    assert give_up()
    assert fallbacks() == []
    assert not give_up()
    assert fallbacks() == [(old, with_older.id)]
    with platform.database.write() as session:
        failed = session.scalars(select(Run.id).where(Run.state == RunState.ERROR)).one()
        queue_fallbacks(session, failed, "platform", lambda *_: True, NOW)
    assert fallbacks() == [(old, with_older.id)]
    assert platform.next_names() == ["alice_0"]


def made(python: str, source: str, *arguments: str) -> bytes:
    """A pickle that this source writes, in the runtime's Python."""
    return subprocess.run([python, "-c", source, *arguments], check=True, capture_output=True).stdout


def first_id(server: Server) -> str:
    """Of the live data that a pickle is validated on without an open round."""
    [path] = server.home.glob("storage/data/*/live.parquet")
    return str(pq.read_table(Path(path), columns=["id"])["id"][0].as_py())


def runs(user: User, pickle_id: str) -> list[dict[str, object]]:
    return list(user.ask(RUNS, id=pickle_id)["computePickles"][0]["triggers"])


def submissions(user: User, model_id: str) -> list[dict[str, object]]:
    return list(user.ask(SUBMISSIONS, m=model_id)["submissions"])


def is_there(name: str) -> bool:
    """Whether any process has that name."""
    return name in {one.info["name"] for one in psutil.process_iter(["name"])}


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
