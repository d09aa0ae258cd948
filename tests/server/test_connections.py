"""Connections that clients hold: whatever anybody holds, /healthz and new clients are served, and slow transfers end well."""

import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

import conftest
from conftest import PREDICTD, Server

# Ten times what it takes here; the fault that this is about makes it hang.
QUICK_SECONDS = 5


@pytest.fixture(scope="module")
def small_server(
    make_server: Callable[..., AbstractContextManager[Server]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server that may have 1,024 files open, and can't raise that."""
    program = tmp_path_factory.mktemp("limited") / "predictd"
    program.write_text(f'#!/bin/sh\nulimit -n 1024 && exec "{PREDICTD}" "$@"\n')
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conftest, "PREDICTD", str(program))
        with make_server() as running:
            yield running


@pytest.fixture(autouse=True)
def many_descriptors() -> Iterator[None]:
    """Let this process hold more connections than the server can."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect(server: Server, source: str = "127.0.0.1", sent: bytes = b"") -> socket.socket:
    parts = urlsplit(server.address)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=30, source_address=(source, 0))
    connection.sendall(sent)
    return connection


def is_cut(connection: socket.socket, seconds: float) -> bool:
    """Whether the server closes the connection in that time."""
    connection.settimeout(seconds)
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def assert_serves(server: Server) -> None:
    for path in ("/healthz", "/readyz", "/"):
        began = time.monotonic()
        assert requests.get(server.address + path, timeout=30).status_code == 200
        assert time.monotonic() - began < QUICK_SECONDS
    answer = requests.post(server.address, json={"query": "{ __typename }"}, timeout=30)
    assert answer.json() == {"data": {"__typename": "RootQueryType"}} or answer.status_code == 200


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "], ids=["idle", "half a head"])
@pytest.mark.parametrize("addresses", [1, 100])
def test_held_connections_keep_nobody_out(small_server: Server, sent: bytes, addresses: int) -> None:
    with ExitStack() as held:
        for number in range(1200):
            held.enter_context(connect(small_server, f"127.0.{1 + number % addresses}.1", sent))
        assert_serves(small_server)
    assert_serves(small_server)
