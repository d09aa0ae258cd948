"""Probes of the load benchmark: how fast a server responds, and its resource usage."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import psutil
import requests

ACCOUNT = """query { account { username models {
  id name archived computePickleUpload { id filename validationStatus triggerStatus }
} } }"""
PAUSE_SECONDS = 0.05
SAMPLE_SECONDS = 0.5


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that a share, 0 to 1, of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass
class Latencies:
    """The seconds of each response to `account { models {...} }`."""

    seconds: list[float] = field(default_factory=list)

    def p(self, share: float) -> float:
        return percentile(self.seconds, share)


def ask(session: requests.Session, address: str, token: str, query: str, **variables: Any) -> Any:
    """Return the data of a response."""
    response = session.post(
        address,
        json={"query": query, "variables": variables},
        headers={"Authorization": f"Token {token}"},
        timeout=120,
    )
    response.raise_for_status()
    answer = response.json()
    if answer.get("errors"):
        raise RuntimeError(str(answer["errors"]))
    return answer["data"]


@contextmanager
def measuring_latency(address: str, tokens: Sequence[str]) -> Iterator[Latencies]:
    """Query the models of one account after the other, several times a second, until the block ends."""
    latencies, ending = Latencies(), threading.Event()

    def sample() -> None:
        with requests.Session() as session:
            for token in cycle(tokens):
                began = time.perf_counter()
                ask(session, address, token, ACCOUNT)
                latencies.seconds.append(time.perf_counter() - began)
                if ending.wait(PAUSE_SECONDS):
                    return

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield latencies
    finally:
        ending.set()
        thread.join()


@dataclass
class Usage:
    """The maximum resource usage of a server: MB of its process and with all its children (PSS), files, threads."""

    server_mb: float = 0
    all_mb: float = 0
    files: int = 0
    threads: int = 0


@contextmanager
def measuring_usage(pid: int) -> Iterator[Usage]:
    """Sample the server's processes until the block ends."""
    usage, ending = Usage(), threading.Event()
    server = psutil.Process(pid)

    def sample() -> None:
        while not ending.wait(SAMPLE_SECONDS):
            own = _pss(server)
            usage.server_mb = max(usage.server_mb, own)
            usage.all_mb = max(usage.all_mb, own + sum(_pss(child) for child in server.children(recursive=True)))
            usage.files = max(usage.files, server.num_fds())
            usage.threads = max(usage.threads, server.num_threads())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield usage
    finally:
        ending.set()
        thread.join()


def _pss(process: psutil.Process) -> float:
    # Runs end while they are sampled.
    with suppress(psutil.Error):
        return float(process.memory_full_info().pss) / 1e6
    return 0.0
