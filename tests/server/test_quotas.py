"""Quotas and the disk's reserve hold while bytes arrive, whenever their URL was handed out and whatever they are."""

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
import requests
import sqlalchemy as sa
from test_speed import BOOSTED

from conftest import GraphQLErrors, Server, User
from predictd.admin.garbage_collection import delete_orphans
from predictd.db import Database
from predictd.db.stored_files import StoredFile
from predictd.storage import FolderStorage
from predictd.worker.run_cache import max_table_bytes

# A gigabyte in the settings has 10^9 bytes.
QUOTA = 3_000_000
PIECE = 1_000_000
URLS = {
    "pickle": 'query { computePickleUploadAuth(filename: "model.pkl") { filename url } }',
    "submission": 'query { submissionUploadAuth(filename: "p.csv", tournament: 8) { filename url } }',
    "diagnostics": 'query { diagnosticsUploadAuth(filename: "p.csv", tournament: 8) { filename url } }',
}
# Trains so many trees that their tables are far larger than the pickle.
GROWING = """
import sys, cloudpickle

def predict(live_features):
    import lightgbm, numpy as np
    rng = np.random.default_rng(1)
    x = rng.integers(0, 5, (4000, 8)).astype(np.float32)
    model = lightgbm.LGBMRegressor(n_estimators=2500, num_leaves=31, verbose=-1, n_jobs=1).fit(x, rng.random(4000))
    names = [name for name in live_features.columns if name.startswith("feature")][:8]
    raw = model.predict(live_features[names].fillna(2).astype("int8"))
    return live_features[[]].assign(prediction=0.1 + 0.8 * (raw - raw.min()) / (raw.max() - raw.min()))

sys.stdout.buffer.write(cloudpickle.dumps(predict))
"""


def pickled(script: str, python: str) -> bytes:
    return subprocess.run([python, "-c", script], stdout=subprocess.PIPE, check=True).stdout


def new_url(user: User, kind: str) -> tuple[str, str]:
    [auth] = user.ask(URLS[kind]).values()
    return str(auth["filename"]), str(auth["url"])


def stored_bytes(server: Server) -> int:
    """What lies below the folder of uploads, finished or not."""
    folders = (server.home / "storage" / name for name in ("incoming", ".drafts", *URLS))
    return sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())


def charged(server: Server, username: str) -> dict[str, int]:
    """The files that count for an account, by the first part of their key."""
    database = Database(server.environment["PREDICTD_DATABASE_URL"])
    with database.read() as session:
        rows = session.execute(
            sa.text(
                "SELECT stored_files.key, size_bytes FROM stored_files JOIN accounts ON accounts.id = account_id "
                "WHERE username = :name"
            ),
            {"name": username},
        ).all()
    database.close()
    return {row.key.partition("/")[0]: row.size_bytes for row in rows}


@pytest.fixture(scope="module")
def small(make_server: Callable[..., object]) -> Iterator[Server]:
    """A server whose accounts may store 3 MB."""
    with make_server(account_storage_gb=QUOTA / 10**9) as running:  # type: ignore[attr-defined]
        yield running


@pytest.mark.parametrize("kind", URLS)
@pytest.mark.parametrize("is_length_known", [True, False])
def test_unregistered_uploads_count_although_their_urls_were_handed_out_before(
    small: Server, kind: str, is_length_known: bool
) -> None:
    user = small.user(f"{kind}_{is_length_known}")
    urls = [new_url(user, kind)[1] for _ in range(4)]
    before = stored_bytes(small)

    def body() -> "bytes | Iterator[bytes]":
        return bytes(PIECE) if is_length_known else (bytes(PIECE // 10) for _ in range(10))

    answers = [requests.put(url, data=body(), timeout=60) for url in urls]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 413]
    assert "the account has only 0 of 0.003 GB left; delete" in answers[-1].text
    assert stored_bytes(small) - before == 3 * PIECE
    with pytest.raises(GraphQLErrors, match=r"files take 0\.003 GB, and may take 0\.003"):
        new_url(user, kind)
    # The same URL again puts the file in place of the first, and so needs no further room.
    assert requests.put(urls[0], data=b"x", timeout=60).status_code == 200
    assert requests.put(urls[3], data=body(), timeout=60).status_code == 413
    assert requests.put(urls[3], data=bytes(PIECE - 10), timeout=60).status_code == 200


def test_uploads_at_once_never_exceed_the_quota_together(small: Server) -> None:
    user = small.user("many_at_once")
    urls = [new_url(user, "pickle")[1] for _ in range(12)]
    before = stored_bytes(small)

    def send(url: str) -> int:
        return requests.put(url, data=(bytes(PIECE // 10) for _ in range(10)), timeout=60).status_code

    with ThreadPoolExecutor(12) as threads:
        statuses = list(threads.map(send, urls))
    assert set(statuses) <= {200, 413}
    assert statuses.count(200) >= 1
    assert stored_bytes(small) - before == statuses.count(200) * PIECE <= QUOTA


def test_one_url_that_is_used_several_times_at_once_counts_once(small: Server) -> None:
    url = new_url(small.user("same_url"), "pickle")[1]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: requests.put(url, data=bytes(PIECE), timeout=60), range(16)))
    assert {answer.status_code for answer in answers} <= {200, 413}
    assert charged(small, "same_url") == {"incoming": PIECE}


def test_an_upload_that_is_refused_or_discarded_or_swept_counts_no_more(small: Server) -> None:
    user = small.user("swept")
    url = new_url(user, "pickle")[1]
    assert requests.put(url, data=bytes(PIECE), timeout=60).status_code == 200
    assert charged(small, "swept") == {"incoming": PIECE}
    # A submission that is refused is swept like one that was never registered.
    refused, url = new_url(user, "submission")
    assert requests.put(url, data=bytes(PIECE), timeout=60).status_code == 200
    small.open_round()
    model_id = user.add_model("swept_model")
    create = "mutation($f: String!, $m: ID) { createSubmission(filename: $f, modelId: $m, tournament: 8) { id } }"
    with pytest.raises(GraphQLErrors):
        user.ask(create, f=refused, m=model_id)
    assert charged(small, "swept") == {"incoming": PIECE, "submission": PIECE}
    database = Database(small.environment["PREDICTD_DATABASE_URL"])
    storage = FolderStorage.open(small.home / "storage", "")
    delete_orphans(database, storage, 2**33)
    with database.read() as session:
        assert session.scalars(sa.select(StoredFile.key)).all() == []
    database.close()


@pytest.fixture(scope="module")
def roomy(make_server: Callable[..., object]) -> Iterator[Server]:
    """A server whose quota is large, so that its accounts are counted and not refused."""
    with make_server(account_storage_gb=1) as running:  # type: ignore[attr-defined]
        yield running


def test_tables_count_toward_storage_and_are_bounded_by_their_pickle(roomy: Server, default_python: str) -> None:
    growing = pickled(GROWING, default_python)
    user = roomy.user("tables")
    roomy.open_round()
    pickle_id = user.upload(growing, user.add_model("growing"))
    assert user.wait(pickle_id)["triggers"][0]["status"] == "submission_succeeded"
    assert f"at most {max_table_bytes(len(growing))} are stored" in roomy.log
    assert not (roomy.home / "storage" / "tables" / pickle_id).exists()
    assert "tables" not in charged(roomy, "tables")
    # Those of an ordinary model are kept and counted.
    pickle_id = user.upload(pickled(BOOSTED, default_python), user.add_model("boosted_tables"))
    assert user.wait(pickle_id)["triggers"][0]["status"] == "submission_succeeded"
    [kept] = (roomy.home / "storage" / "tables" / pickle_id).iterdir()
    assert charged(roomy, "tables")["tables"] == kept.stat().st_size


def test_the_disks_reserve_holds_for_urls_of_before_while_rounds_go_on(
    new_server: Callable[..., Server], pickles: dict[str, bytes]
) -> None:
    server = new_server()
    user = server.user("reserve")
    model_id = user.add_model("reserve_model")
    server.open_round()
    pickle_id = user.upload(pickles["one_argument"], model_id)
    user.wait(pickle_id)
    urls = {kind: new_url(user, kind)[1] for kind in URLS}
    server.stop()
    server.environment["PREDICTD_MIN_FREE_GB"] = str(10**6)
    server.start()
    user = User(server.address, user.username, user.public_id, user.secret_key)
    for kind, url in urls.items():
        parts = urlsplit(url)
        for body in (b"small", (b"small" for _ in range(3))):
            answer = requests.put(f"{server.address}{parts.path}?{parts.query}", data=body, timeout=60)
            assert answer.status_code == 507, kind
            assert "must stay free, so it accepts no uploads now" in answer.text
    assert not any((server.home / "storage" / ".drafts").iterdir())
    with pytest.raises(GraphQLErrors, match="must stay free"):
        user.ask("mutation($p: ID) { triggerComputePickleUpload(pickleId: $p) { id } }", p=pickle_id)
    # What must stay free is what rounds need.
    server.close_round()
    number = server.open_round()
    user.wait(pickle_id, runs=2)
    assert number in {one["round"]["number"] for one in user.submissions(model_id) if one["selected"]}
