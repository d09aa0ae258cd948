"""A private PostgreSQL for tests: a throw-away cluster, and a fresh database whenever one is asked for."""

import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import psycopg
from psycopg import sql

START_SECONDS = 60
USER = "predictd"

# Nothing of a test outlives it, so nothing has to survive a power cut.
_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "32MB",
}


class PostgresMissingError(RuntimeError):
    """PostgreSQL's server is not installed, or can't be started here."""


@dataclass(kw_only=True)
class Cluster:
    """A running server on 127.0.0.1 that trusts everybody."""

    port: int
    _postmaster: "Postmaster"
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def kill(self) -> None:
        """SIGKILL, as if the machine had lost it; its other processes notice and end."""
        self._postmaster.process.kill()
        self._postmaster.process.wait()

    def restart(self) -> None:
        """Start it again after `kill`, on the same port and with what was committed."""
        deadline = time.monotonic() + START_SECONDS
        # What the killed one left in shared memory is in use for a moment yet.
        while not self._postmaster.start(self.port):
            assert time.monotonic() < deadline, self._postmaster.said()
            time.sleep(0.2)

    def create_database(self) -> str:
        """The SQLAlchemy URL of a new, empty database."""
        name = f"test_{next(self._numbers)}"
        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return f"postgresql+psycopg://{USER}@127.0.0.1:{self.port}/{name}"

    def _conninfo(self, database: str) -> str:
        return f"host=127.0.0.1 port={self.port} user={USER} dbname={database} connect_timeout=5"


@contextmanager
def postgres_cluster(*, durable: bool = False, reached_from: str | None = None) -> Iterator[Cluster]:
    """Start a cluster (1 to 3 s) and stop it at the end; PostgresMissingError says what to install.

    A `durable` one keeps what was committed when it is killed. `reached_from` is a network (in the form 10.0.0.0/30)
    from which it is reached too.
    """
    binaries = find_postgresql()
    account = _account()
    # PostgreSQL's user must be able to reach the folder, which it may not below root's own TMPDIR.
    folder = Path(tempfile.mkdtemp(prefix="predictd-pg-", dir="/tmp" if account else None))
    try:
        if account:
            os.chown(folder, account.pw_uid, account.pw_gid)
        data = folder / "data"
        _initialise(binaries, data, account)
        settings = dict(_SETTINGS)
        if durable:
            settings["synchronous_commit"] = "on"
        if reached_from is not None:
            settings["listen_addresses"] = "*"
            with (data / "pg_hba.conf").open("a") as rules:
                rules.write(f"host all all {reached_from} trust\n")
        postmaster = Postmaster(binaries, data, folder / "server.log", account, settings)
        port = _start(postmaster)
        try:
            yield Cluster(port=port, _postmaster=postmaster)
        finally:
            postmaster.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def find_postgresql() -> Path:
    """The folder of initdb and postgres: on PATH, or where Debian keeps the newest version."""
    on_path = shutil.which("initdb")
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    for folder in ([Path(on_path).resolve().parent] if on_path else []) + versions:
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder
    raise PostgresMissingError(
        "PostgreSQL's server (initdb, postgres) is neither on PATH nor in /usr/lib/postgresql. "
        "Install it: apt-get install postgresql"
    )


def _account() -> pwd.struct_passwd | None:
    """As whom the server runs when we are root, which it refuses to run as."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise PostgresMissingError("PostgreSQL refuses to run as root, and there is no user 'postgres' or 'nobody'.")


class _Identity(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


def _identity(account: pwd.struct_passwd | None) -> _Identity:
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}


def _initialise(binaries: Path, data: Path, account: pwd.struct_passwd | None) -> None:
    options = ["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", f"--username={USER}"]
    done = subprocess.run(
        [str(binaries / "initdb"), *options, "-D", str(data)],
        cwd=data.parent,
        capture_output=True,
        text=True,
        check=False,
        **_identity(account),
    )
    if done.returncode != 0:
        raise PostgresMissingError(f"initdb failed: {done.stderr.strip()[-500:]}")


def _start(postmaster: "Postmaster") -> int:
    """Start the server on a free port; another one when somebody took it in between."""
    for _ in range(5):
        port = _free_port()
        if postmaster.start(port):
            return port
    raise PostgresMissingError(f"PostgreSQL did not start: {postmaster.said()}")


class Postmaster:
    """The first process of a cluster, which can be started again."""

    process: "subprocess.Popen[bytes]"

    def __init__(
        self, binaries: Path, data: Path, log: Path, account: pwd.struct_passwd | None, settings: dict[str, str]
    ) -> None:
        self._binaries = binaries
        self._data = data
        self._log = log
        self._account = account
        self._settings = settings

    def start(self, port: int) -> bool:
        """Whether it is up on that port."""
        settings = self._settings | {"port": str(port), "unix_socket_directories": str(self._data.parent)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with open(self._log, "ab") as output:
            self.process = subprocess.Popen(
                [str(self._binaries / "postgres"), "-D", str(self._data), *options],
                cwd=self._data.parent,
                stdout=output,
                stderr=subprocess.STDOUT,
                **_identity(self._account),
            )
        return _is_up(self.process, port)

    def stop(self) -> None:
        """End it, whoever is connected."""
        if self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            # SIGTERM waits for open connections; SIGQUIT does not.
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(timeout=20)

    def said(self) -> str:
        """The end of its log."""
        return self._log.read_text(errors="replace").strip()[-500:]


def _is_up(server: subprocess.Popen[bytes], port: int) -> bool:
    conninfo = f"host=127.0.0.1 port={port} user={USER} dbname=postgres connect_timeout=5"
    deadline = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        try:
            psycopg.connect(conninfo).close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return True
    if server.poll() is None:
        server.kill()
        server.wait()
    return False


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    # Says by its exit code whether the tests can be run on PostgreSQL here.
    try:
        find_postgresql()
    except PostgresMissingError:
        sys.exit(1)
