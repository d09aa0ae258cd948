"""One call of a webhook: it ends at its deadline whatever the receiver does, and only a whole head is a response."""

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from predictd.notifications import http_post
from predictd.notifications.http_post import WebhookCallError, post

DEADLINE_SECONDS = 2
# A receiver that drips does so for a minute, so a call that waits for it takes far longer than this.
LATE_SECONDS = 20
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of localhost with its key."""
    path = tmp_path_factory.mktemp("certificate") / "localhost.pem"
    options = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    extension = ["-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", "-x509", *options, *extension, "-keyout", str(path), "-out", f"{path}.crt"]
    subprocess.run(command, check=True, capture_output=True)
    with path.open("ab") as file:
        file.write(Path(f"{path}.crt").read_bytes())
    return path


@pytest.fixture(params=["http", "https"])
def receiver(
    request: pytest.FixtureRequest, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Iterator[bytes]], str]]:
    """Starts a receiver that sends these parts to one caller, and then closes; returns its URL."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setattr(http_post, "TIMEOUT_SECONDS", DEADLINE_SECONDS)
    listener = socket.create_server(("127.0.0.1", 0))
    is_over = threading.Event()

    def serve(parts: Iterator[bytes]) -> None:
        with suppress(OSError):
            connection, _ = listener.accept()
            if request.param == "https":
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(certificate)
                connection = context.wrap_socket(connection, server_side=True)
            with connection:
                connection.recv(65536)
                for part in parts:
                    connection.sendall(part)
                    if is_over.is_set():
                        return

    def start(parts: Iterator[bytes]) -> str:
        threading.Thread(target=serve, args=(parts,), daemon=True).start()
        return f"{request.param}://localhost:{listener.getsockname()[1]}/hook"

    yield start
    is_over.set()
    listener.close()


def dripped(start: bytes, drip: bytes = b"x") -> Iterator[bytes]:
    yield start
    for _ in range(600):
        time.sleep(0.1)
        yield drip


def test_a_body_that_drips_ends_at_the_deadline(receiver: Callable[[Iterator[bytes]], str]) -> None:
    began = time.monotonic()
    assert post(receiver(dripped(HEAD + b"\r\n")), b"{}", {}, allow_private=True) == 200
    assert DEADLINE_SECONDS <= time.monotonic() - began < LATE_SECONDS


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        (lambda: dripped(HEAD + b"X-Slow: "), "within 2 seconds"),
        (lambda: dripped(b""), "within 2 seconds"),
        (lambda: dripped(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "within 2 seconds"),
        (lambda: iter([HEAD]), ""),
        (lambda: iter([HEAD + b"X-Cut: of"]), ""),
        (lambda: iter([b"HTTP/1.1 200 OK"]), ""),
        (lambda: iter([]), ""),
        (lambda: iter([b"SSH-2.0-OpenSSH_9.6\r\n"]), ""),
        (lambda: iter([HEAD + b"X-Large: " + b"x" * (8 << 20)]), ""),
        (lambda: iter([b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000]), "larger"),
    ],
    ids=[
        "slow head",
        "slow line",
        "continues slowly",
        "no end",
        "cut",
        "half a line",
        "nothing",
        "ssh",
        "large",
        "continues",
    ],
)
def test_what_is_no_whole_head_in_time_is_no_response(
    receiver: Callable[[Iterator[bytes]], str], parts: Callable[[], Iterator[bytes]], why: str
) -> None:
    began = time.monotonic()
    with pytest.raises(WebhookCallError, match="could not be called") as raised:
        post(receiver(parts()), b"{}", {}, allow_private=True)
    assert why in raised.value.cause
    assert time.monotonic() - began < LATE_SECONDS


@pytest.mark.parametrize("body", [b"", b"x" * 1000, b"x" * 10, b"x" * 900], ids=["empty", "whole", "cut", "cut late"])
def test_a_whole_head_is_a_response(receiver: Callable[[Iterator[bytes]], str], body: bytes) -> None:
    url = receiver(iter([b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD.replace(b"200 OK", b"503 Busy"), b"\r\n" + body]))
    assert post(url, b"{}", {"Content-Type": "application/json"}, allow_private=True) == 503


def test_a_handshake_that_never_comes_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_post, "TIMEOUT_SECONDS", DEADLINE_SECONDS)
    began = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(WebhookCallError, match="within 2 seconds"):
        post(f"https://localhost:{silent.getsockname()[1]}/", b"{}", {}, allow_private=True)
    assert time.monotonic() - began < LATE_SECONDS


def test_a_name_that_is_not_found_in_time_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_post, "TIMEOUT_SECONDS", DEADLINE_SECONDS)
    monkeypatch.setattr(http_post.socket, "getaddrinfo", lambda *_, **__: time.sleep(60))
    began = time.monotonic()
    with pytest.raises(WebhookCallError, match="within 2 seconds"):
        post("http://slow.test/", b"{}", {}, allow_private=True)
    assert time.monotonic() - began < LATE_SECONDS
