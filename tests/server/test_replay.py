"""The record of a run, and the run once more: what is equal, what differs, and what can't be told."""

import hashlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from conftest import PREDICTD, GraphQLErrors, Server, User
from predictd.db import Database
from predictd.db.models import Run
from predictd.db.run_tables import RunRecordRow

MODELS = """
import pathlib, sys
import cloudpickle

def draws(live_features):
    import random
    import numpy
    order = "".join({"one", "two", "three", "four", "five", "six", "seven"})
    print(order, random.random(), numpy.random.rand())
    noise = [random.random() + numpy.random.rand() + len(order.partition("o")[0]) for _ in range(len(live_features))]
    return live_features.iloc[:, 5].add(noise).rank(pct=True, method="first").to_frame("prediction")

def asks_the_system(live_features):
    import secrets
    noise = [secrets.randbelow(1000) for _ in range(len(live_features))]
    return live_features.iloc[:, 5].add(noise).rank(pct=True, method="first").to_frame("prediction")

def raises(live_features):
    raise KeyError("feature_that_was_renamed")

for model in (draws, asks_the_system, raises):
    pathlib.Path(sys.argv[1], model.__name__ + ".pkl").write_bytes(cloudpickle.dumps(model))
"""
RECORD = """query($id: ID!, $attempt: Int) { runRecord(triggerId: $id, attempt: $attempt) {
    attempt outcome pickleSha256 featuresSha256 benchmarksSha256 outputSha256 runtime python runtimeLockSha256
    interpreterSha256 version sourceSha256 sandbox seed hashSeed memoryBytes seconds processor threads } }"""


@pytest.fixture(scope="module")
def owned(make_server: Callable[..., AbstractContextManager[Server]]) -> Iterator[Server]:
    """A server of this file, whose round is open."""
    with make_server() as running:
        running.open_round("10h")
        yield running


@pytest.fixture(scope="module")
def alice(owned: Server) -> User:
    return owned.user("alice")


@pytest.fixture(scope="module")
def runs(owned: Server, alice: User, default_python: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The trigger of each model's validation, all of which have ended; and the diagnostics of the first."""
    folder = tmp_path_factory.mktemp("models")
    subprocess.run([default_python, "-c", MODELS, str(folder)], check=True)
    uploaded = {path.stem: alice.upload(path.read_bytes(), alice.add_model(path.stem)) for path in folder.glob("*.pkl")}
    return {name: alice.wait(pickle_id)["triggers"][0]["id"] for name, pickle_id in uploaded.items()}


def record(user: User, run_id: str, **variables: Any) -> Any:
    return user.ask(RECORD, id=run_id, **variables)["runRecord"]


def replay(server: Server, run_id: str, *arguments: str) -> tuple[int, Any]:
    done = server.predictd("replay", run_id, "--json", *arguments, check=False)
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


def stored(server: Server, run_id: str) -> Path:
    return server.home / "storage" / "predictions" / f"{run_id}-1.csv"


def pickle_of(server: Server, sha256: str) -> Path:
    files = (path for path in (server.home / "storage" / "pickle").rglob("*") if path.is_file())
    return next(path for path in files if hashlib.sha256(path.read_bytes()).hexdigest() == sha256)


def test_a_run_keeps_what_went_in_and_what_came_out(owned: Server, alice: User, runs: dict[str, str]) -> None:
    kept = record(alice, runs["draws"])
    assert (kept["attempt"], kept["outcome"], kept["sandbox"], kept["hashSeed"]) == (1, "success", "bubblewrap", 0)
    assert kept["outputSha256"] == hashlib.sha256(stored(owned, runs["draws"]).read_bytes()).hexdigest()
    live = owned.home / "storage" / "rounds" / "v5.3" / "1" / "live.parquet"
    assert kept["featuresSha256"] == hashlib.sha256(live.read_bytes()).hexdigest()
    assert pickle_of(owned, kept["pickleSha256"]).stat().st_size
    assert all(kept[name] for name in ("runtime", "runtimeLockSha256", "interpreterSha256", "sourceSha256"))
    assert (kept["memoryBytes"], kept["seconds"], kept["threads"]) == (4096 << 20, 45.0, 1)
    failed = record(alice, runs["raises"])
    assert (failed["outcome"], failed["outputSha256"]) == ("exception", None)
    assert failed["seed"] != kept["seed"], "each run has random numbers of its own"
    assert record(alice, runs["draws"], attempt=7) is None
    shown = subprocess.run(
        [PREDICTD, "record", runs["draws"], "--json", "--server", alice.address],
        env=owned.environment | {"PREDICTD_TOKEN": alice.token},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(shown.stdout)["outputSha256"] == kept["outputSha256"]


def test_only_the_owner_reads_it(owned: Server, runs: dict[str, str]) -> None:
    with pytest.raises(GraphQLErrors, match=r"^Run '.*' not found\.$"):
        record(owned.user("mallory"), runs["draws"])


def test_a_run_again_draws_the_same_random_numbers(owned: Server, runs: dict[str, str]) -> None:
    code, told = replay(owned, runs["draws"])
    assert (code, told["verdict"], told["outcome"], told["differences"]) == (0, "identical", "success", [])
    assert "Identical: the same predictions, bit for bit." in owned.predictd("replay", runs["draws"]).stdout


def test_a_failure_is_compared_by_its_code(owned: Server, runs: dict[str, str]) -> None:
    code, told = replay(owned, runs["raises"])
    assert (code, told["verdict"], told["outcome"]) == (0, "identical", "exception")


def test_a_model_that_is_not_the_same_each_time_is_told_by_how_much(owned: Server, runs: dict[str, str]) -> None:
    code, told = replay(owned, runs["asks_the_system"])
    assert (code, told["verdict"]) == (1, "differs")
    assert 0 < told["movement"]["max_difference"] <= 1
    assert -1 <= told["movement"]["spearman"] < 1
    said = owned.predictd("replay", runs["asks_the_system"], check=False).stdout
    assert "the model is not deterministic" in said


def test_diagnostics_are_replayed_too(owned: Server, alice: User, runs: dict[str, str]) -> None:
    del runs
    deadline = time.monotonic() + 120
    while any(one["status"] != "done" for one in alice.ask("{ diagnostics { status } }")["diagnostics"]):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    database = Database(owned.environment["PREDICTD_DATABASE_URL"])
    with database.read() as session:
        ended = session.query(RunRecordRow.run_id).join(Run).where(Run.type == "diagnostics").all()
    database.close()
    told = [replay(owned, row.run_id)[1] for row in ended]
    assert {one["record"]["is_validation"] for one in told} == {True}
    assert sorted(one["verdict"] for one in told) == ["differs", "identical"], "one asks the system, one does not"


def test_what_is_missing_or_changed_is_named(owned: Server, alice: User, runs: dict[str, str]) -> None:
    kept = record(alice, runs["draws"])
    predictions = stored(owned, runs["draws"])
    content = predictions.read_bytes()
    predictions.write_bytes(content[:-2] + (b"8\n" if content.endswith(b"9\n") else b"9\n"))
    code, told = replay(owned, runs["draws"])
    assert (code, told["verdict"]) == (0, "identical"), "the hash of the output is enough"
    assert [one["name"] for one in told["differences"]] == ["output"]
    predictions.unlink()
    assert replay(owned, runs["draws"])[1]["differences"][0]["now"] is None
    predictions.write_bytes(content)

    path = pickle_of(owned, kept["pickleSha256"])
    whole = path.read_bytes()
    path.write_bytes(whole + b" ")
    code, told = replay(owned, runs["draws"])
    assert (code, told["verdict"]) == (2, "impossible")
    changed = hashlib.sha256(whole + b" ").hexdigest()
    assert told["inputs"] == [{"name": "pickle", "recorded": kept["pickleSha256"], "now": changed}]
    path.unlink()
    done = owned.predictd("replay", runs["draws"], check=False)
    assert done.returncode == 2
    assert f"pickle: recorded {kept['pickleSha256']}, now missing" in done.stdout
    path.write_bytes(whole)
    assert replay(owned, runs["draws"])[0] == 0


def test_what_never_ran_can_t_be_replayed(owned: Server) -> None:
    done = owned.predictd("replay", "nonsense", check=False)
    assert (done.returncode, "There is no run 'nonsense'" in done.stderr) == (2, True)
