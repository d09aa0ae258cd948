"""The system that faults strike: a server that is started again whenever it ends, and all that it stands on."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import requests

from conftest import PREDICTD, RUNTIMES, GraphQLErrors, User
from database import Cluster, postgres_cluster
from faults.clock import Clock
from faults.disk import SmallDisk
from faults.network import Network
from ray_cluster import RayCluster, ray_cluster
from s3 import S3Server, s3_server

LEASE_SECONDS = 4
_SETTINGS: dict[str, object] = {
    "data_size": "tiny",
    "calendar": "manual",
    "workers": 2,
    "run_seconds": 60,
    "run_memory_mb": 700,
    "lease_seconds": LEASE_SECONDS,
    "retry_seconds": 0.3,
    # A run may be struck again and again; here none may be given up.
    "max_attempts": 100,
    "drain_seconds": 20,
    # The disk that can be full is a small one, and each account uploads all that it has at once.
    "min_free_gb": 0,
    "account_uploads_per_hour": 0,
}
_START_AGAIN_SECONDS = 0.2
_READY_SECONDS = 120
_GIVE_UP_SECONDS = 120


class System:
    """A deployment whose server an attendant starts again, as systemd would; to be closed."""

    def __init__(
        self,
        folder: Path,
        *,
        postgresql: bool = False,
        s3: bool = False,
        small_disk: bool = False,
        clock: bool = False,
        slow: bool = False,
        ray: bool = False,
    ) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.restarts = 0
        self.pids: list[int] = []
        self.cluster: Cluster | None = None
        self.s3: S3Server | None = None
        self.disk: SmallDisk | None = None
        self.clock: Clock | None = None
        self.network: Network | None = None
        self.ray: RayCluster | None = None
        self._stack = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted = threading.Event()
        self._closing = threading.Event()
        try:
            self._build(postgresql=postgresql, s3=s3, small_disk=small_disk, clock=clock, slow=slow, ray=ray)
        except BaseException:
            self._stack.close()
            raise
        self._attendant = threading.Thread(target=self._attend, name="attendant")

    def _build(self, *, postgresql: bool, s3: bool, small_disk: bool, clock: bool, slow: bool, ray: bool) -> None:
        host = "127.0.0.1"
        reached = "127.0.0.1"
        if slow:
            self.network = self._stack.enter_context(Network())
            host, reached = self.network.inside, self.network.outside
        if small_disk:
            self.disk = self._stack.enter_context(SmallDisk(self.home))
        self.home.mkdir(exist_ok=True)
        database_url = f"sqlite:///{self.home / 'predictd.db'}"
        if postgresql:
            network = self.network.cidr if self.network else None
            self.cluster = self._stack.enter_context(postgres_cluster(durable=True, reached_from=network))
            database_url = self.cluster.create_database()
        self.database_url = database_url
        self.storage_url = ""
        if s3:
            self.s3 = self._stack.enter_context(s3_server(address=reached))
            self.storage_url = self.s3.url()
        self.port = _free_port()
        self.address = f"http://{host}:{self.port}"
        settings = _SETTINGS | {
            "data_dir": self.home,
            "database_url": database_url.replace("127.0.0.1", reached),
            "storage_url": self.storage_url,
            "runtimes_dir": RUNTIMES,
            "host": host,
            "port": self.port,
        }
        self.environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("PREDICTD_", "NUMERAI"))
        }
        self.environment["UV_OFFLINE"] = "1"
        if self.s3 is not None:
            # This process looks into the bucket too.
            os.environ |= self.s3.credentials
            self.environment |= self.s3.credentials
        self.environment |= {f"PREDICTD_{name.upper()}": str(value) for name, value in settings.items()}
        # The organiser's commands run beside the server, outside of its network and with the right clock.
        self._beside = self.environment | {"PREDICTD_DATABASE_URL": database_url}
        if ray:
            self.ray = self._stack.enter_context(ray_cluster(self.folder / "cluster", drain_seconds=1))
            more = {"EXECUTOR": "ray", "RAY_ADDRESS": self.ray.address, "HOST": "0.0.0.0"}
            self.environment |= self.ray.environment | {f"PREDICTD_{name}": value for name, value in more.items()}
        if clock:
            self.clock = Clock(self.folder)
            self.environment |= self.clock.environment

    def start(self) -> None:
        """Start the server and keep it running."""
        self._wanted.set()
        self._attendant.start()
        self.wait_until_ready()

    def stop(self) -> int:
        """Stop the server as an administrator does, for good or until `resume`; answers its exit code."""
        self._wanted.clear()
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(60)

    def resume(self, **settings: object) -> None:
        """Start it again with other settings."""
        self.environment |= {f"PREDICTD_{name.upper()}": str(value) for name, value in settings.items()}
        self._wanted.set()
        self.wait_until_ready()

    def close(self) -> None:
        """End everything."""
        self._wanted.clear()
        self._closing.set()
        if self._attendant.is_alive():
            self._attendant.join()
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._stack.close()

    @property
    def server(self) -> psutil.Process | None:
        """The server, None while it is down."""
        process = self._process
        if process is None or process.poll() is not None:
            return None
        try:
            return psutil.Process(process.pid)
        except psutil.NoSuchProcess:
            return None

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")

    def wait_until_ready(self, seconds: float = _READY_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                if requests.get(f"{self.address}/readyz", timeout=5).status_code == 200:
                    return
            except requests.RequestException:
                pass
            assert time.monotonic() < deadline, f"the server is not ready:\n{self.log[-3000:]}"
            time.sleep(0.1)

    def predictd(self, *arguments: str) -> str:
        """What a command of the organiser's prints; subprocess.CalledProcessError when it fails."""
        done = subprocess.run(
            [PREDICTD, *arguments], env=self._beside, capture_output=True, text=True, timeout=120, check=True
        )
        return done.stdout

    def user(self, name: str) -> "PatientUser":
        """A new account."""
        return PatientUser(self.address, **json.loads(self.predictd("account", "create", name, "--json")))

    def _attend(self) -> None:
        while not self._closing.wait(0.05):
            if self._wanted.is_set() and (self._process is None or self._process.poll() is not None):
                if self._process is not None:
                    self.restarts += 1
                    time.sleep(_START_AGAIN_SECONDS)
                self._spawn()

    def _spawn(self) -> None:
        command = [PREDICTD, "serve"]
        if self.network is not None:
            command = [*self.network.enter, *command]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        self.pids.append(self._process.pid)


class PatientUser(User):
    """An account's owner who tries again whenever the server is away or at fault."""

    def ask(self, query: str, **variables: Any) -> Any:
        """The data of an answer; GraphQLErrors when the request itself is at fault."""
        deadline = time.monotonic() + _GIVE_UP_SECONDS
        while True:
            try:
                response = requests.post(
                    self.address, json={"query": query, "variables": variables}, headers=self.headers, timeout=60
                )
                if response.status_code == 200:
                    answer = response.json()
                    if not answer.get("errors"):
                        return answer["data"]
                    raise GraphQLErrors(answer["errors"])
                if response.status_code < 500:
                    raise AssertionError(f"{response.status_code}: {response.text}")
            except requests.RequestException:
                pass
            assert time.monotonic() < deadline, "the server was away for too long"
            time.sleep(0.3)

    def make_model(self, name: str) -> str:
        """The model of that name, made once however often it is asked for."""
        try:
            return self.add_model(name)
        except GraphQLErrors:
            models = self.ask("{ account { models { id name } } }")["account"]["models"]
            return next(str(model["id"]) for model in models if model["name"] == name)

    def deliver(self, content: bytes, model_id: str) -> str:
        """Upload and register a pickle until it is registered; answers the pickle's id."""
        while True:
            auth = self.ask(
                'query($m: ID) { computePickleUploadAuth(filename: "model.pkl", modelId: $m) { filename url } }',
                m=model_id,
            )["computePickleUploadAuth"]
            if not self._put(auth["url"], content):
                continue
            try:
                return self.register(auth["filename"], model_id)
            except GraphQLErrors as errors:
                known = self.ask("query($m: ID) { computePickles(modelId: $m) { id filename } }", m=model_id)
                found = [one["id"] for one in known["computePickles"] if one["filename"] == auth["filename"]]
                if found:  # the answer got lost on its way
                    return str(found[0])
                if "No bytes were received" not in str(errors):
                    raise

    def _put(self, url: str, content: bytes) -> bool:
        try:
            answer = requests.put(url, data=content, timeout=60)
        except requests.RequestException:
            time.sleep(0.3)
            return False
        # 403: the clock was set while the URL was on its way.
        assert answer.status_code in (200, 403, 500, 503, 507), (answer.status_code, answer.text)
        return answer.status_code == 200


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
