"""What a node tells the server while a run goes on: what the model prints, and that it is still there."""

import logging
import threading
import time
from collections import deque

import requests

from predictd.domain.terminal import TerminalLines

log = logging.getLogger(__name__)

AUTHORIZATION = "Authorization"
BATCH = "Predictd-Batch"
CUT = "Predictd-Cut"
NODE = "Predictd-Node"

MOST_BYTES = 256 * 1024
_LOG_SECONDS = 0.5
_TIMEOUT = (5, 10)
_GIVEN_UP = (403, 410)


class Reporter:
    """Sends what is written to it, and signs of life, from a thread of its own.

    Batches are numbered, so that one that is sent twice counts once.

    Args:
        kept_bytes: of what waits to be sent, the newest so many bytes stay.
        gone: set when the server says that the run is nobody's any more, or says nothing for `lease_seconds`.

    Attributes:
        why_gone: why it set `gone`, if it did.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        node: str,
        beat_seconds: float,
        lease_seconds: float,
        kept_bytes: int,
        gone: threading.Event,
    ) -> None:
        self._session = requests.Session()
        self._session.headers.update({AUTHORIZATION: f"Bearer {token}", NODE: node})
        self._url = url
        self._beat_seconds = beat_seconds
        self._lease_seconds = lease_seconds
        self._kept_bytes = kept_bytes
        self._gone = gone
        self.why_gone = ""
        self._lock = threading.Lock()
        self._terminal = TerminalLines()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._cut = 0
        self._batch = 0
        self._answered_at = time.monotonic()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)
        self._thread.start()

    def write(self, chunk: bytes) -> None:
        """Take bytes of the model's output; never waits for the network. Only finished lines are sent."""
        with self._lock:
            self._add(self._terminal.feed(chunk))

    def _add(self, lines: list[str]) -> None:
        for line in lines:
            self._waiting.append(f"{line}\n".encode())
            self._waiting_bytes += len(self._waiting[-1])
        while self._waiting_bytes > self._kept_bytes and len(self._waiting) > 1:
            size = len(self._waiting.popleft())
            self._waiting_bytes -= size
            self._cut += size

    def close(self) -> None:
        """Send what is left, for `lease_seconds` at most."""
        with self._lock:
            self._add(self._terminal.close())
        self._closing.set()
        self._thread.join()
        self._session.close()

    def _run(self) -> None:
        # At once, so that the server knows that the run has begun.
        self._send_all()
        sent_at = time.monotonic()
        while not self._closing.wait(_LOG_SECONDS) and not self._gone.is_set():
            self.write(b"")
            if self._waiting or time.monotonic() - sent_at >= self._beat_seconds:
                self._send_all()
                sent_at = time.monotonic()
        if self._waiting and not self._gone.is_set():
            self._send_all()

    def _send_all(self) -> None:
        """One batch at least, so that the server hears of the run, and then all that waits."""
        while True:
            self._batch += 1
            if not self._send(*self._take()) or not self._waiting:
                return

    def _take(self) -> tuple[bytes, int]:
        with self._lock:
            parts: list[bytes] = []
            size = 0
            while self._waiting and (not parts or size + len(self._waiting[0]) <= MOST_BYTES):
                parts.append(self._waiting.popleft())
                size += len(parts[-1])
            self._waiting_bytes -= size
            cut, self._cut = self._cut, 0
            return b"".join(parts), cut

    def _send(self, body: bytes, cut: int) -> bool:
        """Send the batch until it has arrived; False when the run is nobody's any more."""
        headers = {BATCH: str(self._batch), CUT: str(cut)}
        while not self._gone.is_set():
            try:
                answer = self._session.post(self._url, data=body, headers=headers, timeout=_TIMEOUT)
                if answer.status_code in _GIVEN_UP:
                    self._give_up("the server has given the run up")
                    return False
                if answer.status_code >= 500:
                    # There is a server, whose database may be away for a moment.
                    self._answered_at = time.monotonic()
                answer.raise_for_status()
            except requests.RequestException:
                if time.monotonic() - self._answered_at > self._lease_seconds:
                    self._give_up(f"the server could not be reached for {self._lease_seconds:g} s")
                    return False
                # The batch keeps its number: the server may have taken it, and lost the connection with its answer.
                self._gone.wait(_LOG_SECONDS)
            else:
                self._answered_at = time.monotonic()
                return True
        return False

    def _give_up(self, why: str) -> None:
        log.info("%s", why)
        self.why_gone = why
        self._gone.set()
