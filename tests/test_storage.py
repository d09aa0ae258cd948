"""Storage by URL: a shared folder, a bucket, and the copies of a bucket's objects on a machine."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from predictd.domain.errors import InvalidInputError, PlatformError, SetupError, StorageDownError
from predictd.file_cache import FileCache
from predictd.storage import FolderStorage, Storage, open_storage
from predictd.storage.signing import grant
from s3 import S3Server, s3_server

MB = 1000 * 1000


@pytest.fixture(scope="module")
def bucket() -> Iterator[S3Server]:
    with s3_server() as running, pytest.MonkeyPatch.context() as environment:
        for name, value in running.credentials.items():
            environment.setenv(name, value)
        yield running


def opened(url: str, home: Path, *, cache_bytes: int = 100 * MB) -> Storage:
    home.mkdir(exist_ok=True)
    return open_storage(url, home=home, base_url="http://one", cache_bytes=cache_bytes, load_secret=lambda: b"s" * 32)


@pytest.fixture(params=["folder", "shared folder", "bucket"])
def storage(request: pytest.FixtureRequest, bucket: S3Server, tmp_path: Path) -> Storage:
    urls = {"folder": "", "shared folder": f"file://{tmp_path}/a%20b", "bucket": bucket.url(f"p/{tmp_path.name}")}
    return opened(urls[request.param], tmp_path)


def put(storage: Storage, key: str, content: bytes) -> None:
    with storage.start_upload(key) as draft:
        draft.write(content)
        draft.commit()


def test_every_storage_keeps_objects_the_same_way(storage: Storage, tmp_path: Path) -> None:
    storage.check()
    assert list(storage.objects()) == []
    put(storage, "incoming/pickle/a-1.pkl", b"a model")
    storage.move("incoming/pickle/a-1.pkl", "pickle/a")
    put(storage, "pickle/ab", b"another")
    assert (storage.stat("pickle/a"), storage.stat("incoming/pickle/a-1.pkl")) == (7, None)
    with storage.new_folder("data/v1", lambda _file, _share: None, last="features.json") as folder:
        folder.mkdir(parents=True)
        for name in ("features.json", ".synthetic.json", "live.parquet"):
            (folder / name).write_text(name)
    listed = [one.key for one in storage.objects()]
    assert listed == [
        "data/v1/.synthetic.json",
        "data/v1/features.json",
        "data/v1/live.parquet",
        "pickle/a",
        "pickle/ab",
    ]
    assert [(one.key, one.size) for one in storage.objects("pickle")] == [("pickle/a", 7), ("pickle/ab", 7)]
    with storage.local_path("pickle/a") as path, storage.local_folder("data/v1", ["live.parquet"]) as folder:
        assert path.read_bytes() == b"a model"
        assert (folder / "live.parquet").read_text() == "live.parquet"
        assert any(path.is_relative_to(one) for one in storage.local_folders)
    storage.delete("pickle/a")
    storage.delete("data")
    storage.delete("data")
    assert [one.key for one in storage.objects()] == ["pickle/ab"]
    with pytest.raises(PlatformError, match="missing in storage"), storage.local_path("pickle/a"):
        pass
    with pytest.raises(InvalidInputError):
        storage.stat("../outside")


def test_uploads_that_nobody_registered_are_swept(storage: Storage) -> None:
    put(storage, "incoming/pickle/old", b"old")
    put(storage, "pickle/old", b"registered")
    assert storage.sweep() == 0
    assert storage.sweep(time.time() + 25 * 3600) == 1
    assert [one.key for one in storage.objects()] == ["pickle/old"]


def test_servers_that_share_a_folder_accept_each_other_s_urls(tmp_path: Path) -> None:
    first, second = (opened(f"file://{tmp_path}/shared", tmp_path / name) for name in ("one", "two"))
    assert isinstance(first, FolderStorage)
    assert isinstance(second, FolderStorage)
    soon = datetime.now(UTC) + timedelta(minutes=1)
    url = first.presign("PUT", "incoming/pickle/a", expires_at=soon, max_bytes=9)
    grant("PUT", "incoming/pickle/a", soon, 9, None).verify(second.secret, url.rpartition("signature=")[2])


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("s3://key:secret@bucket/", "must not contain credentials"),
        ("s3://bucket/?endpont=http://x", "unknown option 'endpont'"),
        ("s3://", "name of the bucket is missing"),
        ("gs://bucket", "unknown scheme"),
        ("file://host/folder", "write a folder as file:///"),
    ],
)
def test_a_wrong_url_says_what_is_wrong(url: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=told):
        opened(url, tmp_path)


def test_what_is_wrong_with_a_bucket_is_told_at_the_start(
    bucket: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SetupError, match="the bucket does not exist"):
        opened(bucket.url().replace("predictd/", "other/"), tmp_path).check()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(SetupError, match="AWS_SECRET_ACCESS_KEY"):
        opened(bucket.url(), tmp_path).check()
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(SetupError, match="credentials for the storage are missing"):
        opened(bucket.url(), tmp_path).check()


def test_a_bucket_that_is_away_is_told_apart_from_an_object_that_is_gone(bucket: S3Server, tmp_path: Path) -> None:
    storage = opened(bucket.url("away"), tmp_path)
    put(storage, "pickle/a", b"here")
    bucket.kill()
    for call in (lambda: storage.stat("pickle/a"), lambda: put(storage, "pickle/b", b"x"), storage.sweep):
        with pytest.raises(StorageDownError):
            call()
    bucket.start()
    assert storage.stat("pickle/a") == 4
    assert not list((tmp_path / "objects" / "partial").iterdir())


def test_a_copy_is_fetched_once_stays_the_same_file_and_follows_its_object(bucket: S3Server, tmp_path: Path) -> None:
    storage = opened(bucket.url("copies"), tmp_path)
    put(storage, "incoming/pickle/a", os.urandom(MB))
    with storage.local_path("incoming/pickle/a") as path:
        first = path.stat()
    storage.move("incoming/pickle/a", "pickle/a")
    with storage.local_path("pickle/a") as path:
        assert (path.stat().st_ino, path.stat().st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
        put(storage, "pickle/a", b"replaced")
        with storage.local_path("pickle/a") as fresh:
            assert fresh.read_bytes() == b"replaced"
        assert path.stat().st_size == MB, "the one in use stays as it is"
    with storage.local_path("pickle/a") as path:
        assert path.read_bytes() == b"replaced"


def test_the_copies_stay_within_their_limit_and_none_in_use_goes(tmp_path: Path) -> None:
    cache = FileCache(folder=tmp_path, limit=10 * MB)
    fetched: list[str] = []

    def fetch(key: str) -> Callable[[Path], None]:
        def write(path: Path) -> None:
            fetched.append(key)
            time.sleep(0.02)
            path.write_bytes(key[-1:].encode() * 4 * MB)

        return write

    def held(key: str) -> AbstractContextManager[Path]:
        return cache.acquire(key, "v1", 4 * MB, fetch(key))

    with held("k/a") as first:
        # Many threads want the same object at once.
        threads = [threading.Thread(target=lambda: held("k/b").__enter__()) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert fetched == ["k/a", "k/b"]
        with held("k/c"), held("k/d"):
            assert first.read_bytes()[:3] == b"aaa"
            assert sum(path.stat().st_size for path in cache.files.rglob("*") if path.is_file()) >= 12 * MB
    with held("k/e"):
        pass
    kept = [path for path in cache.files.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in kept) <= 10 * MB
    with pytest.raises(PlatformError, match="bytes were fetched"), cache.acquire("k/f", "v1", 5, fetch("k/f")):
        pass
    assert not list((tmp_path / "partial").iterdir())
