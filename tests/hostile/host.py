"""What must stay as it is on the machine while hostile models run: canaries, and the state that all processes share."""

import os
import secrets
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from predictd.sandbox.memory_monitor import descendants
from predictd.sandbox.resource_group import hierarchy

# Runs of these tests have a slot and users that others on this machine hardly have at the same time.
SLOT = 100 + os.getpid() % 800
ORDINARY_USER = 60_000 + SLOT
USERS = (200_000 + SLOT, ORDINARY_USER)
SECRET = f"a-secret-of-the-server-{secrets.token_hex(8)}"
MARK = "hostile-"
WARM = "predictd_runner.fork_server"
_SHARED = ("kernel/core_pattern", "kernel/hostname", "kernel/domainname", "kernel/sysrq", "vm/overcommit_memory")
_SHARED += ("kernel/randomize_va_space", "vm/drop_caches", "kernel/modprobe", "fs/suid_dumpable", "kernel/pid_max")
_SHARED += ("kernel/shmmax", "kernel/msgmnb", "kernel/sem", "fs/mqueue/msg_max")


@dataclass(kw_only=True)
class Host:
    """Canaries on this machine, and listeners to which nobody may ever come.

    Attributes:
        folder: holds the database, a secret and a folder that must not change.
        canaries: processes, one of each user of a run, that must live.
        listeners: sockets of this machine.
        visitors: the listeners to which somebody came, once for each visit.
        facts: what the models are told of it.
    """

    folder: Path
    canaries: list["subprocess.Popen[bytes]"] = field(default_factory=list)
    listeners: dict[str, socket.socket] = field(default_factory=dict)
    visitors: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def look(self) -> dict[str, object]:
        """The state that no run may change; two looks are equal if nothing happened.

        Mounts of container engines are left out: others may start containers meanwhile.
        """
        return {
            "canaries": [canary.poll() for canary in self.canaries],
            "files": {str(p): (p.stat().st_mtime_ns, p.stat().st_nlink, p.read_bytes()) for p in self._files()},
            "visitors": self._visitors(),
            "processes": self._processes(),
            "groups": self._groups(),
            "new files": _files_of_runs(),
            "mounts": [line for line in _text(Path("/proc/self/mounts")).splitlines() if "/containers/" not in line],
            "kernel": {name: _text(Path("/proc/sys", name)) for name in _SHARED},
            # To half a second, over which no run may set the clock.
            "clock": round(2 * (time.time() - time.monotonic() - _CLOCK)),
            "sockets": (socket.gethostname(), sorted(name for _, name in socket.if_nameindex())),
        }

    def _visitors(self) -> list[str]:
        """All since the beginning: who comes is seen once and must not be forgotten by the next look."""
        self.visitors += [name for name, one in self.listeners.items() if _has_visitor(one)]
        return list(self.visitors)

    def _files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    def _processes(self) -> list[str]:
        """Processes of the runs' users, or that descend from here, but for the canaries and the ordinary worker."""
        found = []
        known = {canary.pid for canary in self.canaries}
        children = set(descendants(os.getpid())[1:])
        for path in Path("/proc").glob("[0-9]*"):
            command = _text(path / "cmdline").replace("\x00", " ")
            try:
                is_runs = path.stat().st_uid in USERS or int(path.name) in children or MARK in command
            except OSError:
                continue
            # A zombie is dead, until whoever adopted it asks how it ended.
            is_dead = "State:\tZ" in _text(path / "status")
            if is_runs and not is_dead and int(path.name) not in known and "worker.py" not in command:
                # Another run waits to be taken after each one, so of these only the number stays the same.
                pid = "" if WARM in command else path.name
                found.append(f"{pid} {command or _text(path / 'comm')}")
        return sorted(found)

    def _groups(self) -> list[int]:
        found = hierarchy()
        folders = found.folders.values() if found else ()
        return [len(list(folder.glob(f"predictd-{os.getpid()}-*"))) for folder in folders]


_CLOCK = time.time() - time.monotonic()


def difference(before: dict[str, object], host: Host, seconds: float = 5.0) -> dict[str, tuple[object, object]]:
    """What differs now; what is only on its way out (a dying process) gets a moment."""
    deadline = time.monotonic() + seconds
    while True:
        now = host.look()
        changed = {name: (before[name], now[name]) for name in before if before[name] != now[name]}
        if not changed or time.monotonic() > deadline:
            return changed
        time.sleep(0.05)


@contextmanager
def prepared(folder: Path) -> Iterator[Host]:
    """A host with its canaries."""
    (folder / "canary").mkdir()
    (folder / "canary" / "file").write_text("unchanged\n")
    (folder / "secret.txt").write_text(SECRET)
    with sqlite3.connect(folder / "predictd.db") as database:
        database.execute("CREATE TABLE tokens (secret TEXT)")
        database.execute("INSERT INTO tokens VALUES (?)", (SECRET,))
    database.close()
    for path in (folder, folder / "canary"):
        path.chmod(0o755)
    host = Host(folder=folder)
    with ExitStack() as stack:
        _listen(host, stack)
        for user in USERS if os.geteuid() == 0 else (os.geteuid(),):
            options = {"user": user} if os.geteuid() == 0 else {}
            canary = subprocess.Popen(["sleep", "86400"], cwd="/", start_new_session=True, **options)
            host.canaries.append(canary)
            stack.callback(canary.wait)
            stack.callback(canary.kill)
        host.facts |= {
            "folder": str(folder),
            "database": str(folder / "predictd.db"),
            "secret_file": str(folder / "secret.txt"),
            "server": os.getpid(),
            "canaries": [canary.pid for canary in host.canaries],
        }
        yield host


def _listen(host: Host, stack: ExitStack) -> None:
    tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    udp.bind(("127.0.0.1", 0))
    abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
    name = f"predictd-canary-{secrets.token_hex(4)}"
    abstract.bind(f"\0{name}")
    path = host.folder / "canary.sock"
    named = stack.enter_context(socket.socket(socket.AF_UNIX))
    named.bind(str(path))
    path.chmod(0o777)
    host.listeners = {"tcp": tcp, "udp": udp, "abstract": abstract, "named": named}
    for listener in host.listeners.values():
        listener.setblocking(False)
        if listener is not udp:
            listener.listen()
    host.facts |= {"port": tcp.getsockname()[1], "udp": udp.getsockname()[1], "abstract": name, "socket": str(path)}


def _has_visitor(listener: socket.socket) -> bool:
    try:
        if listener.type == socket.SOCK_DGRAM:
            listener.recv(1)
        else:
            listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def _files_of_runs() -> list[str]:
    found = []
    for folder in ("/tmp", "/var/tmp", "/dev/shm", "/"):
        for entry in os.scandir(folder):
            try:
                is_runs = entry.stat(follow_symlinks=False).st_uid in USERS
            except OSError:
                continue
            if is_runs or entry.name.startswith(MARK):
                found.append(entry.path)
    return sorted(found)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
