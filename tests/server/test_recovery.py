"""What was begun is finished, once, whatever dies in the middle."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from conftest import Server
from predictd.data.mapped_cache import MappedCache
from predictd.db import Database
from predictd.db.accounts import create_account
from predictd.db.catalog import register_data_version, register_runtime
from predictd.db.models import Pickle, Run, RunStatus
from predictd.domain.errors import RuntimeMissingError
from predictd.domain.limits import Limits
from predictd.domain.reasons import Reason
from predictd.domain.runs import RuntimePaths, SandboxKind
from predictd.domain.states import RunState, RunType
from predictd.jobs.queue import advance, claim, enqueue, renew, retry
from predictd.storage import FolderStorage
from predictd.worker.config import Job, RuntimeBackoff, WorkerConfig
from predictd.worker.lease_recovery import LeaseMonitor, bring_forward
from predictd.worker.run_job import run_job
from predictd.worker.run_logs import LogWriter

NOW = datetime(2026, 1, 6, 13, 0, tzinfo=UTC)
FULL_DISK = Reason(code="platform", facts={"detail": "The disk is full."})


@pytest.fixture
def database(database_url: Callable[[], str]) -> Iterator[Database]:
    database = Database(database_url())
    database.upgrade()
    yield database
    database.close()


class Watch(LeaseMonitor):
    """One whose stopwatch the test sets, in seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0
        super().__init__(30, lambda: self.seconds)


def queue(database: Database, count: int) -> list[str]:
    """Pending triggers of one pickle."""
    with database.write() as session:
        account = create_account(session, "alice", NOW)
        runtime = register_runtime(
            session, name="Python", image="image", tag="tag", python="3.12", folder="folder", now=NOW
        )
        version = register_data_version(session, "v5.3", NOW)
        pickle = Pickle(
            account_id=account.id,
            runtime_id=runtime.id,
            data_version_id=version.id,
            filename="model.pkl",
            storage_key="pickle/x",
            size_bytes=1,
            validation_status="pending",
            inserted_at=NOW,
            updated_at=NOW,
        )
        session.add(pickle)
        session.flush()
        queued = Reason(code="validation_queued")
        return [enqueue(session, pickle, RunType.VALIDATION, None, NOW, queued).id for _ in range(count)]


def test_a_lease_that_ran_out_fences_the_worker_that_held_it(database: Database) -> None:
    [run_id] = queue(database, 1)
    with database.write() as session:
        lost = claim(session, "first", NOW, lease_seconds=30)
    assert lost is not None
    later = NOW + timedelta(seconds=31)
    watch = Watch()
    with database.write() as session:
        assert watch.recover(session, later, max_attempts=3) == 0
        watch.seconds = 20
        assert watch.recover(session, later, max_attempts=3) == 0
        watch.seconds = 31
        assert watch.recover(session, later, max_attempts=3) == 1
        taken = claim(session, "second", later, lease_seconds=30)
    assert taken is not None
    assert (taken.run_id, taken.attempt) == (run_id, 2)
    with database.write() as session:
        assert not renew(session, lost, later, lease_seconds=30)
        assert not advance(session, lost, RunState.VALIDATING, Reason(code="checking_predictions"), later)
        assert advance(session, taken, RunState.VALIDATING, Reason(code="checking_predictions"), later)
        assert advance(session, taken, RunState.SUCCEEDED, Reason(code="not_assigned"), later)
    with database.read() as session:
        history = session.scalars(select(RunStatus.status).order_by(RunStatus.sequence)).all()
    assert history == ["pending", "running", "error", "pending", "running", "validating", "submission_succeeded"]


def test_the_platform_gives_up_after_its_attempts_and_says_so(database: Database) -> None:
    [run_id] = queue(database, 1)
    now, watch = NOW, Watch()
    for _ in range(3):
        with database.write() as session:
            assert claim(session, "worker", now, lease_seconds=30) is not None
        for _ in range(3):
            watch.seconds += 15
            now += timedelta(seconds=15)
            with database.write() as session:
                watch.recover(session, now, max_attempts=3)
    with database.write() as session:
        assert claim(session, "worker", now, lease_seconds=30) is None
        assert session.get_one(Run, run_id).state == RunState.ERROR


def test_a_clock_that_is_set_takes_no_run_from_its_worker_and_keeps_none_waiting(database: Database) -> None:
    runs = queue(database, 2)
    watch = Watch()
    with database.write() as session:
        held = claim(session, "first", NOW, lease_seconds=30)
        assert held is not None
        watch.recover(session, NOW, max_attempts=3)
        for seconds, clock in enumerate((NOW + timedelta(hours=2), NOW - timedelta(hours=2)), 1):
            watch.seconds = 20 * seconds
            assert renew(session, held, clock, lease_seconds=30)
            assert watch.recover(session, clock, max_attempts=3) == 0
        early = NOW - timedelta(hours=2)
        assert claim(session, "second", early, lease_seconds=30) is None
        assert bring_forward(session, early) == 1
        taken = claim(session, "second", early, lease_seconds=30)
    assert taken is not None
    assert {held.run_id, taken.run_id} == set(runs)


def test_after_a_time_without_the_database_nobody_is_taken_for_lost(database: Database) -> None:
    queue(database, 1)
    watch = Watch()
    with database.write() as session:
        held = claim(session, "first", NOW, lease_seconds=30)
        watch.recover(session, NOW, max_attempts=3)
    # Nobody could renew, and nobody could look.
    watch.seconds = 100
    with database.write() as session:
        assert watch.recover(session, NOW, max_attempts=3) == 0
        assert held is not None
        assert renew(session, held, NOW + timedelta(seconds=100), lease_seconds=30)


def test_an_outage_costs_a_run_none_of_its_attempts(database: Database) -> None:
    [run_id] = queue(database, 1)
    now = NOW
    for _ in range(20):
        with database.write() as session:
            claimed = claim(session, "worker", now, lease_seconds=30)
            assert claimed is not None
            assert retry(session, claimed, FULL_DISK, now, wait_seconds=5, max_attempts=3, is_outage=True)
            run = session.get_one(Run, run_id)
            assert (run.state, run.failures) == (RunState.PENDING, 0)
            assert timedelta(seconds=5) <= run.not_before - now <= timedelta(seconds=60)
        now = run.not_before


def test_no_run_is_claimed_twice(database: Database) -> None:
    expected = sorted(queue(database, 60))
    claimed: list[str] = []

    def run_job(name: str) -> None:
        while True:
            with database.write() as session:
                got = claim(session, name, NOW, lease_seconds=30)
            if got is None:
                return
            claimed.append(got.run_id)

    threads = [threading.Thread(target=run_job, args=(f"worker-{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == expected


def test_a_run_whose_runtime_a_machine_lacks_is_left_to_others_and_loses_no_attempt(
    database: Database, tmp_path: Path
) -> None:
    [run_id] = queue(database, 1)
    missing = RuntimeBackoff()

    def find_runtime(folder: str) -> RuntimePaths:
        raise RuntimeMissingError(f"{folder} can't be built here.")

    storage = FolderStorage.open(tmp_path, base_url="")
    for key in ("pickle/x", "data/v5.3/live.parquet"):
        (tmp_path / key).parent.mkdir(parents=True)
        pq.write_table(pa.table({"id": ["a"], "era": ["X"], "feature_a": pa.array([1], pa.int8())}), tmp_path / key)
    config = WorkerConfig(
        limits=Limits(),
        diagnostics_limits=Limits(),
        kind=SandboxKind.BUBBLEWRAP,
        max_attempts=1,
        retry_seconds=0,
        parents=None,
        trees=False,
        mapped=MappedCache(folder=tmp_path / "mapped"),
        factors=tmp_path,
        find_runtime=find_runtime,
        has_runtime=lambda _folder: False,
        missing=missing,
    )
    with database.write() as session:
        claimed = claim(session, "first", datetime.now(UTC), lease_seconds=30)
    assert claimed is not None
    writer = LogWriter(database, claimed, 1000)
    run_job(
        Job(
            database=database,
            storage=storage,
            config=config,
            claimed=claimed,
            slot=0,
            writer=writer,
            cancel=threading.Event(),
        )
    )
    assert missing.folders() == ("folder",)
    with database.write() as session:
        run = session.get_one(Run, run_id)
        assert (run.state, run.failures) == (RunState.PENDING, 0)
        later = datetime.now(UTC)
        assert claim(session, "first", later, lease_seconds=30, missing_runtimes=missing.folders()) is None
        assert claim(session, "second", later, lease_seconds=30) is not None


def test_a_server_killed_in_the_middle_of_a_run_finishes_it_once(
    new_server: Callable[..., Server], pickles: dict[str, bytes]
) -> None:
    server = new_server()
    user = server.user("alice")
    model_id = user.add_model("survivor")
    server.open_round()
    pickle_id = user.upload(pickles["slow"], model_id)
    wait_for_log(server, user, pickle_id)
    children = psutil.Process(server.process.pid).children(recursive=True)
    assert children
    server.stop(signal.SIGKILL)
    psutil.wait_procs(children, timeout=10)
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]

    server.start()
    user = type(user)(server.address, user.username, user.public_id, user.secret_key)
    pickle = user.wait(pickle_id)
    [run] = pickle["triggers"]
    assert [status["status"] for status in run["statuses"]] == [
        "pending",
        "running",
        "error",
        "pending",
        "running",
        "validating",
        "submission_succeeded",
    ]
    assert [one["selected"] for one in user.submissions(model_id)] == [True]


def test_a_stopped_server_gives_its_run_back_and_goes_on_after_the_start(
    new_server: Callable[..., Server], pickles: dict[str, bytes]
) -> None:
    server = new_server(drain_seconds=0.5)
    user = server.user("alice")
    pickle_id = user.upload(pickles["slow"])
    wait_for_log(server, user, pickle_id)
    assert server.stop() == 0
    server.start()
    user = type(user)(server.address, user.username, user.public_id, user.secret_key)
    assert user.wait(pickle_id)["validationStatus"] == "validated"


def test_with_one_worker_diagnostics_make_room_for_a_round(
    new_server: Callable[..., Server], pickles: dict[str, bytes]
) -> None:
    server = new_server(workers=1)
    user = server.user("alice")
    slow = user.upload(pickles["slow"])
    user.wait(slow)
    query = "query($id: ID) { computePickles(id: $id) { diagnosticsStatus diagnosticsStatusDescription } }"

    def diagnostics() -> dict[str, str]:
        return dict(user.ask(query, id=slow)["computePickles"][0])

    deadline = time.monotonic() + 30
    while diagnostics()["diagnosticsStatus"] != "running":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    began = time.monotonic()
    quick = user.upload(pickles["one_argument"])
    assert user.wait(quick)["validationStatus"] == "validated"
    # The diagnostics of the slow model alone take a minute.
    assert time.monotonic() - began < 30
    assert diagnostics()["diagnosticsStatus"] in ("pending", "running")


def wait_for_log(server: Server, user: object, pickle_id: str) -> None:
    """Until the model has printed something: it is in the middle of its run."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if user.logs(user.pickle(pickle_id)["triggers"][0]["id"]):
            return
        time.sleep(0.1)
    raise AssertionError(f"the model never ran:\n{server.log}")
