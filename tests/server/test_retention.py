"""Old logs and old pickles go, and nothing that anybody may still need."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from conftest import GraphQLErrors, Server
from predictd.db import Database
from predictd.db.models import Pickle, Run, RunLog

LONG_AGO = timedelta(days=400)
AGES = ["--logs", "90d", "--pickles", "365d", "--json"]


@pytest.fixture
def old_server(new_server: Callable[..., Server]) -> Server:
    return new_server(workers=2)


@pytest.fixture
def database(old_server: Server) -> Iterator[Database]:
    database = Database(old_server.environment["PREDICTD_DATABASE_URL"])
    yield database
    database.close()


def test_what_is_old_and_unused_is_told_and_then_removed(
    old_server: Server, database: Database, pickles: dict[str, bytes]
) -> None:
    server = old_server
    user = server.user("alice")
    model_id = user.add_model("kept")
    uploaded = []
    for _ in range(3):
        uploaded.append(user.upload(pickles["one_argument"], model_id))
        user.wait(uploaded[-1])
    assigned = user.upload(pickles["good"], model_id)
    broken = user.upload(b"no pickle", model_id)
    free = user.upload(pickles["one_argument"])
    for pickle_id in (*uploaded, assigned, broken, free):
        user.wait(pickle_id)
    wait_for_all(database)
    running = user.upload(pickles["slow"])
    make_older(database, LONG_AGO)
    oldest, older, _ = uploaded
    before = set((server.home / "storage" / "pickle").iterdir())

    told = json.loads(server.predictd("retention", *AGES, "--dry-run").stdout)
    assert told["removed"] is False
    assert {one["id"] for one in told["pickles"]["files"]} == {oldest, older, broken, free}
    assert told["pickles"]["bytes"] > 0
    assert told["logs"]["lines"] > 0
    assert set((server.home / "storage" / "pickle").iterdir()) == before

    removed = json.loads(server.predictd("retention", *AGES, "--delete").stdout)
    assert removed == told | {"removed": True}
    gone = {path.name for path in before - set((server.home / "storage" / "pickle").iterdir())}
    with database.read() as session:
        keys = {session.get_one(Pickle, one).storage_key for one in (oldest, older, broken, free)}
    assert {f"pickle/{name}" for name in gone} == keys

    [line] = user.logs(user.pickle(broken)["triggers"][0]["id"])
    assert line.startswith("[predictd] The log was removed on ")
    assert user.pickle(oldest)["validationStatus"] == "validated"
    for ask, what in (
        ("mutation($p: ID!, $m: ID!) { assignPickleToModel(pickleId: $p, modelId: $m) }", {"m": model_id}),
        ("mutation($p: ID!) { triggerComputePickleUpload(pickleId: $p) { id } }", {}),
        ("query($p: ID!, $m: ID!) { computePickleDownloadAuth(pickleId: $p, modelId: $m) { url } }", {"m": model_id}),
    ):
        with pytest.raises(GraphQLErrors, match=r"was removed on .* Upload it again"):
            user.ask(ask, p=oldest, **what)
    again = json.loads(server.predictd("retention", *AGES, "--delete").stdout)
    assert (again["logs"]["runs"], again["pickles"]["count"]) == (0, 0)
    assert user.wait(running)["validationStatus"] == "validated"


def wait_for_all(database: Database) -> None:
    """Until no run is on its way, those for diagnostics included."""
    deadline = datetime.now(UTC) + timedelta(seconds=120)
    while True:
        with database.read() as session:
            left = session.scalar(
                sa.select(sa.func.count()).select_from(Run).where(Run.state.in_(["pending", "running", "validating"]))
            )
        if not left:
            return
        assert datetime.now(UTC) < deadline


def make_older(database: Database, by: timedelta) -> None:
    """As if everything that has ended had been long ago."""
    with database.write() as session:
        for table in (Pickle, Run):
            for row in session.scalars(sa.select(table)):
                row.inserted_at -= by
                row.updated_at -= by
        for line in session.scalars(sa.select(RunLog)):
            line.timestamp -= int(by.total_seconds() * 1000)
