"""Presigned transfers through a real server: whole or not at all, and only what the signature allows."""

import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import fsspec
import psutil
import pytest
import requests
import uvicorn
from starlette.applications import Starlette

from predictd.api.transfers import transfer_routes
from predictd.domain.errors import InvalidInputError
from predictd.storage import FolderStorage

MIB = 1024 * 1024
SOON = timedelta(minutes=10)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FolderStorage]:
    """Storage with a server that answers its URLs."""
    listener = socket.create_server(("127.0.0.1", 0))
    storage = FolderStorage.open(
        tmp_path_factory.mktemp("storage"), base_url=f"http://127.0.0.1:{listener.getsockname()[1]}"
    )
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=transfer_routes(storage)), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield storage
    server.should_exit = True
    thread.join()


def url(storage: FolderStorage, method: str, key: str, max_bytes: int = MIB, lasts: timedelta = SOON) -> str:
    return storage.presign(method, key, expires_at=datetime.now(UTC) + lasts, max_bytes=max_bytes)


def leftovers(storage: FolderStorage) -> list[Path]:
    return list((storage.root / ".drafts").iterdir())


def test_what_is_put_is_got(storage: FolderStorage) -> None:
    content = os.urandom(MIB)
    headers = {"x_compute_id": "7", "Content-Type": "text/csv"}
    assert (
        requests.put(url(storage, "PUT", "a/model.pkl"), data=content, headers=headers, timeout=10).status_code == 200
    )
    assert requests.get(url(storage, "GET", "a/model.pkl"), timeout=10).content == content
    assert storage.stat("a/model.pkl") == MIB


def test_a_body_of_unknown_length_is_taken(storage: FolderStorage) -> None:
    parts = (b"part" for _ in range(1000))
    assert requests.put(url(storage, "PUT", "a/parts"), data=parts, timeout=10).status_code == 200
    assert storage.stat("a/parts") == 4000


@pytest.mark.parametrize("known", [True, False])
def test_what_is_too_large_is_refused_and_leaves_nothing(storage: FolderStorage, known: bool) -> None:
    content = os.urandom(3 * MIB)
    body = content if known else (content[i : i + 65536] for i in range(0, len(content), 65536))
    response = requests.put(url(storage, "PUT", "a/large"), data=body, timeout=10)
    assert response.status_code == 413
    assert "larger than the 1048576 bytes" in response.text
    assert storage.stat("a/large") is None
    assert leftovers(storage) == []


def test_an_upload_that_breaks_off_leaves_what_was_there(storage: FolderStorage) -> None:
    target = url(storage, "PUT", "a/kept")
    requests.put(target, data=b"the first", timeout=10)
    parts = urlsplit(target)
    with socket.create_connection((parts.hostname, parts.port)) as broken:
        head = f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n"
        broken.sendall(head.encode() + b"x" * 300_000)
        time.sleep(0.2)
    deadline = time.monotonic() + 5
    while leftovers(storage) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert leftovers(storage) == []
    assert requests.get(url(storage, "GET", "a/kept"), timeout=10).content == b"the first"


def test_a_signature_is_good_for_one_method_one_object_one_size_and_a_time(storage: FolderStorage) -> None:
    requests.put(url(storage, "PUT", "b/mine"), data=b"mine", timeout=10)
    good = url(storage, "GET", "b/mine")
    assert requests.get(good, timeout=10).status_code == 200
    wrong = {
        "another object": requests.get(good.replace("mine", "yours"), timeout=10),
        "another method": requests.put(good, data=b"", timeout=10),
        "another time": requests.get(good.replace("expires=", "expires=9"), timeout=10),
        "another size": requests.get(good.replace("max=1048576", "max=9"), timeout=10),
        "another signature": requests.get(good[:-4] + "0000", timeout=10),
        "no signature": requests.get(good.partition("?")[0], timeout=10),
        "expired": requests.get(url(storage, "GET", "b/mine", lasts=-SOON), timeout=10),
    }
    assert {what: answer.status_code for what, answer in wrong.items()} == dict.fromkeys(wrong, 403)
    assert "has expired" in wrong["expired"].text
    assert storage.stat("b/yours") is None


def test_parts_of_an_object_can_be_read(storage: FolderStorage) -> None:
    content = os.urandom(100_000)
    requests.put(url(storage, "PUT", "c/file"), data=content, timeout=10)
    source = url(storage, "GET", "c/file")
    head = requests.head(source, timeout=10)
    assert (head.headers["content-length"], head.headers["accept-ranges"]) == ("100000", "bytes")
    rest = requests.get(source, headers={"Range": "bytes=99990-"}, timeout=10)
    assert (rest.status_code, rest.content) == (206, content[99990:])
    assert requests.get(source, headers={"Range": "bytes=100000-"}, timeout=10).status_code == 416
    with fsspec.open(source, "rb") as file:
        file.seek(-10, 2)
        assert file.read() == content[-10:]


def test_a_form_posts_an_object(storage: FolderStorage) -> None:
    content = os.urandom(300_000)
    target, fields = storage.presign_post("d/predictions.csv", max_bytes=MIB, expires_at=datetime.now(UTC) + SOON)
    answer = requests.post(target, data=fields, files={"file": ("p.csv", content)}, timeout=10)
    assert answer.status_code == 204
    assert (storage.root / "d/predictions.csv").read_bytes() == content
    forged = requests.post(target, data=fields | {"key": "d/other"}, files={"file": content}, timeout=10)
    large = requests.post(target, data=fields, files={"file": os.urandom(2 * MIB)}, timeout=10)
    empty = requests.post(target, data=fields, timeout=10)
    assert [forged.status_code, large.status_code, empty.status_code] == [403, 413, 400]
    assert (storage.root / "d/predictions.csv").read_bytes() == content
    assert leftovers(storage) == []


def test_a_large_object_moves_without_being_held_in_memory(storage: FolderStorage) -> None:
    size = 512 * MIB
    process = psutil.Process()
    before, peak = process.memory_info().rss, 0
    block = os.urandom(4 * MIB)

    def blocks() -> Iterator[bytes]:
        nonlocal peak
        for _ in range(size // len(block)):
            peak = max(peak, process.memory_info().rss)
            yield block

    assert requests.put(url(storage, "PUT", "e/large", max_bytes=size), data=blocks(), timeout=120).status_code == 200
    with requests.get(url(storage, "GET", "e/large"), stream=True, timeout=120) as response:
        received = 0
        for part in response.iter_content(4 * MIB):
            received += len(part)
            peak = max(peak, process.memory_info().rss)
    assert received == size
    assert peak - before < 150 * MIB
    storage.delete("e/large")


def test_drafts_and_uploads_that_were_left_are_swept_away(storage: FolderStorage) -> None:
    storage.start_upload("f/never")
    requests.put(url(storage, "PUT", "incoming/pickle/model.pkl"), data=b"x", timeout=10)
    requests.put(url(storage, "PUT", "f/registered"), data=b"x", timeout=10)
    assert storage.sweep() == 0
    assert storage.sweep(time.time() + 2 * 24 * 3600) == 2
    assert storage.stat("f/registered") == 1


@pytest.mark.parametrize("key", ["", "/etc/passwd", "a/../../b", "a//b", "a/./b", "a\\b", ".secret", "a" * 600])
def test_a_key_can_not_leave_the_storage(storage: FolderStorage, key: str) -> None:
    with pytest.raises(InvalidInputError):
        storage.stat(key)


def test_a_refusal_is_answered_when_the_body_is_read_already(storage: FolderStorage) -> None:
    target, fields = storage.presign_post("g/small", max_bytes=10, expires_at=datetime.now(UTC) + SOON)
    refused = {
        "too large": requests.post(target, data=fields, files={"file": b"x" * 20}, timeout=5),
        "forged": requests.post(target, data=fields | {"key": "g/other"}, files={"file": b"x"}, timeout=5),
        "no file": requests.post(target, files={name: (None, value) for name, value in fields.items()}, timeout=5),
        "no form": requests.post(
            target, data=b"x", headers={"Content-Type": "multipart/form-data; boundary=b"}, timeout=5
        ),
        "chunked": requests.put(url(storage, "PUT", "g/small", max_bytes=10), data=iter([b"x" * 20]), timeout=5),
    }
    answered = {what: answer.status_code for what, answer in refused.items()}
    assert answered == {"too large": 413, "forged": 403, "no file": 400, "no form": 400, "chunked": 413}
    assert leftovers(storage) == []


def test_a_form_without_end_is_refused(storage: FolderStorage) -> None:
    def fields() -> Iterator[bytes]:
        for number in range(10_000):
            name = f"{number:03000d}"
            yield f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n\r\n'.encode()

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = requests.post(f"{storage.base_url}/files", data=fields(), headers=headers, timeout=20)
    assert (answer.status_code, "form fields are too large" in answer.text) == (400, True)
    long = {"Content-Type": f"multipart/form-data; boundary={'b' * 300}"}
    assert requests.post(f"{storage.base_url}/files", data=b"x", headers=long, timeout=5).status_code == 400


def test_an_upload_that_can_not_be_written_leaves_nothing(storage: FolderStorage) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The last bytes are those that do not fit, so that closing the file fails as well.
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        answer = requests.put(url(storage, "PUT", "g/unwritten"), data=os.urandom(201_000), timeout=10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (answer.status_code, "could not store the object" in answer.text) == (500, True)
    assert storage.stat("g/unwritten") is None
    assert leftovers(storage) == []


def test_a_form_of_many_parts_is_refused_before_they_are_read(storage: FolderStorage) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = requests.post(f"{storage.base_url}/files", data=part * 4000, headers=headers, timeout=10)
    assert answer.status_code == 400
    assert "more than 50 fields" in answer.text
