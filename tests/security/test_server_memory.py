"""The server's memory is bounded whatever anybody sends: to every route, as every kind of upload, from a run."""

import io
import json
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import bombs
import pandas as pd
import pyarrow.parquet as pq
import pytest
import requests
from starlette.routing import BaseRoute, Mount, Route

from browsing import Visitor, make_account
from conftest import PREDICTD, GraphQLErrors, Server, User
from predictd.api.asgi import MAX_BODY_BYTES, build_app
from predictd.http.services import Services
from predictd.server.deployment import open_deployment
from predictd.settings import Settings
from predictd.uploads.incoming import UploadKind
from predictd.web.routes import web_routes

MIB = 1 << 20
MOST_GROWTH = 64 * MIB
SENT = 80 * MIB


@pytest.fixture(scope="module")
def site(make_server: Callable[..., AbstractContextManager[Server]]) -> Iterator[Server]:
    with make_server() as running:
        running.open_round("10h")
        yield running


@pytest.fixture(scope="module")
def mallory(site: Server) -> User:
    user = make_account(site, "mallory")
    site.predictd("account", "admin", "mallory")
    return user


@pytest.fixture(scope="module")
def uploads() -> dict[str, bytes]:
    return {make.__name__: make("prediction") for make in bombs.UPLOADS}


def status_bytes(pid: int, name: str) -> int:
    """A number of bytes of /proc/PID/status; 0 once the process is gone."""
    with suppress(OSError):
        found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) * 1024 if found else 0
    return 0


def parsers_below(pid: int) -> list[int]:
    """Processes below that one that read uploaded files."""
    found = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += parsers_below(child)
                if re.search(rb"predictd\.(parsing|scoring\.apart)", Path(f"/proc/{child}/cmdline").read_bytes()):
                    found.append(child)
    return found


class Watched:
    """The most memory that the server, and any one process that it started, holds while this lasts."""

    def __init__(self, server: Server) -> None:
        assert server.process is not None
        self.pid = server.process.pid
        self.child = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    @property
    def server(self) -> int:
        return status_bytes(self.pid, "VmHWM")

    def _sample(self) -> None:
        while not self._done.wait(0.02):
            self.child = max([self.child, *(status_bytes(pid, "VmRSS") for pid in parsers_below(self.pid))])

    def __enter__(self) -> "Watched":
        # The highest mark begins again at what is held now.
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


@contextmanager
def bounded(server: Server, usual: Watched | None = None, most: int = MOST_GROWTH) -> Iterator[None]:
    """The server grows by little while this lasts, and with `usual` no process that it starts is much larger."""
    with Watched(server) as watched:
        before = watched.server
        yield
        assert watched.server - before < most, f"the server grew by {(watched.server - before) / MIB:.0f} MiB"
    if usual is not None:
        assert watched.child - usual.child < MOST_GROWTH, f"a process took {watched.child / MIB:.0f} MiB"


def all_routes(folder: Path) -> list[tuple[str, str]]:
    """Method and path of every route of the application, with something in place of parameters."""
    deployment = open_deployment(Settings(data_dir=folder))
    services = Services(
        database=deployment.database, storage=deployment.storage, settings=deployment.settings, wake=lambda: None
    )
    app = build_app(services, pages=web_routes(services))
    found = [place for route in app.routes for place in _places(route)]
    deployment.database.close()
    return found


def _places(route: BaseRoute) -> Iterator[tuple[str, str]]:
    path = re.sub(r"\{\w+:int\}", "1", str(getattr(route, "path", "")))
    path = re.sub(r"\{\w+(:path)?\}", "x", path)
    if isinstance(route, Mount):
        yield "POST", f"{path}/?session_id={'0' * 32}"
    elif isinstance(route, Route):
        for method in sorted((route.methods or {"GET", "POST"}) - {"HEAD"}):
            yield method, path


def flood(address: str, method: str, path: str, headers: dict[str, str], body: Iterator[bytes]) -> str:
    """Send a body that does not end until there is an answer or `SENT` bytes are sent; the first line of the answer."""
    place = urlsplit(address)
    head = [f"{method} {path} HTTP/1.1", f"Host: {place.netloc}", "Transfer-Encoding: chunked"]
    head += [f"{name}: {value}" for name, value in headers.items()]
    with socket.create_connection((place.hostname, place.port), timeout=10) as line, suppress(OSError):
        line.sendall("\r\n".join([*head, "", ""]).encode())
        sent = 0
        while sent < SENT:
            block = next(body)
            line.sendall(f"{len(block):x}\r\n".encode() + block + b"\r\n")
            sent += len(block)
            line.setblocking(False)
            with suppress(BlockingIOError):
                return line.recv(100).decode("latin-1").partition("\r\n")[0]
            line.settimeout(60)
        line.settimeout(1)
        return line.recv(100).decode("latin-1").partition("\r\n")[0]
    return ""


def test_a_body_without_end_is_refused_by_every_route(site: Server, mallory: User, tmp_path: Path) -> None:
    visitor = Visitor(site.address)
    visitor.sign_in("mallory")
    cookies = "; ".join(f"{name}={value}" for name, value in visitor.client.cookies.items())
    routes = all_routes(tmp_path / "home")
    assert len({path for _, path in routes}) > 60
    with bounded(site):
        for method, path in routes:
            for kind, body in bombs.BODIES.values():
                headers = {"Content-Type": kind, "Accept": "application/json, text/event-stream", **mallory.headers}
                answer = flood(site.address, method, path, {**headers, "Cookie": cookies}, body())
                assert " 500 " not in answer, (method, path, kind)
                if method == "GET":
                    break
    assert requests.get(f"{site.address}/healthz", timeout=10).status_code == 200


def test_a_body_in_chunks_over_the_limit_is_told_so(site: Server) -> None:
    for path in ("/", "/graphql", "/mcp", "/signin", "/nodes/runs/x/1"):
        body = (b"[" * MIB for _ in range(8))
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        answer = requests.post(f"{site.address}{path}", data=body, headers=headers, timeout=60)
        assert answer.status_code == 413, path
    assert "at most" in answer.text or "larger" in answer.text


def test_what_fits_the_limit_takes_little(site: Server, mallory: User) -> None:
    deep = b"[" * MAX_BODY_BYTES
    wide = (
        b'{"query": "{ account { id } }", "variables": {"x": ['
        + b",".join([b"{}"] * (MAX_BODY_BYTES // 3 - 40))
        + b"]}}"
    )
    many = json.dumps({"query": "{" + "a " * (MAX_BODY_BYTES // 2 - 20) + "}"}).encode()
    call = bombs.mcp_call(MAX_BODY_BYTES - 1000)
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", **mallory.headers}
    with bounded(site):
        for path, content in (("/", deep), ("/", wide), ("/", many), ("/mcp", deep), ("/mcp", call)):
            answer = requests.post(f"{site.address}{path}", data=content, headers=headers, timeout=60)
            assert answer.status_code < 500, (path, answer.text[:300])


def test_many_large_requests_at_once_take_little(site: Server) -> None:
    wide = (
        b'{"query": "{ account { id } }", "variables": {"x": ['
        + b",".join([b"{}"] * (MAX_BODY_BYTES // 3 - 40))
        + b"]}}"
    )
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}

    def ask(path: str) -> int:
        return requests.post(f"{site.address}{path}", data=wide, headers=headers, timeout=120).status_code

    with bounded(site, most=2 * MOST_GROWTH), ThreadPoolExecutor(32) as clients:
        assert set(clients.map(ask, ["/", "/mcp"] * 32)) <= {200, 400}


def test_documents_that_are_all_different_take_little(site: Server) -> None:
    with bounded(site), requests.Session() as client:
        for number in range(50):
            fields = " ".join(f"a{number}b{field}:id" for field in range(1500))
            answer = client.post(
                site.address, json={"query": f"{{account{{{fields[:15_900].rpartition(' ')[0]}}}}}"}, timeout=60
            )
            assert answer.json()["errors"][0]["extensions"]["code"] == "not_authenticated"


def test_responses_that_a_session_does_not_read_take_little(site: Server) -> None:
    place = urlsplit(site.address)
    with socket.create_connection((place.hostname, place.port), timeout=30) as session, bounded(site):
        session.sendall(b"GET /mcp/sse HTTP/1.1\r\nHost: x\r\n\r\n")
        content = b""
        while (found := re.search(rb"data: (\S+)\r\n", content)) is None:
            content += session.recv(4096)
        address = site.address + found[1].decode()
        initialize = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
        messages = [
            {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": initialize},
            {"jsonrpc": "2.0", "method": "notifications/initialized"},
        ]
        for message in messages:
            assert requests.post(address, json=message, timeout=30).status_code == 202
            time.sleep(0.5)
        # The name is repeated in the response.
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x" * 60_000, "arguments": {}}}
        body = json.dumps(call).encode()
        headers = {"Content-Type": "application/json"}
        with requests.Session() as client:
            statuses = [client.post(address, data=body, headers=headers, timeout=30).status_code for _ in range(3000)]
        assert 202 in statuses
        assert statuses[-1] == 429


SUBMIT = ("submissionUploadAuth", "createSubmission")
DIAGNOSE = ("diagnosticsUploadAuth", "createDiagnostics")


def send(user: User, model: str, kind: tuple[str, str], filename: str, content: bytes) -> None:
    """Upload the file and register it."""
    arguments = "filename: $f, tournament: 8, modelId: $m"
    query, mutation = kind
    auth = user.ask(f"query($f: String!, $m: ID) {{ {query}({arguments}) {{ filename url }} }}", f=filename, m=model)
    assert requests.put(auth[query]["url"], data=content, timeout=60).status_code == 200
    registered = f"mutation($f: String!, $m: ID) {{ {mutation}({arguments}) {{ id }} }}"
    user.ask(registered, f=auth[query]["filename"], m=model)


def submission_bombs(site: Server, user: User, uploads: dict[str, bytes]) -> None:
    model = user.add_model("bombs")
    ids = ids_of(user, "live.parquet")
    good = pd.DataFrame({"id": ids, "prediction": [place / len(ids) for place in range(len(ids))]})
    with Watched(site) as usual:
        send(user, model, SUBMIT, "good.csv", good.to_csv(index=False).encode())
    for name, content in uploads.items():
        with bounded(site, usual), pytest.raises(GraphQLErrors) as refused:
            send(user, model, SUBMIT, "bomb.csv", content)
        [message] = refused.value.messages
        assert "Internal" not in message, (name, message)
        assert len(message) < 500, (name, message)
    with pytest.raises(GraphQLErrors, match=r"needs more than \d+ MiB of memory to be read"):
        send(user, model, SUBMIT, "bomb.parquet", uploads["lying_size"])
    send(user, model, SUBMIT, "good.csv", good.to_csv(index=False).encode())


def diagnostics_bombs(site: Server, user: User, uploads: dict[str, bytes]) -> None:
    model = user.add_model("diagnosed")
    ids = ids_of(user, "validation.parquet")
    good = pd.DataFrame({"id": ids, "prediction": [place / len(ids) for place in range(len(ids))]})

    def ended(content: bytes) -> str:
        send(user, model, DIAGNOSE, "file.csv", content)
        deadline = time.monotonic() + 120
        while True:
            found = user.ask("query($m: ID) { diagnostics(modelId: $m) { status message } }", m=model)["diagnostics"]
            if all(one["status"] in ("done", "failed") for one in found):
                return str(found[0]["status"])
            assert time.monotonic() < deadline, found
            time.sleep(0.2)

    with Watched(site) as usual:
        assert ended(good.to_csv(index=False).encode()) == "done"
    for name in ("huge_footer", "lying_size", "many_rows", "endless_row"):
        with bounded(site, usual):
            ended(uploads[name])


def pickle_bombs(site: Server, user: User, _uploads: dict[str, bytes]) -> None:
    for content in bombs.pickles():
        with bounded(site), suppress(GraphQLErrors):
            user.upload(content)
        time.sleep(0.5)


UPLOAD_BOMBS: dict[UploadKind, Callable[[Server, User, dict[str, bytes]], None]] = {
    UploadKind.PICKLE: pickle_bombs,
    UploadKind.SUBMISSION: submission_bombs,
    UploadKind.DIAGNOSTICS: diagnostics_bombs,
}


@pytest.mark.parametrize("kind", UploadKind)
def test_an_upload_takes_little_memory_whatever_it_holds(
    site: Server, mallory: User, uploads: dict[str, bytes], kind: UploadKind
) -> None:
    UPLOAD_BOMBS[kind](site, mallory, uploads)


def test_a_file_of_targets_takes_little_memory_whatever_it_holds(site: Server, mallory: User) -> None:
    visitor = Visitor(site.address)
    visitor.sign_in("mallory")
    csrf = visitor.csrf("/admin/rounds")

    def score(name: str, content: bytes) -> requests.Response:
        data = {"csrf": csrf, "column": "target", "confirmed": "yes", "kind": "day"}
        return visitor.client.post(
            f"{site.address}/admin/rounds/1/score", data=data, files={"file": (name, content)}, timeout=60
        )

    with Watched(site) as usual:
        assert score("good.csv", b"id,target\na,0.5\n").status_code in (400, 409)
    for make in bombs.UPLOADS:
        content = make("target")
        for ending in ("csv", "parquet"):
            with bounded(site, usual):
                assert score(f"bomb.{ending}", content).status_code in (400, 409, 413), make.__name__


def test_an_answer_of_eleven_million_rows_is_refused_as_the_models_failure(
    site: Server, mallory: User, pickles: dict[str, bytes]
) -> None:
    mallory.wait(mallory.upload(pickles["one_argument"]))
    with bounded(site):
        [run] = mallory.wait(mallory.upload(pickles["returns_eleven_million_rows"]), seconds=240)["triggers"]
    told = run["statuses"][-1]["description"]
    assert re.search(r"The output is larger than [\d]+ predictions for data of \d+ rows", told), told
    assert run["status"] == "model_failed"


def test_compiled_trees_that_a_run_hands_out_take_little(
    site: Server, mallory: User, pickles: dict[str, bytes]
) -> None:
    with bounded(site):
        pickle = mallory.wait(mallory.upload(pickles["hands_out_large_tables"]), seconds=240)
    assert pickle["validationStatus"] == "validated", pickle
    assert "tables_not_stored" in site.log


def measured(environment: dict[str, str], *arguments: str) -> tuple[int, int, str]:
    """Exit code of a command, the most memory that it or a process of its had, and what it said."""
    with subprocess.Popen(
        [PREDICTD, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_maxrss * 1024, said


def test_an_import_takes_little_memory_whatever_it_holds(site: Server, tmp_path: Path) -> None:
    export = tmp_path / "export.tar"
    site.predictd("export", str(export))
    target = ("--data-dir", str(tmp_path / "home"))
    environment = {key: value for key, value in site.environment.items() if key != "PREDICTD_DATABASE_URL"}
    code, usual, said = measured(environment, "import", str(export), *target)
    assert code == 0, said
    bad = tmp_path / "bad.tar"
    folder = tmp_path / "folder"
    folder.mkdir()
    bombs.sparse_tar(bad, "manifest.json", 1_600_000_000)
    manifest = folder / "manifest.json"
    for number, (path, content) in enumerate(((bad, b""), (folder, bombs.deep_json()), (folder, None))):
        manifest.write_bytes(content or b"")
        if content is None:
            os.truncate(manifest, 2 << 30)
        code, most, said = measured(environment, "import", str(path), "--data-dir", str(tmp_path / f"home{number}"))
        assert code != 0
        assert "Traceback" not in said, said
        assert most - usual < MOST_GROWTH, f"{most / MIB:.0f} MiB instead of {usual / MIB:.0f}: {said}"


def ids_of(user: User, filename: str) -> list[str]:
    """The ids of a file of the newest data, as anybody downloads it."""
    names = user.ask("{ listDatasets }")["listDatasets"]
    name = next(one for one in names if one.endswith(f"/{filename}"))
    url = user.ask("query($n: String!) { dataset(filename: $n) }", n=name)["dataset"]
    content = io.BytesIO(requests.get(url, timeout=60).content)
    return list(pq.read_table(content, columns=["id"]).column("id").to_pylist())
