"""Fixtures: a real server with its own data dir and database, accounts on it, and the pickles of `make_pickles.py`."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from database import Cluster, PostgresMissingError, postgres_cluster

pytest_plugins = ["browsing"]

ROOT = Path(__file__).parents[1]
PREDICTD = str(Path(sys.executable).with_name("predictd"))
RUNTIMES = Path(os.environ.get("PREDICTD_TEST_RUNTIMES", ROOT / ".cache" / "runtimes"))
SANDBOX = ROOT / ".cache" / "sandbox"
FINAL = {"submission_succeeded", "model_failed", "error"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--database", choices=["sqlite", "postgresql"], default="sqlite", help="what the servers keep")


def pytest_report_header(config: pytest.Config) -> str:
    return f"database: {config.getoption('--database')}"


class GraphQLErrors(Exception):
    """The errors of an answer."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        self.messages = [error["message"] for error in errors]
        super().__init__("; ".join(self.messages))


@dataclass(frozen=True)
class User:
    """An account of a server, as its owner uses it over HTTP."""

    address: str
    username: str
    public_id: str
    secret_key: str

    @property
    def token(self) -> str:
        return f"{self.public_id}${self.secret_key}"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Token {self.token}"}

    def ask(self, query: str, **variables: Any) -> Any:
        """The data of an answer; GraphQLErrors when there are errors."""
        response = requests.post(
            self.address, json={"query": query, "variables": variables}, headers=self.headers, timeout=60
        )
        assert response.status_code == 200, response.text
        answer = response.json()
        if answer.get("errors"):
            raise GraphQLErrors(answer["errors"])
        return answer["data"]

    def add_model(self, name: str) -> str:
        query = "mutation($name: String!) { addModel(name: $name, tournament: 8) { id } }"
        return str(self.ask(query, name=name)["addModel"]["id"])

    def put_pickle(self, content: bytes, model_id: str | None = None, filename: str = "model.pkl") -> str:
        """Send the bytes; answers the unique filename, not yet registered."""
        auth = self.ask(
            "query($f: String!, $m: ID) { computePickleUploadAuth(filename: $f, modelId: $m) { filename url } }",
            f=filename,
            m=model_id,
        )["computePickleUploadAuth"]
        assert requests.put(auth["url"], data=content, timeout=60).status_code == 200
        return str(auth["filename"])

    def register(self, filename: str, model_id: str | None = None, image: str | None = None) -> str:
        query = """mutation($f: String!, $m: ID, $i: ID) {
            createComputePickleUpload(filename: $f, tournament: 8, modelId: $m, dockerImageId: $i) { id } }"""
        return str(self.ask(query, f=filename, m=model_id, i=image)["createComputePickleUpload"]["id"])

    def upload(self, content: bytes, model_id: str | None = None, image: str | None = None) -> str:
        return self.register(self.put_pickle(content, model_id), model_id, image)

    def pickle(self, pickle_id: str) -> dict[str, Any]:
        query = """query($id: ID) { computePickles(id: $id) { id validationStatus triggerStatus assignedModelSlots
            triggers { id type status roundId submissionId statuses { status description insertedAt } } } }"""
        return dict(self.ask(query, id=pickle_id)["computePickles"][0])

    def wait(self, pickle_id: str, runs: int = 1, seconds: float = 120) -> dict[str, Any]:
        """The pickle once it has ended so many runs and has none on its way."""
        deadline = time.monotonic() + seconds
        while True:
            pickle = self.pickle(pickle_id)
            triggers = pickle["triggers"]
            if len(triggers) >= runs and all(run["status"] in FINAL for run in triggers):
                return pickle
            assert time.monotonic() < deadline, f"not ended after {seconds} s: {pickle}"
            time.sleep(0.2)

    def logs(self, run_id: str) -> list[str]:
        query = "query($id: ID!) { triggerLogs(triggerId: $id) { timestamp message } }"
        return [line["message"] for line in self.ask(query, id=run_id)["triggerLogs"]]

    def submissions(self, model_id: str) -> list[dict[str, Any]]:
        query = """query($m: ID) { submissions(modelId: $m) {
            id filename status selected triggerId notes round { number } } }"""
        return list(self.ask(query, m=model_id)["submissions"])


@dataclass
class Server:
    """A running `predictd serve`."""

    home: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None
    program: str | Path = PREDICTD

    @property
    def log(self) -> str:
        return (self.home / "server.log").read_text(errors="replace")

    @property
    def address(self) -> str:
        return str(json.loads((self.home / "server.json").read_text())["address"])

    def start(self) -> "Server":
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / "server.json").unlink(missing_ok=True)
        with (self.home / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.program, "serve", "--port", "0"],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 180
        while not (self.home / "server.json").exists():
            assert self.process.poll() is None, f"the server ended:\n{self.log}"
            assert time.monotonic() < deadline, f"the server is not ready:\n{self.log}"
            time.sleep(0.05)
        return self

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(60)

    def predictd(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run a command of the organiser's beside the server."""
        done = subprocess.run(
            [self.program, *arguments], env=self.environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    def user(self, name: str) -> User:
        token = json.loads(self.predictd("account", "create", name, "--json").stdout)
        return User(self.address, **token)

    def open_round(self, length: str = "1h") -> int:
        return int(json.loads(self.predictd("round", "open", "--length", length, "--json").stdout)["number"])

    def close_round(self) -> None:
        self.predictd("round", "close")


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster | None]:
    """PostgreSQL, where the tests are run on it."""
    if request.config.getoption("--database") == "sqlite":
        yield None
        return
    with postgres_cluster() as running:
        yield running


@pytest.fixture(scope="module")
def postgres(cluster: Cluster | None) -> Iterator[Cluster]:
    """PostgreSQL, whatever the tests are run on."""
    if cluster is not None:
        yield cluster
        return
    try:
        with postgres_cluster() as running:
            yield running
    except PostgresMissingError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def database_url(cluster: Cluster | None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], str]:
    """Makes an empty database and answers its URL."""

    def make() -> str:
        if cluster is not None:
            return cluster.create_database()
        return f"sqlite:///{tmp_path_factory.mktemp('database') / 'predictd.db'}"

    return make


@pytest.fixture(scope="session")
def make_server(
    tmp_path_factory: pytest.TempPathFactory, database_url: Callable[[], str]
) -> Callable[..., AbstractContextManager[Server]]:
    """Runs servers, each with a data dir and a database of its own; settings are keyword arguments.

    `program` is run instead of `predictd`.
    """

    @contextmanager
    def running(program: str | Path = PREDICTD, **settings: object) -> Iterator[Server]:
        home = tmp_path_factory.mktemp("server") / "home"
        defaults = {
            "data_dir": home,
            "database_url": database_url(),
            "runtimes_dir": RUNTIMES,
            "data_size": "tiny",
            "calendar": "manual",
            "run_seconds": 45,
        }
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("PREDICTD_", "NUMERAI"))}
        environment["UV_OFFLINE"] = "1"
        environment |= {f"PREDICTD_{name.upper()}": str(value) for name, value in (defaults | settings).items()}
        server = Server(home, environment, program=program).start()
        yield server
        if server.process is not None and server.process.poll() is None:
            server.stop()

    return running


@pytest.fixture
def new_server(make_server: Callable[..., AbstractContextManager[Server]]) -> Iterator[Callable[..., Server]]:
    """Starts servers that end with the test."""
    with ExitStack() as running:
        yield lambda **settings: running.enter_context(make_server(**settings))


@pytest.fixture(scope="session")
def server(make_server: Callable[..., AbstractContextManager[Server]]) -> Iterator[Server]:
    """A server for tests that do not mind each other."""
    with make_server() as running:
        yield running


@pytest.fixture(scope="session")
def open_server(make_server: Callable[..., AbstractContextManager[Server]]) -> Iterator[Server]:
    """A server with an open round, for tests that do not mind each other."""
    with make_server() as running:
        running.open_round("10h")
        yield running


@pytest.fixture(scope="session")
def default_python(server: Server) -> str:
    """The Python of the default runtime."""
    runtimes = json.loads(server.predictd("runtime", "list", "--json").stdout)
    return str(next(runtime["python"] for runtime in runtimes if runtime["default"]))


@pytest.fixture(scope="session")
def pickles(default_python: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The models of `make_pickles.py`, pickled in the default runtime."""
    folder = tmp_path_factory.mktemp("pickles")
    subprocess.run([default_python, str(ROOT / "tests" / "make_pickles.py"), str(folder)], check=True)
    return {path.stem: path.read_bytes() for path in folder.glob("*.pkl")}


@pytest.fixture
def user(server: Server, request: pytest.FixtureRequest) -> User:
    """A new account of the shared server."""
    return server.user(f"user_{abs(hash(request.node.nodeid)) % 10**12}_{os.getpid()}"[:40])


@pytest.fixture(scope="session")
def other_python_pickle(default_python: str, tmp_path_factory: pytest.TempPathFactory) -> bytes | None:
    """A good model, but pickled in the runtime of another Python than the default; None where there is but one."""
    folder = tmp_path_factory.mktemp("other_python")
    others = [one for one in RUNTIMES.glob("numerai_predict_py_*/bin/python") if str(one) != default_python]
    if not others:
        return None
    subprocess.run([str(others[0]), str(ROOT / "tests" / "make_pickles.py"), str(folder), "good"], check=True)
    return (folder / "good.pkl").read_bytes()
