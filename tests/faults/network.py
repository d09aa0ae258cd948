"""A network that can be slow: the server in a network namespace of its own, at the end of a cable that is ours."""

import os
import secrets
import shutil
import subprocess
from types import TracebackType

from faults.unavailable import Unavailable

# What the kernel of this machine has: a delay and losses; else a narrow line, whose queue delays and drops.
_SLOW = (
    ("netem", "delay", "200ms", "40ms", "loss", "5%"),
    ("tbf", "rate", "1mbit", "burst", "4kb", "latency", "250ms"),
)


class Network:
    """A namespace and a pair of cables; `inside` is the server's address, `outside` that of all others."""

    def __init__(self) -> None:
        self._name = f"faults-{secrets.token_hex(3)}"
        third = secrets.randbelow(200) + 20
        self.outside, self.inside = f"10.213.{third}.1", f"10.213.{third}.2"
        self.cidr = f"10.213.{third}.0/24"
        self._near, self._far = f"{self._name}a"[:15], f"{self._name}b"[:15]

    @property
    def enter(self) -> list[str]:
        """What to put before a command that is to run inside; it sees everything else as it is outside."""
        return ["nsenter", f"--net=/run/netns/{self._name}"]

    def __enter__(self) -> "Network":
        if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("tc") is None:
            raise Unavailable("a network namespace takes root, ip and tc (Debian: iproute2)")
        try:
            _run("ip", "netns", "add", self._name)
            _run("ip", "link", "add", self._near, "type", "veth", "peer", "name", self._far, "netns", self._name)
            _run("ip", "address", "add", f"{self.outside}/24", "dev", self._near)
            _run("ip", "link", "set", self._near, "up")
            _run("ip", "-n", self._name, "address", "add", f"{self.inside}/24", "dev", self._far)
            _run("ip", "-n", self._name, "link", "set", self._far, "up")
            _run("ip", "-n", self._name, "link", "set", "lo", "up")
        except subprocess.CalledProcessError as error:
            self.__exit__(None, None, None)
            raise Unavailable(f"a network namespace can't be made: {error.stderr.strip()}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run(["ip", "link", "del", self._near], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", self._name], capture_output=True, check=False)

    def slow(self) -> str:
        """Delay and drop what goes either way; answers how."""
        for options in _SLOW:
            try:
                for command in self._both("add"):
                    _run(*command, *options)
            except subprocess.CalledProcessError:
                self.quick()
            else:
                return " ".join(options)
        raise Unavailable("the kernel has neither netem nor tbf")

    def quick(self) -> None:
        """As it was."""
        for command in self._both("del"):
            subprocess.run(command, capture_output=True, check=False)

    def _both(self, what: str) -> list[list[str]]:
        return [
            ["tc", "qdisc", what, "dev", self._near, "root"],
            ["tc", "-n", self._name, "qdisc", what, "dev", self._far, "root"],
        ]


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
