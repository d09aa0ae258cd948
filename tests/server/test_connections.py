"""Connections that clients hold: /healthz and new clients are served all the same, and slow transfers end well."""

import contextlib
import io
import json
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from urllib.parse import urlsplit

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests

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
    with make_server(program=program) as running:
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
    began = time.monotonic()
    answer = requests.post(server.address, json={"query": "{ __typename }"}, timeout=30)
    assert answer.json() == {"data": {"__typename": "Query"}}
    assert time.monotonic() - began < QUICK_SECONDS


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "], ids=["idle", "half a head"])
@pytest.mark.parametrize("addresses", [1, 100])
def test_held_connections_keep_nobody_out(small_server: Server, sent: bytes, addresses: int) -> None:
    with ExitStack() as held:
        for number in range(1200):
            held.enter_context(connect(small_server, f"127.0.{1 + number % addresses}.1", sent))
        assert_serves(small_server)
    assert_serves(small_server)


@pytest.mark.parametrize("addresses", [1, 100])
def test_held_sessions_keep_nobody_out(small_server: Server, addresses: int) -> None:
    begin = b"GET /mcp/sse HTTP/1.1\r\nHost: x\r\n\r\n"
    with ExitStack() as held:
        for number in range(1200):
            held.enter_context(connect(small_server, f"127.0.{1 + number % addresses}.1", begin))
        # It takes its time to begin so many sessions; what counts is that they are held.
        assert requests.get(f"{small_server.address}/healthz", timeout=60).ok
        assert_serves(small_server)
        for source in ("127.0.1.1", "127.0.200.1"):
            newest = held.enter_context(connect(small_server, source, begin))
            content = b""
            while b"session_id=" not in content:
                received = newest.recv(65536)
                assert received, content
                content += received
        assert len(ports_of_clients(small_server)) < 600
    assert_serves(small_server)


def test_runs_inherit_no_descriptor_of_a_busy_server(server: Server, pickles: dict[str, bytes]) -> None:
    user = server.user("busy")
    with ExitStack() as held:
        # Half a head keeps a connection for longer than a run takes.
        for number in range(1300):
            held.enter_context(connect(server, f"127.0.{1 + number % 100}.1", b"GET / HTTP/1.1\r\nX-Slow: "))
        assert server.process is not None
        process, deadline = psutil.Process(server.process.pid), time.monotonic() + 15
        while process.num_fds() <= 1300:
            assert time.monotonic() < deadline, "the server has not accepted the connections"
            time.sleep(0.05)
        pickle_id = user.upload(pickles["lists_descriptors"])
        [run] = user.wait(pickle_id)["triggers"]
    listed = [line.removeprefix("descriptor ").split() for line in user.logs(run["id"])]
    # The standard streams, the answer, and perhaps its own data.
    assert {number for number, kind in listed if kind != "-"} == {"0", "1", "2", "500"}
    assert {kind for _, kind in listed} <= {"c", "p", "-"}


def test_no_stream_is_opened_that_would_say_nothing(server: Server) -> None:
    headers = {"Accept": "text/event-stream"}
    assert requests.get(f"{server.address}/mcp", headers=headers, timeout=30).status_code == 405


def test_clients_without_progress_are_cut_and_slow_ones_are_not(server: Server) -> None:
    user = server.user("patient")
    model_id = user.add_model("patient")
    upload = urlsplit(user.ask("{ computePickleUploadAuth { url } }")["computePickleUploadAuth"]["url"])
    pickle_id = user.upload(b"x" * 30_000_000)
    query = "query($m: ID!, $p: ID) { computePickleDownloadAuth(modelId: $m, pickleId: $p) { url } }"
    download = urlsplit(user.ask(query, m=model_id, p=pickle_id)["computePickleDownloadAuth"]["url"])
    get = f"GET {download.path}?{download.query} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    put = f"PUT {upload.path}?{upload.query} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n".encode()
    drips = {
        "idle": (b"", b""),
        "head": (b"GET / HTTP/1.1\r\nX-Slow: ", b"x"),
        "body": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{", b"x"),
        "chunks": (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        "reader": (get, b""),
        # These are slow, and make progress.
        "slow upload": (put, b"x" * 500),
        "slow download": (get, b""),
    }
    with ExitStack() as held:
        clients = {name: held.enter_context(slow_link(server, sent)) for name, (sent, _) in drips.items()}
        began, cut = time.monotonic(), {}
        while len(cut) < 5 or time.monotonic() - began < 80:
            assert time.monotonic() - began < 300, f"only these were cut: {cut}"
            time.sleep(1)
            ports = ports_of_clients(server)
            for name, client in clients.items():
                if name not in cut and client.getsockname()[1] not in ports:
                    cut[name] = time.monotonic() - began
                elif name not in cut:
                    client.send(drips[name][1])
            clients["slow download"].recv(16_384)
        assert set(cut) == {"idle", "head", "body", "chunks", "reader"}, cut
        assert cut["idle"] < 60
        assert cut["head"] < 60
        assert time.monotonic() - began > 61, "the slow ones went on for longer than a stall may last"


def slow_link(server: Server, sent: bytes) -> socket.socket:
    """A connection whose reader's kernel buffers little, as on a slow link.

    Otherwise it takes megabytes in at once and acknowledges nothing more until the reader has read a sixteenth of them.
    """
    parts = urlsplit(server.address)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
    connection.settimeout(30)
    connection.connect((parts.hostname, parts.port))
    connection.sendall(sent)
    return connection


def ports_of_clients(server: Server) -> set[int]:
    assert server.process is not None
    connections = psutil.Process(server.process.pid).net_connections("tcp")
    return {connection.raddr.port for connection in connections if connection.raddr}


@pytest.mark.parametrize(
    ("sent", "response"),
    [
        (b"GET / HTTP/1.1\r\nX-Long: ", b"400 Bad Request"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nX-Trailer: ", b""),
    ],
    ids=["head", "trailers"],
)
def test_a_head_without_an_end_is_refused(server: Server, sent: bytes, response: bytes) -> None:
    with connect(server, sent=sent) as connection:
        with contextlib.suppress(OSError):
            for _ in range(1000):
                connection.sendall(b"x" * 65536)
            pytest.fail("the server reads 64 MB of headers")
        connection.settimeout(30)
        with contextlib.suppress(ConnectionResetError):
            assert response in connection.recv(65536)


def test_few_requests_may_be_pipelined(server: Server) -> None:
    with connect(server, sent=b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n" * 1000) as connection:
        assert is_cut(connection, 30)
    assert_serves(server)


def test_requests_that_break_off_are_logged_in_a_line_each(server: Server) -> None:
    before = len(server.log)
    rest = b"Host: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 99\r\n\r\n{"
    paths = ("/", "/graphql", "/mcp", f"/mcp/messages/?session_id={'0' * 32}", "/signin", "/nodes/runs/x/1")
    for path in paths:
        connect(server, sent=f"POST {path} HTTP/1.1\r\n".encode() + rest).close()
    deadline = time.monotonic() + 30
    while (log := server.log[before:]).count("status=400") < len(paths):
        assert time.monotonic() < deadline, log
        time.sleep(0.1)
    assert "Traceback" not in log
    assert "request_failed" not in log


def test_slow_submissions_keep_nobody_out(new_server: Callable[..., Server]) -> None:
    server = new_server()
    server.open_round()
    user = server.user("mallory")
    model_id = user.add_model("mallory")
    content = io.BytesIO()
    # Two gigabytes, page by page, in 80 kB; all ids are the same.
    table = pa.table({"id": ["x" * 1_800_000] * 20, "prediction": [0.5] * 20})
    with pq.ParquetWriter(
        content, table.schema, compression="zstd", use_dictionary=False, data_page_size=1, write_statistics=False
    ) as file:
        for _ in range(50):
            file.write_table(table)
    submissions = []
    auth = 'query($m: ID) { submissionUploadAuth(filename: "a.parquet", tournament: 8, modelId: $m) { filename url } }'
    submit = "mutation($f: String!, $m: ID) { createSubmission(filename: $f, tournament: 8, modelId: $m) { id } }"
    for _ in range(70):
        upload = user.ask(auth, m=model_id)["submissionUploadAuth"]
        assert requests.put(upload["url"], data=content.getvalue(), timeout=60).ok
        body = json.dumps({"query": submit, "variables": {"f": upload["filename"], "m": model_id}})
        head = f"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Token {user.token}\r\nContent-Length: {len(body)}\r\n\r\n"
        submissions.append((head + body).encode())
    with ExitStack() as held:
        for number, submission in enumerate(submissions):
            held.enter_context(connect(server, f"127.0.0.{1 + number % 3}", submission))
        time.sleep(1)
        assert_serves(server)
    # It would wait for the submissions.
    assert server.process is not None
    server.process.kill()
    server.process.wait()
