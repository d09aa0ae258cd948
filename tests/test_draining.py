"""A server that is stopped cuts nothing off: uploads and runs that go on end well, and only new ones go elsewhere."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import requests

from conftest import Server, User

SIZE = 3_000_000


def test_what_goes_on_at_the_stop_ends_well_and_once(
    new_server: Callable[..., Server], pickles: dict[str, bytes]
) -> None:
    server = new_server(drain_notice_seconds=2, drain_seconds=40, workers=2)
    user = server.user("alice")
    model_id = user.add_model("survivor")
    server.open_round()
    pickle_id = user.upload(pickles["talks"], model_id)
    wait_until_it_prints(user, pickle_id)
    auth = user.ask("{ computePickleUploadAuth { filename url } }")["computePickleUploadAuth"]
    sent: list[int] = []
    begun, address = threading.Event(), server.address

    def slowly() -> Iterator[bytes]:
        for _ in range(30):
            yield b"x" * (SIZE // 30)
            begun.set()
            time.sleep(0.15)

    uploading = threading.Thread(
        target=lambda: sent.append(requests.put(auth["url"], data=slowly(), timeout=60).status_code)
    )
    uploading.start()
    assert begun.wait(30)
    assert requests.get(f"{address}/readyz", timeout=10).status_code == 200
    assert server.process is not None
    server.process.terminate()

    until = time.monotonic() + 10
    while (ready := requests.get(f"{address}/readyz", timeout=10)).status_code == 200:
        assert time.monotonic() < until
    assert (ready.status_code, ready.text) == (503, "stopping\n")
    assert requests.get(f"{address}/healthz", timeout=10).status_code == 200
    later = user.upload(pickles["one_argument"])
    assert server.process.wait(60) == 0
    uploading.join()
    assert sent == [200]
    assert "Cancel" not in server.log
    assert not is_open(address)

    server.start()
    user = User(server.address, user.username, user.public_id, user.secret_key)
    [run] = user.wait(pickle_id)["triggers"]
    assert [one["status"] for one in run["statuses"]] == [
        "pending",
        "running",
        "validating",
        "submission_succeeded",
    ]
    assert [one["selected"] for one in user.submissions(model_id)] == [True]
    assert user.wait(later)["validationStatus"] == "validated", "what came during the notice runs after the start"
    assert len(user.register(auth["filename"])) == 36, "what was being sent has arrived whole"
    stored = [path.stat().st_size for path in (server.home / "storage" / "pickle").iterdir()]
    assert SIZE in stored


def test_a_second_signal_waits_for_no_transfer(new_server: Callable[..., Server]) -> None:
    server = new_server(drain_notice_seconds=60)
    assert server.process is not None
    server.process.terminate()
    while requests.get(f"{server.address}/readyz", timeout=10).status_code == 200:
        time.sleep(0.05)
    server.process.terminate()
    assert server.process.wait(20) == 0


def is_open(address: str) -> bool:
    parts = urlsplit(address)
    with socket.socket() as probe:
        return probe.connect_ex((parts.hostname, parts.port)) == 0


def wait_until_it_prints(user: User, pickle_id: str) -> None:
    deadline = time.monotonic() + 60
    while not user.logs(user.pickle(pickle_id)["triggers"][0]["id"]):
        assert time.monotonic() < deadline
        time.sleep(0.1)
