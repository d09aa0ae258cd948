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
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def create_database(self) -> str:
        """The SQLAlchemy URL of a new, empty database."""
        name = f"test_{next(self._numbers)}"
        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return f"postgresql+psycopg://{USER}@127.0.0.1:{self.port}/{name}"

    def _conninfo(self, database: str) -> str:
        return f"host=127.0.0.1 port={self.port} user={USER} dbname={database} connect_timeout=5"


@contextmanager
def postgres_cluster() -> Iterator[Cluster]:
    """Start a cluster (1 to 3 s) and stop it at the end; PostgresMissingError says what to install."""
    binaries = _binaries()
    account = _account()
    # PostgreSQL's user must be able to reach the folder, which it may not below root's own TMPDIR.
    folder = Path(tempfile.mkdtemp(prefix="predictd-pg-", dir="/tmp" if account else None))
    try:
        if account:
            os.chown(folder, account.pw_uid, account.pw_gid)
        data = folder / "data"
        _initialise(binaries, data, account)
        log = folder / "server.log"
        server, port = _start(binaries, data, log, account)
        try:
            yield Cluster(port=port)
        finally:
            server.terminate()
            try:
                server.wait(timeout=2)
            except subprocess.TimeoutExpired:
                # SIGTERM waits for open connections; SIGQUIT does not.
                server.send_signal(signal.SIGQUIT)
                server.wait(timeout=20)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _binaries() -> Path:
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


def _start(
    binaries: Path, data: Path, log: Path, account: pwd.struct_passwd | None
) -> tuple[subprocess.Popen[bytes], int]:
    """Start the server on a free port; another one when somebody took it in between."""
    for _ in range(5):
        port = _free_port()
        settings = _SETTINGS | {"port": str(port), "unix_socket_directories": str(data.parent)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with open(log, "wb") as output:
            server = subprocess.Popen(
                [str(binaries / "postgres"), "-D", str(data), *options],
                cwd=data.parent,
                stdout=output,
                stderr=subprocess.STDOUT,
                **_identity(account),
            )
        if _is_up(server, port):
            return server, port
    raise PostgresMissingError(f"PostgreSQL did not start: {log.read_text(errors='replace').strip()[-500:]}")


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
        _binaries()
    except PostgresMissingError:
        sys.exit(1)
