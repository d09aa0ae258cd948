"""Storage of the output of a running model."""

import threading
import time
from collections import deque
from collections.abc import Iterable

import sqlalchemy as sa

from predictd.db import Database
from predictd.db.models import Run, RunLog
from predictd.domain.terminal import LINE_LENGTH, TerminalLines
from predictd.jobs.queue import Claim


class LogWriter:
    """Stores output as lines, as a terminal shows them; only the newest `max_bytes` are retained.

    `write` only buffers, so that a slow database never delays a model; `flush` stores. Thread-safe.
    """

    def __init__(self, database: Database, claimed: Claim, max_bytes: int) -> None:
        self._database = database
        self._claimed = claimed
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._terminal = TerminalLines()
        self._pending: deque[tuple[int, str]] = deque()
        self._pending_bytes = 0
        self._stored: deque[tuple[int, int]] = deque()
        self._stored_bytes = 0
        self._dropped_bytes = 0
        self._newest = 0
        self._in_doubt = False

    def write(self, chunk: bytes) -> None:
        """Buffer output of the model."""
        with self._lock:
            self._add(self._terminal.feed(chunk))

    def flush(self) -> None:
        """Store the complete lines; after a failure, the next call stores them."""
        with self._flushing:
            with self._lock:
                self._add(self._terminal.feed())
                pending, self._pending, self._pending_bytes = self._pending, deque(), 0
            if not pending:
                return
            previous_state = self._state()
            try:
                if self._in_doubt:
                    self._find_stored(pending)
                    previous_state = self._state()
                self._store(list(pending))
                self._in_doubt = False
            except Exception:
                self._stored, self._stored_bytes, self._dropped_bytes, self._newest = previous_state
                self._in_doubt = True
                with self._lock:
                    self._pending.extendleft(reversed(pending))
                    self._pending_bytes += sum(_size(text) for _, text in pending)
                raise

    def end(self, last_line: str | None = None) -> None:
        """End the output, optionally with a line of the platform; the next `flush` stores it."""
        with self._lock:
            self._add(self._terminal.close())
            if last_line is not None:
                line = last_line.replace("\x00", "\N{REPLACEMENT CHARACTER}")
                self._append(line[at : at + LINE_LENGTH] for at in range(0, max(len(line), 1), LINE_LENGTH))

    def close(self) -> None:
        """End the output and store it."""
        self.end()
        self.flush()

    def _add(self, lines: Iterable[str]) -> None:
        """Buffer lines of the model."""
        self._append(_quoted(line) for line in lines)

    def _append(self, texts: Iterable[str]) -> None:
        now = int(time.time() * 1000)
        for text in texts:
            self._pending.append((now, text))
            self._pending_bytes += _size(text)
        # Drop old lines before they are stored if the output exceeds the limit.
        while self._pending_bytes > self._max_bytes:
            size = _size(self._pending.popleft()[1])
            self._pending_bytes -= size
            self._dropped_bytes += size

    def _state(self) -> tuple[deque[tuple[int, int]], int, int, int]:
        """Return the state of the stored lines."""
        return deque(self._stored), self._stored_bytes, self._dropped_bytes, self._newest

    def _find_stored(self, pending: deque[tuple[int, str]]) -> None:
        """Remove lines that a failed call stored anyway: the commit succeeded, but the connection was lost."""
        with self._database.read() as session:
            rows = session.execute(
                sa.select(RunLog.sequence, RunLog.message)
                .where(
                    RunLog.run_id == self._claimed.run_id,
                    RunLog.attempt == self._claimed.attempt,
                    RunLog.sequence > self._newest,
                )
                .order_by(RunLog.sequence)
            ).all()
        for row in rows:
            if pending and pending[0][1] == row.message:
                pending.popleft()
            self._remember(row.sequence, row.message)

    def _remember(self, sequence: int, message: str) -> None:
        self._newest = sequence
        self._stored.append((sequence, _size(message)))
        self._stored_bytes += _size(message)

    def _store(self, pending: list[tuple[int, str]]) -> None:
        if not pending:
            return
        rows = [
            {
                "run_id": self._claimed.run_id,
                "attempt": self._claimed.attempt,
                "timestamp": at,
                "message": message,
            }
            for at, message in pending
        ]
        with self._database.write() as session:
            insert = sa.insert(RunLog).returning(RunLog.sequence, sort_by_parameter_order=True)
            sequences = session.scalars(insert, rows).all()
            for sequence, (_, message) in zip(sequences, pending, strict=True):
                self._remember(sequence, message)
            self._cut(session)

    def _cut(self, session: sa.orm.Session) -> None:
        last_cut = None
        while self._stored_bytes > self._max_bytes:
            last_cut, size = self._stored.popleft()
            self._stored_bytes -= size
            self._dropped_bytes += size
        if last_cut is not None:
            session.execute(
                sa.delete(RunLog).where(
                    RunLog.run_id == self._claimed.run_id,
                    RunLog.attempt == self._claimed.attempt,
                    RunLog.sequence <= last_cut,
                )
            )
        if self._dropped_bytes:
            session.execute(
                sa.update(Run)
                .where(Run.id == self._claimed.run_id, Run.attempt == self._claimed.attempt)
                .values(log_dropped_bytes=self._dropped_bytes)
            )


def store_lines(
    session: sa.orm.Session, run_id: str, attempt: int, body: bytes, max_bytes: int, dropped_bytes: int = 0
) -> None:
    """Append lines of model output, as a `LogWriter` would; any process may have stored the earlier lines.

    Args:
        dropped_bytes: bytes that the sender dropped.
    """
    now = int(time.time() * 1000)
    terminal = TerminalLines()
    texts = [_quoted(line) for line in (*terminal.feed(body), *terminal.close())]
    of_run = (RunLog.run_id == run_id, RunLog.attempt == attempt)
    if texts:
        shared = {"run_id": run_id, "attempt": attempt, "timestamp": now}
        session.execute(sa.insert(RunLog), [shared | {"message": text} for text in texts])
    size = sa.func.length(RunLog.message) + 1
    excess = (session.scalar(sa.select(sa.func.sum(size)).where(*of_run)) or 0) - max_bytes
    if texts and excess > 0:
        last = 0
        for sequence, length in session.execute(
            sa.select(RunLog.sequence, size).where(*of_run).order_by(RunLog.sequence)
        ):
            if excess <= 0:
                break
            last, excess, dropped_bytes = sequence, excess - length, dropped_bytes + length
        session.execute(sa.delete(RunLog).where(*of_run, RunLog.sequence <= last))
    if dropped_bytes:
        session.execute(
            sa.update(Run)
            .where(Run.id == run_id, Run.attempt == attempt)
            .values(log_dropped_bytes=Run.log_dropped_bytes + dropped_bytes)
        )


def _size(text: str) -> int:
    """Return the size of a line including its line break, so that empty lines count."""
    return len(text) + 1


def _quoted(line: str) -> str:
    """Mark a line of the model that looks like a line of the platform."""
    return f"> {line}" if line.lstrip().startswith("[predictd]") else line
