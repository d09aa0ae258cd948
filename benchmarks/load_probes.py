"""What the load benchmark looks at while a server works: how fast it answers, and what it holds."""

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
LOOK_SECONDS = 0.5


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so much of them, 0 to 1, do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass
class Answers:
    """Seconds that the server took for each answer to `account { models {...} }`."""

    seconds: list[float] = field(default_factory=list)

    def p(self, share: float) -> float:
        return percentile(self.seconds, share)


def ask(session: requests.Session, address: str, token: str, query: str, **variables: Any) -> Any:
    """The data of an answer."""
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
def answering(address: str, tokens: Sequence[str]) -> Iterator[Answers]:
    """One account after the other asks for its models, some times a second, until the block is left."""
    answers, ending = Answers(), threading.Event()

    def look() -> None:
        with requests.Session() as session:
            for token in cycle(tokens):
                began = time.perf_counter()
                ask(session, address, token, ACCOUNT)
                answers.seconds.append(time.perf_counter() - began)
                if ending.wait(PAUSE_SECONDS):
                    return

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield answers
    finally:
        ending.set()
        thread.join()


@dataclass
class Held:
    """The most that a server held: MB of its own process and with all below it (PSS), files, threads."""

    server_mb: float = 0
    all_mb: float = 0
    files: int = 0
    threads: int = 0


@contextmanager
def holding(pid: int) -> Iterator[Held]:
    """Looks at the server's processes until the block is left."""
    held, ending = Held(), threading.Event()
    server = psutil.Process(pid)

    def look() -> None:
        while not ending.wait(LOOK_SECONDS):
            own = _pss(server)
            held.server_mb = max(held.server_mb, own)
            held.all_mb = max(held.all_mb, own + sum(_pss(child) for child in server.children(recursive=True)))
            held.files = max(held.files, server.num_fds())
            held.threads = max(held.threads, server.num_threads())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield held
    finally:
        ending.set()
        thread.join()


def _pss(process: psutil.Process) -> float:
    # Runs end while they are looked at.
    with suppress(psutil.Error):
        return float(process.memory_full_info().pss) / 1e6
    return 0.0
