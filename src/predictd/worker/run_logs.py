"""Keeping what a model prints, while it runs."""

import threading
import time
from collections import deque
from collections.abc import Iterable

import sqlalchemy as sa

from predictd.db import Database
from predictd.db.models import Trigger, TriggerLog
from predictd.domain.limits import LOG_LINES
from predictd.domain.terminal import LINE_LENGTH, TerminalLines
from predictd.jobs.queue import Claim


class LogWriter:
    """Takes bytes as they come and stores lines as a terminal shows them.

    Of more than `kept_bytes`, or more than `LOG_LINES` lines, the newest stay.

    `write` only gathers, so that a slow database never holds up a model; `flush` stores. Safe to call from several
    threads.
    """

    def __init__(self, database: Database, claimed: Claim, kept_bytes: int) -> None:
        self._database = database
        self._claimed = claimed
        self._kept_bytes = kept_bytes
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._terminal = TerminalLines()
        self._pending: deque[tuple[int, str]] = deque()
        self._pending_bytes = 0
        self._stored: deque[tuple[int, int]] = deque()
        self._stored_bytes = 0
        self._cut_bytes = 0
        self._newest = 0
        self._in_doubt = False

    def write(self, chunk: bytes) -> None:
        """Take bytes of the model's output."""
        with self._lock:
            self._add(self._terminal.feed(chunk))

    def flush(self) -> None:
        """Store the lines that are complete; where that fails, the next call stores them."""
        with self._flushing:
            with self._lock:
                self._add(self._terminal.feed())
                pending, self._pending, self._pending_bytes = self._pending, deque(), 0
            if not pending:
                return
            before = self._state()
            try:
                if self._in_doubt:
                    self._find_stored(pending)
                    before = self._state()
                self._store(list(pending))
                self._in_doubt = False
            except Exception:
                self._stored, self._stored_bytes, self._cut_bytes, self._newest = before
                self._in_doubt = True
                with self._lock:
                    self._pending.extendleft(reversed(pending))
                    self._pending_bytes += sum(_size(text) for _, text in pending)
                raise

    def end(self, last_line: str | None = None) -> None:
        """Take one line of the platform's own after everything; the next `flush` stores all."""
        with self._lock:
            self._add(self._terminal.close())
            if last_line is not None:
                line = last_line.replace("\x00", "\N{REPLACEMENT CHARACTER}")
                self._append(line[at : at + LINE_LENGTH] for at in range(0, max(len(line), 1), LINE_LENGTH))

    def close(self) -> None:
        """Store everything."""
        self.end()
        self.flush()

    def _add(self, lines: Iterable[str]) -> None:
        """Take lines of the model's."""
        self._append(_quoted(line) for line in lines)

    def _append(self, texts: Iterable[str]) -> None:
        now = int(time.time() * 1000)
        for text in texts:
            self._pending.append((now, text))
            self._pending_bytes += _size(text)
        # Of a flood, only what can stay is stored at all.
        while self._pending_bytes > self._kept_bytes or len(self._pending) > LOG_LINES:
            size = _size(self._pending.popleft()[1])
            self._pending_bytes -= size
            self._cut_bytes += size

    def _state(self) -> tuple[deque[tuple[int, int]], int, int, int]:
        """What is known of the lines that are stored."""
        return deque(self._stored), self._stored_bytes, self._cut_bytes, self._newest

    def _find_stored(self, pending: deque[tuple[int, str]]) -> None:
        """Take out what an earlier call stored although it failed: the commit was done, but its answer got lost."""
        with self._database.read() as session:
            found = session.execute(
                sa.select(TriggerLog.sequence, TriggerLog.message)
                .where(
                    TriggerLog.trigger_id == self._claimed.trigger_id,
                    TriggerLog.attempt == self._claimed.attempt,
                    TriggerLog.sequence > self._newest,
                )
                .order_by(TriggerLog.sequence)
            ).all()
        for row in found:
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
                "trigger_id": self._claimed.trigger_id,
                "attempt": self._claimed.attempt,
                "timestamp": at,
                "message": message,
            }
            for at, message in pending
        ]
        with self._database.write() as session:
            insert = sa.insert(TriggerLog).returning(TriggerLog.sequence, sort_by_parameter_order=True)
            sequences = session.scalars(insert, rows).all()
            for sequence, (_, message) in zip(sequences, pending, strict=True):
                self._remember(sequence, message)
            self._cut(session)

    def _cut(self, session: sa.orm.Session) -> None:
        last_cut = None
        while self._stored_bytes > self._kept_bytes or len(self._stored) > LOG_LINES:
            last_cut, size = self._stored.popleft()
            self._stored_bytes -= size
            self._cut_bytes += size
        if last_cut is not None:
            session.execute(
                sa.delete(TriggerLog).where(
                    TriggerLog.trigger_id == self._claimed.trigger_id,
                    TriggerLog.attempt == self._claimed.attempt,
                    TriggerLog.sequence <= last_cut,
                )
            )
        if self._cut_bytes:
            session.execute(
                sa.update(Trigger)
                .where(Trigger.id == self._claimed.trigger_id, Trigger.attempt == self._claimed.attempt)
                .values(log_cut_bytes=self._cut_bytes)
            )


def keep_lines(
    session: sa.orm.Session, trigger_id: str, attempt: int, body: bytes, kept_bytes: int, cut_bytes: int = 0
) -> None:
    """Store lines of a model's output, as a `LogWriter` would; whoever stored those before them.

    Args:
        cut_bytes: what was cut before it came here.
    """
    now = int(time.time() * 1000)
    terminal = TerminalLines()
    texts = [_quoted(line) for line in (*terminal.feed(body), *terminal.close())]
    cut_bytes += sum(map(_size, texts[:-LOG_LINES]))
    texts = texts[-LOG_LINES:]
    of_run = (TriggerLog.trigger_id == trigger_id, TriggerLog.attempt == attempt)
    if texts:
        shared = {"trigger_id": trigger_id, "attempt": attempt, "timestamp": now}
        session.execute(sa.insert(TriggerLog), [shared | {"message": text} for text in texts])
    size = sa.func.length(TriggerLog.message) + 1
    total, lines = session.execute(sa.select(sa.func.sum(size), sa.func.count()).where(*of_run)).one()
    excess, surplus = (total or 0) - kept_bytes, lines - LOG_LINES
    if texts and (excess > 0 or surplus > 0):
        last = 0
        for sequence, length in session.execute(
            sa.select(TriggerLog.sequence, size).where(*of_run).order_by(TriggerLog.sequence)
        ):
            if excess <= 0 and surplus <= 0:
                break
            last, excess, surplus, cut_bytes = sequence, excess - length, surplus - 1, cut_bytes + length
        session.execute(sa.delete(TriggerLog).where(*of_run, TriggerLog.sequence <= last))
    if cut_bytes:
        session.execute(
            sa.update(Trigger)
            .where(Trigger.id == trigger_id, Trigger.attempt == attempt)
            .values(log_cut_bytes=Trigger.log_cut_bytes + cut_bytes)
        )


def _size(text: str) -> int:
    """What a line takes of what is kept; its end counts, so that empty ones are not free."""
    return len(text) + 1


def _quoted(line: str) -> str:
    """A line of the model's that could be taken for one of the platform's own is set apart."""
    return f"> {line}" if line.lstrip().startswith("[predictd]") else line
