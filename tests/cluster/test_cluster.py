"""Models run on the nodes of a Ray cluster as they do on the server's machine, and whatever dies, each ends once."""

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from conftest import PREDICTD, Server, User
from predictd.db import Database
from predictd.db.models import Run
from predictd.db.run_tables import NodeRun
from predictd.domain.reasons import Reason
from predictd.domain.states import RunState
from predictd.jobs.queue import withdraw
from ray_cluster import Machine, NoNetworksError, RayCluster, ray_cluster

LOST_AND_DONE = [
    "pending",
    "running",
    "error",
    "pending",
    "running",
    "validating",
    "submission_succeeded",
]

MODELS = """
import sys, cloudpickle

def patient(live_features):
    import time
    for second in range(5):
        print("second", second, flush=True)
        time.sleep(1)
    return live_features.iloc[:, 5].rank(pct=True, method="first").to_frame("prediction")

def endless(live_features):
    import ctypes, time
    ctypes.CDLL(None).prctl(15, b"endless", 0, 0, 0)
    while True:
        time.sleep(1)

for model in (patient, endless):
    with open(f"{sys.argv[1]}/{model.__name__}.pkl", "wb") as file:
        cloudpickle.dump(model, file)
"""


@dataclass
class Site:
    """A server with an open round whose models run on a cluster."""

    cluster: RayCluster
    server: Server
    user: User

    @property
    def nodes(self) -> list[Machine]:
        return self.cluster.nodes

    def database(self) -> Database:
        return Database(self.server.environment["PREDICTD_DATABASE_URL"])

    def upload(self, name: str, content: bytes) -> tuple[str, str, str]:
        """Ids of the model, the pickle and its trigger."""
        model_id = self.user.add_model(name)
        pickle_id = self.user.upload(content, model_id)
        return model_id, pickle_id, self.user.pickle(pickle_id)["triggers"][0]["id"]

    def submitted(self, model_id: str) -> bytes:
        [submission] = self.user.submissions(model_id)
        query = "query($id: ID!) { submissionDownloadAuth(id: $id) { url } }"
        url = self.user.ask(query, id=submission["id"])["submissionDownloadAuth"]["url"]
        return requests.get(url, timeout=60).content

    def restart(self) -> None:
        self.server.start()
        user = self.user
        self.user = User(self.server.address, user.username, user.public_id, user.secret_key)


@pytest.fixture(scope="module")
def site(
    make_server: Callable[..., AbstractContextManager[Server]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    try:
        with ray_cluster(tmp_path_factory.mktemp("cluster"), drain_seconds=1) as cluster:
            settings = {"executor": "ray", "ray_address": cluster.address, "host": "0.0.0.0"}
            more = {"lease_seconds": 6, "run_memory_mb": 600, "retry_seconds": 1}
            with pytest.MonkeyPatch.context() as patch:
                for name, value in cluster.environment.items():
                    patch.setenv(name, value)
                with make_server(**settings, **more) as server:
                    server.open_round("10h")
                    yield Site(cluster, server, server.user("alice"))
    except NoNetworksError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def models(default_python: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("models")
    subprocess.run([default_python, "-c", MODELS, str(folder)], check=True)
    return {path.stem: path.read_bytes() for path in folder.glob("*.pkl")}


def test_a_good_model_makes_the_file_that_it_makes_here(site: Site, pickles: dict[str, bytes], tmp_path: Path) -> None:
    for name in ("good", "one_argument"):
        model_id, pickle_id, _ = site.upload(name, pickles[name])
        assert site.user.wait(pickle_id)["validationStatus"] == "validated"
        assert site.submitted(model_id) == file_made_here(site, name, pickles[name], tmp_path)
    database = site.database()
    with database.read() as session:
        assert session.query(NodeRun).count() <= 2, "only the diagnostics may still be on their way"
    database.close()


@pytest.mark.parametrize(
    ("name", "code"),
    [("raises", "exception"), ("takes_8_gb", "out_of_memory"), ("returns_nan", "nan_predictions")],
)
def test_a_bad_model_fails_in_the_same_words(
    site: Site, pickles: dict[str, bytes], tmp_path: Path, name: str, code: str
) -> None:
    _, pickle_id, run_id = site.upload(name, pickles[name])
    run = site.user.wait(pickle_id)["triggers"][0]
    assert run["status"] == "model_failed"
    report = run_here(site, name, pickles[name], tmp_path)
    assert report["code"] == code
    without_peak = report["message"].partition("its peak was")[0]
    assert run["statuses"][-1]["description"].startswith(without_peak)
    log = site.user.logs(run_id)
    assert log[-1].startswith(f"[predictd] {code}: ")
    if name == "raises":
        assert log[0] == "about to raise"


def test_the_log_comes_while_the_model_runs(site: Site, pickles: dict[str, bytes]) -> None:
    _, pickle_id, run_id = site.upload("talks", pickles["talks"])
    wait_until(lambda: site.user.logs(run_id))
    assert site.user.pickle(pickle_id)["triggers"][0]["status"] == "running"
    site.user.wait(pickle_id)
    assert site.user.logs(run_id) == [f"line {number}" for number in range(5)]


def test_the_run_of_a_node_that_died_goes_to_another_and_submits_once(site: Site, models: dict[str, bytes]) -> None:
    model_id, pickle_id, run_id = site.upload("survivor", models["patient"])
    wait_until(lambda: site.user.logs(run_id))
    dead = site.cluster.node_with(run_id)
    dead.power_off()
    [run] = site.user.wait(pickle_id, seconds=60)["triggers"]
    assert [status["status"] for status in run["statuses"]] == LOST_AND_DONE
    assert site.cluster.node_with(run_id, attempt=2) is not dead
    assert [one["selected"] for one in site.user.submissions(model_id)] == [True]
    dead.start()


def test_a_node_that_stops_gives_its_run_back(site: Site, models: dict[str, bytes]) -> None:
    model_id, pickle_id, run_id = site.upload("moved", models["patient"])
    wait_until(lambda: site.user.logs(run_id))
    node = site.cluster.node_with(run_id)
    assert node.stop() == 0
    assert "was requeued" in node.log
    [run] = site.user.wait(pickle_id, seconds=60)["triggers"]
    assert [status["status"] for status in run["statuses"]] == LOST_AND_DONE
    assert run["statuses"][2]["description"] == "The machine that ran the model is shutting down."
    assert len(site.user.submissions(model_id)) == 1
    node.start()


def test_a_run_that_nobody_wants_any_more_ends_on_its_node(site: Site, models: dict[str, bytes]) -> None:
    _, _, run_id = site.upload("endless", models["endless"])
    model = process_of(site.cluster.node_with(run_id))
    # First the server dies, and takes the run up again when it is back; then the run is withdrawn.
    site.server.stop(signal.SIGKILL)
    gone(model)
    site.restart()
    model = process_of(site.cluster.node_with(run_id, attempt=2))
    database = site.database()
    with database.write() as session:
        withdraw(session, session.get_one(Run, run_id), Reason(code="diagnostics_deleted"), datetime.now(UTC))
    gone(model)
    wait_until(lambda: not left_over(site, database, run_id))
    database.close()


def test_a_server_that_stops_answers_its_nodes_until_their_runs_have_ended(
    site: Site, models: dict[str, bytes]
) -> None:
    _, _, run_id = site.upload("last", models["patient"])
    wait_until(lambda: site.user.logs(run_id))
    assert site.server.stop() == 0
    database = site.database()
    with database.read() as session:
        assert session.get_one(Run, run_id).state == RunState.SUCCEEDED
    database.close()


def run_here(site: Site, name: str, content: bytes, folder: Path) -> dict[str, Any]:
    """The report of `predictd run --json` on the data of the open round."""
    (folder / f"{name}.pkl").write_bytes(content)
    command = [PREDICTD, "run", "--json", "--model", f"{name}.pkl", "--server", site.server.address]
    done = subprocess.run(
        [*command, "--output_dir", "."],
        cwd=folder,
        env=site.server.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def file_made_here(site: Site, name: str, content: bytes, folder: Path) -> bytes:
    return (folder / run_here(site, name, content, folder)["predictions"]).read_bytes()


def process_of(node: Machine, seconds: float = 60) -> psutil.Process:
    """The process of the model that calls itself so."""
    found: list[psutil.Process] = []

    def is_found() -> bool:
        found[:] = [process for process in node.processes() if name_of(process) == "endless"]
        return bool(found)

    wait_until(is_found, seconds)
    return found[0]


def name_of(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


def gone(process: psutil.Process, seconds: float = 15) -> None:
    _, alive = psutil.wait_procs([process], timeout=seconds)
    assert not [one for one in alive if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def left_over(site: Site, database: Database, run_id: str) -> list[str]:
    """What of a run is still about: its row, its answer."""
    with database.read() as session:
        rows = [one.node for one in session.query(NodeRun).filter(NodeRun.run_id == run_id)]
    answers = site.server.home / "storage" / "incoming" / "answers"
    return rows + [path.name for path in answers.glob(f"{run_id}*")]


def wait_until(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
