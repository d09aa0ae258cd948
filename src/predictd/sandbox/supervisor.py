"""Following one run from its start to its end: frames, log, clock, memory, and that nothing of it survives."""

import logging
import os
import selectors
import signal
import threading
import time
from collections.abc import Callable

from predictd.domain.errors import CancelledError
from predictd.domain.limits import MIB, Limits
from predictd.sandbox.handle import Launched, RunLost
from predictd.sandbox.protocol import (
    AnswerLimits,
    BadFrame,
    Frame,
    FrameReader,
    Modules,
    PickleVersions,
    PlatformTrouble,
    ReportedFailure,
    Result,
    Stage,
    Tables,
    TooLarge,
)
from predictd.sandbox.resource_group import ResourceGroup
from predictd.sandbox.verdict import Evidence

log = logging.getLogger(__name__)

_START_SECONDS = 120.0
_TICK_SECONDS = 0.1
_CHUNK = 64 * 1024
_ANSWER_CHUNK = 256 * 1024
_STARTUP_KEPT = 8 * 1024
_DEATH_SECONDS = 2.0
_KILLED = 128 + signal.SIGKILL


_CUT = "it stopped in the middle of a frame"


class RunCancelled(CancelledError):
    """The run was cancelled before it ended."""


class Follower:
    """Collects the evidence of one run on data of `rows` rows; reads its pipes, and no file it may have written."""

    def __init__(
        self,
        launched: Launched,
        group: ResourceGroup,
        limits: Limits,
        *,
        rows: int,
        on_log: Callable[[bytes], None],
        on_started: Callable[[], None] | None,
        cancel: threading.Event | None,
    ) -> None:
        self.seen = Evidence()
        self._launched = launched
        self._group = group
        self._limits = limits
        self._on_log = on_log
        self._on_started = on_started
        self._cancel = cancel
        self._reader = FrameReader(AnswerLimits(expected=rows, output_bytes=limits.output_bytes))
        self._printed = 0
        self._startup = bytearray()
        self._is_cut = False
        self._since = time.monotonic()
        self._deadline = self._since + _START_SECONDS
        self._next_look = self._since

    def follow(self) -> Evidence:
        """Wait for the end, kill what is left and tell what was seen.

        Raises:
            RunCancelled: `cancel` was set.
        """
        try:
            self._wait()
            self._drain_log()
        finally:
            self._end()
        if not self.seen.model_started:
            log.error("the sandbox did not start: %s", self._startup.decode("utf-8", "replace"))
        return self.seen

    def _wait(self) -> None:
        pipes = {self._launched.answer: self._read_answer, self._launched.log: self._read_log}
        with selectors.DefaultSelector() as selector:
            for descriptor in pipes:
                os.set_blocking(descriptor, False)
            for descriptor in (*pipes, self._launched.ended):
                selector.register(descriptor, selectors.EVENT_READ)
            while not self._is_over():
                ready = {key.fd for key, _ in selector.select(self._patience())}
                # The answer first: what was printed after the model started must not be taken for the start's.
                for descriptor in [fd for fd in pipes if fd in ready]:
                    if not pipes[descriptor]():
                        selector.unregister(descriptor)
                        ready.discard(descriptor)
                if ready == {self._launched.ended}:
                    self._take_end()
                    return

    def _take_end(self) -> None:
        try:
            self.seen.exit_code = self._launched.exit_code()
        except RunLost as error:
            self.seen.lost = error.message
        # Whoever is killed stops where it is, which says nothing of what it wrote.
        if self._is_cut and self.seen.lost is None and self.seen.exit_code != _KILLED:
            self.seen.bad_output = _CUT

    def _is_over(self) -> bool:
        """Whether enough was seen to end the run, after a look at the clock, the memory and the cancellation."""
        seen = self.seen
        if seen.predictions or seen.reported or seen.trouble or seen.bad_output or seen.too_large:
            return True
        if self._cancel is not None and self._cancel.is_set():
            raise RunCancelled
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + _TICK_SECONDS
            if self._group.ran_out_of_memory():
                return True
        if now < self._deadline:
            return False
        if self._is_cut:
            self.seen.bad_output = _CUT
            return True
        seen.timed_out = seen.model_started
        seen.start_timed_out = not seen.model_started
        return True

    def _patience(self) -> float:
        return max(0.0, min(_TICK_SECONDS, self._deadline - time.monotonic()))

    def _read_answer(self) -> bool:
        data = _read(self._launched.answer, _ANSWER_CHUNK)
        if data == b"" and not self._reader.is_between_frames:
            # Its death, which says more, comes within a moment if it is why.
            self._is_cut = True
            self._deadline = min(self._deadline, time.monotonic() + _DEATH_SECONDS)
        try:
            for frame in self._reader.feed(data or b""):
                self._take(frame)
        except BadFrame as error:
            self.seen.bad_output = str(error)
        except TooLarge as error:
            self.seen.too_large = str(error)
        return data != b""

    def _take(self, frame: Frame) -> None:
        match frame:
            case Stage(name=name):
                self._begin(name)
            case PickleVersions():
                self.seen.versions = frame
            case ReportedFailure():
                self.seen.reported = frame
            case PlatformTrouble():
                self.seen.trouble = frame
            case Modules(names=names):
                self.seen.imports = names
            case Tables(file=file):
                self.seen.tables = file
            case Result(predictions=predictions):
                self.seen.predictions = predictions

    def _begin(self, stage: str) -> None:
        self._end_stage()
        self.seen.stage = stage
        if stage == "import":
            self._launched.started()
            if self._on_started is not None:
                self._on_started()
        if stage == "unpickle":
            self._deadline = time.monotonic() + self._limits.seconds

    def _end_stage(self) -> None:
        now = time.monotonic()
        if self.seen.stage is not None:
            self.seen.stages[self.seen.stage] = now - self._since
        self._since = now

    def _read_log(self) -> bool:
        data = _read(self._launched.log)
        if data and not self.seen.model_started:
            self._startup = (self._startup + data)[-_STARTUP_KEPT:]
        elif data:
            self._printed += len(data)
            self._on_log(data)
            if self._printed > self._limits.log_stop_bytes:
                self.seen.too_large = f"{self._limits.log_stop_bytes / MIB:.0f} MiB of log"
        return data != b""

    def _drain_log(self) -> None:
        """What is in the pipe already; a model that still prints does not keep us here."""
        while self._printed <= self._limits.log_stop_bytes and (data := _read(self._launched.log)):
            self._printed += len(data)
            if self.seen.model_started:
                self._on_log(data)
            else:
                self._startup += data

    def _end(self) -> None:
        """Kill all of the run; on return none of its processes is left."""
        self._end_stage()
        self._launched.kill()
        self.seen.out_of_memory = self._group.ran_out_of_memory()
        self.seen.peak_bytes = self._group.peak_bytes()
        # Before the process is waited for, so that its pid means no other yet.
        self._group.close()
        self._launched.release()


def _read(descriptor: int, most: int = _CHUNK) -> bytes | None:
    """Some bytes, b'' at the end, None when there are none yet."""
    try:
        return os.read(descriptor, most)
    except BlockingIOError:
        return None
