"""Report a running job to the server: the output of the model, and heartbeats."""

import logging
import threading
import time
from collections import deque

import requests

from predictd.domain.terminal import TerminalLines

log = logging.getLogger(__name__)

AUTHORIZATION = "Authorization"
BATCH = "Predictd-Batch"
DROPPED_BYTES = "Predictd-Cut"
NODE = "Predictd-Node"

MAX_BATCH_BYTES = 256 * 1024
_LOG_SECONDS = 0.5
_TIMEOUT = (5, 10)
_LOST_STATUSES = (403, 410)


class HeartbeatReporter:
    """Sends output and heartbeats from its own thread.

    Batches are numbered, so a batch that is sent twice counts once.

    Args:
        max_buffered_bytes: limit on unsent output; the oldest lines are dropped.
        lost: set when the server reports that the node has lost the run, or does not respond for `lease_seconds`.

    Attributes:
        lost_reason: why `lost` was set, or empty.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        node: str,
        heartbeat_seconds: float,
        lease_seconds: float,
        max_buffered_bytes: int,
        lost: threading.Event,
    ) -> None:
        self._session = requests.Session()
        self._session.headers.update({AUTHORIZATION: f"Bearer {token}", NODE: node})
        self._url = url
        self._heartbeat_seconds = heartbeat_seconds
        self._lease_seconds = lease_seconds
        self._max_buffered_bytes = max_buffered_bytes
        self._lost = lost
        self.lost_reason = ""
        self._lock = threading.Lock()
        self._terminal = TerminalLines()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._dropped = 0
        self._batch = 0
        self._responded_at = time.monotonic()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)
        self._thread.start()

    def write(self, chunk: bytes) -> None:
        """Buffer output of the model without waiting for the network. Only complete lines are sent."""
        with self._lock:
            self._add(self._terminal.feed(chunk))

    def _add(self, lines: list[str]) -> None:
        for line in lines:
            self._waiting.append(f"{line}\n".encode())
            self._waiting_bytes += len(self._waiting[-1])
        while self._waiting_bytes > self._max_buffered_bytes and len(self._waiting) > 1:
            size = len(self._waiting.popleft())
            self._waiting_bytes -= size
            self._dropped += size

    def close(self) -> None:
        """Send the remaining output, for at most `lease_seconds`."""
        with self._lock:
            self._add(self._terminal.close())
        self._closing.set()
        self._thread.join()
        self._session.close()

    def _run(self) -> None:
        # Immediately, so the server knows that the run has started.
        self._send_all()
        sent_at = time.monotonic()
        while not self._closing.wait(_LOG_SECONDS) and not self._lost.is_set():
            self.write(b"")
            if self._waiting or time.monotonic() - sent_at >= self._heartbeat_seconds:
                self._send_all()
                sent_at = time.monotonic()
        if self._waiting and not self._lost.is_set():
            self._send_all()

    def _send_all(self) -> None:
        """Send at least one batch, as a heartbeat, and all buffered output."""
        while True:
            self._batch += 1
            if not self._send(*self._take()) or not self._waiting:
                return

    def _take(self) -> tuple[bytes, int]:
        with self._lock:
            parts: list[bytes] = []
            size = 0
            while self._waiting and (not parts or size + len(self._waiting[0]) <= MAX_BATCH_BYTES):
                parts.append(self._waiting.popleft())
                size += len(parts[-1])
            self._waiting_bytes -= size
            dropped, self._dropped = self._dropped, 0
            return b"".join(parts), dropped

    def _send(self, body: bytes, dropped: int) -> bool:
        """Send the batch until it is accepted; return False if the run is lost."""
        headers = {BATCH: str(self._batch), DROPPED_BYTES: str(dropped)}
        while not self._lost.is_set():
            try:
                response = self._session.post(self._url, data=body, headers=headers, timeout=_TIMEOUT)
                if response.status_code in _LOST_STATUSES:
                    self._lose_run("the server has withdrawn the run")
                    return False
                if response.status_code >= 500:
                    # The server responds, but its database may be unavailable.
                    self._responded_at = time.monotonic()
                response.raise_for_status()
            except requests.RequestException:
                if time.monotonic() - self._responded_at > self._lease_seconds:
                    self._lose_run(f"the server could not be reached for {self._lease_seconds:g} s")
                    return False
                # Retry with the same number: the server may have accepted the batch before the connection failed.
                self._lost.wait(_LOG_SECONDS)
            else:
                self._responded_at = time.monotonic()
                return True
        return False

    def _lose_run(self, reason: str) -> None:
        log.info("%s", reason)
        self.lost_reason = reason
        self._lost.set()
