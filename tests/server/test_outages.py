"""What people and programs are told while something that the server stands on is away."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
import sqlalchemy as sa

from conftest import Server
from database import Cluster, PostgresMissingError, postgres_cluster
from predictd.db import Database
from predictd.db.retry import is_outage


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    try:
        with postgres_cluster(durable=True) as running:
            yield running
    except PostgresMissingError as error:
        pytest.skip(str(error))


def test_without_its_database_a_server_says_so_and_goes_on_when_it_is_back(
    new_server: Callable[..., Server], pickles: dict[str, bytes], own_cluster: Cluster
) -> None:
    server = new_server(database_url=own_cluster.create_database())
    user = server.user("alice")
    running = user.upload(pickles["slow"])
    [run] = user.pickle(running)["triggers"]
    deadline = time.monotonic() + 60
    while not user.logs(run["id"]):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    own_cluster.kill()
    asked = requests.post(server.address, json={"query": "{ account { id } }"}, headers=user.headers, timeout=60)
    # numerapi and others try again after a 5xx, and never after a 200.
    assert asked.status_code == 503
    assert "Try again in a minute" in asked.json()["errors"][0]["message"]
    for path, told in (("/readyz", "database: "), ("/models", "Try again in a minute")):
        answer = requests.get(server.address + path, cookies={"predictd_session": "x"}, timeout=60)
        assert (answer.status_code, told in answer.text) == (503, True), path
    assert requests.get(f"{server.address}/healthz", timeout=60).status_code == 200
    listed = server.predictd("round", "list", check=False)
    assert (listed.returncode, "Traceback" in listed.stderr) == (1, False)
    assert "The database is unavailable" in listed.stderr
    time.sleep(8)
    own_cluster.restart()
    assert user.wait(running)["validationStatus"] == "validated"
    # The model had run to its end by then, and was not run again for it.
    [run] = user.pickle(running)["triggers"]
    assert [one["status"] for one in run["statuses"]].count("running") == 1, run


def test_a_mistake_in_a_statement_is_no_outage(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'x.db'}")
    with pytest.raises(sa.exc.OperationalError) as mistake, database.read() as session:
        session.execute(sa.text("SELECT nothing FROM nowhere"))
    assert not is_outage(mistake.value)
    with database.write() as session:
        session.execute(sa.text("PRAGMA max_page_count = 2"))
        session.execute(sa.text("CREATE TABLE t (x BLOB)"))
        with pytest.raises(sa.exc.OperationalError) as full:
            session.execute(sa.text("INSERT INTO t VALUES (zeroblob(100000))"))
        session.rollback()
    assert isinstance(full.value.orig, sqlite3.OperationalError)
    assert is_outage(full.value)
    database.close()
