"""Two servers on one PostgreSQL and one S3 bucket, each with a data dir of its own: they are one deployment."""

import json
import multiprocessing
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import requests
import sqlalchemy as sa
from test_numerapi import CLIENTS, walk
from test_recovery import queue, wait_for_log

from conftest import Server, User
from database import Cluster
from predictd.db import Database
from predictd.db.models import DataVersion, Round, Run, RunStatus, Runtime
from predictd.db.secrets import shared_secret
from predictd.domain.errors import PlatformError, RuntimeMissingError
from predictd.jobs.queue import claim
from predictd.rounds.calendar import parse_calendar
from predictd.rounds.lifecycle import apply_calendar
from predictd.runtimes import default_spec
from predictd.runtimes.specs import RUNNER_IMPORTS
from predictd.server.deployment import STORAGE_KEY, open_deployment
from predictd.server.runtime_specs import store_spec
from predictd.server.setup import find_runtime
from predictd.settings import Settings
from predictd.storage import Storage, open_storage
from s3 import S3Server, s3_server

NOW = datetime(2026, 1, 6, 13, 0, tzinfo=UTC)
CLAIMS = 10_000


@pytest.fixture(scope="module")
def bucket() -> Iterator[S3Server]:
    with s3_server() as running, pytest.MonkeyPatch.context() as environment:
        for name, value in running.credentials.items():
            environment.setenv(name, value)
        yield running


@pytest.fixture(scope="module")
def pair(
    postgres: Cluster,
    bucket: S3Server,
    make_server: Callable[..., AbstractContextManager[Server]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Server, Server]]:
    """Both start for the first time at once."""
    tmp_path_factory.getbasetemp()  # which no two threads may create at once
    settings = {"database_url": postgres.create_database(), "storage_url": bucket.url("first"), "lease_seconds": 4}
    started: list[AbstractContextManager[Server]] = [make_server(**settings) for _ in range(2)]
    servers: list[Server] = []
    threads = [threading.Thread(target=lambda one=one: servers.append(one.__enter__())) for one in started]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(servers) == 2
    yield servers[0], servers[1]
    for one in started:
        one.__exit__(None, None, None)


def at(server: Server, user: User) -> User:
    """The same user at another server."""
    return User(server.address, user.username, user.public_id, user.secret_key)


def database_of(server: Server) -> Database:
    return Database(server.environment["PREDICTD_DATABASE_URL"])


def storage_of(url: str, home: Path) -> Storage:
    return open_storage(url, home=home, base_url="", cache_bytes=10**9, load_secret=lambda: b"s" * 32)


def test_two_first_starts_at_once_make_one_of_everything(pair: tuple[Server, Server], bucket: S3Server) -> None:
    with database_of(pair[0]).read() as session:
        assert session.scalars(sa.select(DataVersion.name)).all() == ["v5.3"]
        assert session.scalars(sa.select(Runtime.is_default)).all() == [True]
    assert not any((server.home / "storage").exists() for server in pair)
    [listed] = json.loads(pair[1].predictd("data", "list", "--json").stdout)
    assert {"features.json", "live.parquet", "train.parquet"} <= set(listed["files"])
    assert "first/data/v5.3/features.json" in bucket.stored()
    assert not bucket.stored("first/checks")


@pytest.mark.parametrize("client", CLIENTS)
def test_numerapi_works_with_urls_of_the_bucket(
    pair: tuple[Server, Server], bucket: S3Server, pickles: dict[str, bytes], tmp_path: Path, client: str
) -> None:
    first, second = pair
    if client == next(iter(CLIENTS)):
        first.open_round("10h")
    user = first.user(client.replace(" ", "_").replace(".", "_"))
    pickle = tmp_path / "model.pkl"
    pickle.write_bytes(pickles["good"])
    # Signs its URLs at one server; what it uploads there is run by whichever is free.
    answers = walk(CLIENTS[client], [first.address, user.public_id, user.secret_key, str(pickle), str(tmp_path)])
    assert answers["not_walked"] == []
    assert answers["round_trip"] is True
    assert len(answers["submission_ids"]) == 2
    if "3.1" in client:
        assert answers["eras_of_a_filtered_download"] == ["0575"]
    assert at(second, user).wait(answers["model_upload"])["validationStatus"] == "validated"
    assert not bucket.stored("first/incoming")


def test_a_signature_of_the_bucket_is_good_for_one_object_one_method_and_a_time(
    bucket: S3Server, tmp_path: Path
) -> None:
    storage = storage_of(bucket.url("signed"), tmp_path)
    soon = datetime.now(UTC) + timedelta(minutes=5)
    put = storage.presign("PUT", "incoming/pickle/mine", expires_at=soon)
    assert requests.put(put, data=b"mine", headers={"x_compute_id": "7"}, timeout=10).status_code == 200
    get = storage.presign("GET", "incoming/pickle/mine", expires_at=soon, filename='a "model".pkl')
    answer = requests.get(get, timeout=10)
    assert answer.content == b"mine"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="a model.pkl"'
    over = storage.presign("GET", "incoming/pickle/mine", expires_at=datetime.now(UTC))
    time.sleep(2)
    wrong = {
        "another object": requests.get(get.replace("mine", "yours"), timeout=10),
        "another method": requests.put(get, data=b"forged", timeout=10),
        "another signature": requests.put(put[:-4] + "0000", data=b"forged", timeout=10),
        "longer": requests.get(get.replace("X-Amz-Expires=2", "X-Amz-Expires=3"), timeout=10),
        "no signature": requests.get(get.partition("?")[0], timeout=10),
        "expired": requests.get(over, timeout=10),
    }
    assert {what: answer.status_code in (400, 403) for what, answer in wrong.items()} == dict.fromkeys(wrong, True)
    assert (bucket.bucket / "signed/incoming/pickle/mine").read_bytes() == b"mine"


def test_a_pickle_larger_than_allowed_is_refused_when_it_is_registered(
    pair: tuple[Server, Server], bucket: S3Server
) -> None:
    user = pair[0].user("large")
    query = 'query { computePickleUploadAuth(filename: "model.pkl") { filename url } }'
    auth = user.ask(query)["computePickleUploadAuth"]
    with database_of(pair[0]).write() as session:
        session.execute(sa.text("UPDATE uploads SET max_bytes = 1000 WHERE filename = :f"), {"f": auth["filename"]})
    assert requests.put(auth["url"], data=b"x" * 1001, timeout=10).status_code == 200
    with pytest.raises(Exception, match="has 1001 bytes, and at most 1000 are allowed"):
        user.register(auth["filename"])
    assert not bucket.stored("first/incoming")


def test_a_browser_sends_its_upload_to_the_page_s_own_server(pair: tuple[Server, Server], bucket: S3Server) -> None:
    first, second = pair
    secret = shared_secret(database_of(first), STORAGE_KEY, NOW)
    storage = open_storage(
        bucket.url("first"), home=first.home, base_url="", cache_bytes=10**9, load_secret=lambda: secret
    ).with_base_url("")
    soon = datetime.now(UTC) + timedelta(minutes=5)
    path = storage.presign("PUT", "incoming/pickle/by-browser", expires_at=soon, max_bytes=10)
    assert path.startswith("/files/")
    # The address may be given out by one server and used at another.
    assert requests.put(second.address + path, data=b"y" * 11, timeout=10).status_code == 413
    assert requests.put(second.address + path[:-4] + "0000", data=b"y", timeout=10).status_code == 403
    assert requests.put(second.address + path, data=b"y" * 10, timeout=10).status_code == 200
    assert (bucket.bucket / "first/incoming/pickle/by-browser").read_bytes() == b"y" * 10
    (bucket.bucket / "first/incoming/pickle/by-browser").unlink()


def test_what_a_killed_server_ran_is_taken_over_by_the_other(
    pair: tuple[Server, Server], bucket: S3Server, pickles: dict[str, bytes]
) -> None:
    user = pair[0].user("survivor")
    model_id = user.add_model("taken_over")
    pickle_id = user.upload(pickles["slow"], model_id)
    wait_for_log(pair[0], user, pickle_id)
    run_id = user.pickle(pickle_id)["triggers"][0]["id"]
    with database_of(pair[0]).read() as session:
        owner = session.get_one(Run, run_id).lease_owner.partition("/")[0]
    killed, other = sorted(pair, key=lambda one: (one.home / "server.id").read_text().strip() != owner)
    killed.stop(signal.SIGKILL)
    user = at(other, user)
    # The bucket is away for a moment as well, which is nobody's failure.
    bucket.kill()
    time.sleep(1)
    bucket.start()
    pickle = user.wait(pickle_id)
    assert pickle["validationStatus"] == "validated"
    assert [one["selected"] for one in user.submissions(model_id)] == [True]
    killed.start()
    assert at(killed, user).pickle(pickle_id)["validationStatus"] == "validated"


def test_a_server_builds_a_runtime_that_only_another_has(
    pair: tuple[Server, Server], bucket: S3Server, tmp_path: Path
) -> None:
    # As if an earlier release had built it: its lock is not one of those that come with this one.
    spec = replace(default_spec(), packages="mine", lock=smaller(default_spec().lock), imports=RUNNER_IMPORTS)
    store_spec(storage_of(bucket.url("first"), tmp_path), spec)
    settings = Settings(
        data_dir=tmp_path / "third",
        runtimes_dir=tmp_path / "runtimes",
        database_url=pair[0].environment["PREDICTD_DATABASE_URL"],
        storage_url=bucket.url("first"),
    )
    deployment = open_deployment(settings)
    found = find_runtime(deployment, spec.folder_name)
    assert found.packages.is_relative_to(tmp_path / "runtimes")
    with pytest.raises(RuntimeMissingError, match="its lock is not in storage"):
        find_runtime(deployment, "numerai_predict_py_3_12_other-0123456789ab")
    deployment.database.close()


def retry(tick: Callable[[], object]) -> object:
    """Look again after an error, as a server does: rclone replaces an object in two steps, S3 in one."""
    for _ in range(10):
        try:
            return tick()
        except PlatformError:
            time.sleep(0.2)
    return tick()


def test_a_round_opens_once_however_many_servers_look_at_the_calendar(
    postgres: Cluster, bucket: S3Server, pair: tuple[Server, Server], tmp_path: Path
) -> None:
    url = postgres.create_database()
    databases = [Database(url) for _ in range(4)]
    databases[0].upgrade()
    with databases[0].write() as session:
        session.add(DataVersion(name="v5.3", is_default=True, inserted_at=NOW))
    storages = [storage_of(bucket.url("first"), tmp_path / str(number)) for number in range(4)]
    calendar = parse_calendar("every 5m")
    opened: Counter[datetime] = Counter()
    ready = threading.Barrier(4)

    def look(database: Database, storage: Storage) -> None:
        for number in range(5):
            now = NOW + timedelta(minutes=5 * number, seconds=1)
            ready.wait(300)
            if retry(partial(apply_calendar, database, storage, calendar, now)) is not None:
                opened[now] += 1

    threads = [threading.Thread(target=look, args=one) for one in zip(databases, storages, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(opened.values()) == [1] * 5
    with databases[0].read() as session:
        assert session.scalars(sa.select(Round.number).order_by(Round.number)).all() == [1, 2, 3, 4, 5]
    for database in databases:
        database.close()


def test_ten_thousand_runs_are_claimed_once_each_by_several_processes(postgres: Cluster) -> None:
    database = Database(postgres.create_database())
    database.upgrade()
    [one] = queue(database, 1)
    with database.write() as session:
        row = session.execute(sa.select(Run.__table__).where(Run.id == one)).mappings().one()
        times = (NOW - timedelta(microseconds=number) for number in range(1, CLAIMS))
        more = [dict(row) | {"id": f"t{number}", "not_before": at} for number, at in enumerate(times)]
        session.execute(sa.insert(Run), more)
    context = multiprocessing.get_context("spawn")
    with context.Pool(3) as pool:
        claimed = pool.map(claim_all, [(database.url, name) for name in ("a", "b", "c")])
    counts = Counter(run_id for some in claimed for run_id in some)
    assert len(counts) == CLAIMS
    assert set(counts.values()) == {1}
    assert min(map(len, claimed)) > 0
    with database.read() as session:
        assert session.scalar(sa.select(sa.func.max(Run.attempt))) == 1
        running = sa.select(sa.func.count()).select_from(RunStatus).where(RunStatus.status == "running")
        assert session.scalar(running) == CLAIMS
    database.close()


def smaller(lock: str) -> str:
    """Of a lock, what no run can do without."""
    wanted = ("numpy==", "pandas==", "pyarrow==", "cloudpickle==", "python-dateutil==", "six==", "pytz==", "tzdata==")
    kept, keep = [], False
    for line in lock.splitlines(keepends=True):
        if not line.startswith((" ", "#")):
            keep = line.startswith(wanted)
        if keep:
            kept.append(line)
    return "".join(kept)


def claim_all(given: tuple[str, str]) -> list[str]:
    url, name = given
    database = Database(url)
    claimed = []
    while True:
        with database.write() as session:
            got = claim(session, name, NOW, lease_seconds=3600)
        if got is None:
            database.close()
            return claimed
        claimed.append(got.run_id)
