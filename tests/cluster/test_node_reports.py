"""What nodes report of their runs goes to the database, whichever server takes it."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from predictd.cluster.ray_process import parse_address
from predictd.cluster.scheduler import ClusterScheduler
from predictd.db import Database
from predictd.db.accounts import create_account
from predictd.db.catalog import register_data_version, register_runtime
from predictd.db.models import Pickle, Run, RunLog
from predictd.db.run_tables import NodeRun
from predictd.domain.errors import ForbiddenTransferError, SetupError
from predictd.domain.reasons import Reason
from predictd.domain.states import RunState, RunType
from predictd.domain.terminal import LINE_LENGTH
from predictd.jobs.queue import Claim, advance, claim, enqueue
from predictd.worker import node_runs
from predictd.worker.lease_recovery import recover_owned

NOW = datetime(2026, 1, 6, 13, 0, tzinfo=UTC)


@pytest.fixture
def database(database_url: Callable[[], str]) -> Iterator[Database]:
    database = Database(database_url())
    database.upgrade()
    yield database
    database.close()


@pytest.fixture
def claimed(database: Database) -> Claim:
    """A run of a pickle that a node has, with the token 'token'."""
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
        enqueue(session, pickle, RunType.VALIDATION, None, NOW, Reason(code="validation_queued"))
    with database.write() as session:
        found = claim(session, "server", NOW, lease_seconds=30)
        assert found is not None
        node_runs.begin(session, found, "token", NOW)
        return found


def report(database: Database, claimed: Claim, body: bytes = b"", *, batch: int = 1, token: str = "token") -> bool:
    with database.write() as session:
        return node_runs.record_report(
            session,
            claimed.run_id,
            claimed.attempt,
            token,
            node="node-1",
            log_batch=batch,
            body=body,
            dropped_bytes=0,
            max_log_bytes=100,
        )


def log(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.scalars(sa.select(RunLog.message).order_by(RunLog.sequence)))


def test_a_batch_that_is_sent_twice_counts_once(database: Database, claimed: Claim) -> None:
    assert report(database, claimed, b"one\ntwo\n", batch=1)
    assert report(database, claimed, b"one\ntwo\n", batch=1)
    assert report(database, claimed, b"three\n", batch=2)
    assert log(database) == ["one", "two", "three"]
    with database.read() as session:
        assert node_runs.list_heartbeats(session) == {(claimed.run_id, claimed.attempt): (3, "node-1")}


def test_a_line_that_could_be_ours_is_set_apart(database: Database, claimed: Claim) -> None:
    assert report(database, claimed, b"[predictd] exception: \x00\xff\n\nlast\n")
    assert log(database) == ["> [predictd] exception: \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}", "", "last"]
    assert report(database, claimed, b"x" * LINE_LENGTH + b"[predictd] killed: in the middle of a line\n", batch=2)
    assert log(database)[-1] == "> [predictd] killed: in the middle of a line"


def test_of_a_flood_the_newest_lines_stay(database: Database, claimed: Claim) -> None:
    for batch in range(1, 11):
        assert report(database, claimed, b"".join(b"%05d\n" % (batch * 10 + line) for line in range(10)), batch=batch)
    lines = log(database)
    kept = sum(len(line) + 1 for line in lines)
    assert kept <= 100
    assert lines[-1] == "00109"
    with database.read() as session:
        assert session.get_one(Run, claimed.run_id).log_dropped_bytes == 600 - kept


def test_a_run_that_is_nobodys_any_more_takes_no_reports(database: Database, claimed: Claim) -> None:
    with pytest.raises(ForbiddenTransferError):
        report(database, claimed, b"from another\n", token="guessed")
    with database.write() as session:
        assert advance(session, claimed, RunState.ERROR, Reason(code="worker_lost"), NOW)
    assert not report(database, claimed, b"from the dead\n")
    with database.write() as session:
        node_runs.delete_ended(session)
    with database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(NodeRun)) == 0
    assert not report(database, claimed, b"from the dead\n")
    assert log(database) == []


def test_a_run_that_its_server_left_behind_takes_no_place(database: Database, claimed: Claim) -> None:
    with database.write() as session:
        assert len(node_runs.list_heartbeats(session)) == 1
        assert recover_owned(session, "server", NOW, max_attempts=3) == 1
        assert node_runs.list_heartbeats(session) == {}


@pytest.mark.parametrize("address", ["", "head", "head:", ":6379", "http://head"])
def test_an_address_that_is_none_is_told(address: str, tmp_path: object) -> None:
    with pytest.raises(SetupError, match="Use HOST:PORT"):
        parse_address(address)
    with pytest.raises(SetupError):
        ClusterScheduler(address, tmp_path / "ray.log")  # type: ignore[operator]
