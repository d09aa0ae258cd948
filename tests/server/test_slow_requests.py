"""Requests that wait for somebody else take no thread from the others."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
import requests

from conftest import Server, User

TRIGGER = "mutation($m: String!) { triggerModelWebhook(modelId: $m) }"
# The webhook's deadline is 10 s, which is what others waited for; see `predictd.notifications.http_post`.
QUICK_SECONDS = 5


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of a receiver that accepts every call and never responds."""
    with socket.create_server(("127.0.0.1", 0), backlog=200) as listener, ExitStack() as accepted:

        def accept() -> None:
            while True:
                try:
                    accepted.enter_context(listener.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


def test_slow_receivers_hold_nobody_up(new_server: Callable[..., Server], silent: str) -> None:
    server = new_server(allow_private_webhooks=True)
    users = [server.user(f"caller_{number}") for number in range(6)]
    models = [user.add_model(user.username) for user in users]
    hook = "mutation($m: String, $u: String) { setSubmissionWebhook(modelId: $m, newSubmissionWebhook: $u) }"
    for user, model_id in zip(users, models, strict=True):
        user.ask(hook, m=model_id, u=silent)
    outcomes: Counter[str] = Counter()

    def call(user: User, model_id: str) -> None:
        body = {"query": TRIGGER, "variables": {"m": model_id}}
        answer = requests.post(server.address, json=body, headers=user.headers, timeout=120)
        [error] = answer.json()["errors"]
        outcomes[error["message"].partition(": ")[2] or error["message"]] += 1

    callers = [threading.Thread(target=call, args=pair) for pair in zip(users * 11, models * 11, strict=True)]
    for caller in callers:
        caller.start()
    time.sleep(1)
    while any(caller.is_alive() for caller in callers):
        for path in ("/healthz", "/readyz"):
            began = time.monotonic()
            assert requests.get(server.address + path, timeout=60).status_code == 200
            assert time.monotonic() - began < QUICK_SECONDS
        began = time.monotonic()
        assert users[0].ask("{ account { models { id } } }")["account"]["models"]
        assert time.monotonic() - began < QUICK_SECONDS
        time.sleep(0.2)
    assert set(outcomes) == {
        "it did not respond within 10 seconds.",
        "Another webhook of this account is being called. Wait until it responds, then try again.",
    }
    assert outcomes.total() == 66


def test_one_address_leaves_threads_to_others(server: Server) -> None:
    """Requests whose bodies never arrive wait, and only so many of one address are served at once."""
    parts = urlsplit(server.address)
    with ExitStack() as held:
        for _ in range(100):
            connection = socket.create_connection((parts.hostname, parts.port), source_address=("127.0.0.77", 0))
            held.enter_context(connection).sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        began = time.monotonic()
        assert requests.post(server.address, json={"query": "{ __typename }"}, timeout=60).ok
        assert time.monotonic() - began < QUICK_SECONDS


def test_a_pickle_with_very_many_imports_is_registered_in_time(server: Server, user: User) -> None:
    names = (f"missing_{number}".encode() for number in range(20_000))
    imports = b"".join(b"\x8c" + bytes([len(name)]) + name + b"\x8c\x01f\x93" for name in names)
    filename = user.put_pickle(b"\x80\x04](" + imports + b"e.")
    began = time.monotonic()
    assert len(user.register(filename)) == 36
    assert time.monotonic() - began < 20
