"""Supervise one run: read its frames and its log, enforce its limits, and kill all of its processes."""

import logging
import os
import selectors
import signal
import threading
import time
from collections.abc import Callable

from predictd.domain.errors import CancelledError
from predictd.domain.limits import MIB, Limits
from predictd.sandbox.handle import RunHandle, RunLostError
from predictd.sandbox.protocol import (
    Frame,
    FrameError,
    FrameReader,
    Modules,
    PickleVersions,
    ReportedFailure,
    ReportedPlatformFailure,
    Result,
    ResultLimits,
    ResultTooLargeError,
    Stage,
    Tables,
)
from predictd.sandbox.resource_group import ResourceGroup
from predictd.sandbox.verdict import Evidence

log = logging.getLogger(__name__)

_START_SECONDS = 120.0
_TICK_SECONDS = 0.1
_LOG_CHUNK = 64 * 1024
_FRAMES_CHUNK = 256 * 1024
_MAX_STARTUP_OUTPUT = 8 * 1024
_DEATH_SECONDS = 2.0
_KILLED = 128 + signal.SIGKILL


_INCOMPLETE = "it stopped in the middle of a frame"


class RunCancelledError(CancelledError):
    """The run was cancelled before it ended."""


class RunSupervisor:
    """Collects the evidence of one run on data with `rows` rows; reads its pipes, and no file that it can write."""

    def __init__(
        self,
        handle: RunHandle,
        group: ResourceGroup,
        limits: Limits,
        *,
        rows: int,
        on_log: Callable[[bytes], None],
        on_started: Callable[[], None] | None,
        cancel: threading.Event | None,
    ) -> None:
        self.evidence = Evidence()
        self._handle = handle
        self._group = group
        self._limits = limits
        self._on_log = on_log
        self._on_started = on_started
        self._cancel = cancel
        self._reader = FrameReader(ResultLimits(expected=rows, output_bytes=limits.output_bytes))
        self._printed = 0
        self._startup = bytearray()
        self._is_incomplete = False
        self._stage_started_at = time.monotonic()
        self._deadline = self._stage_started_at + _START_SECONDS
        self._next_check = self._stage_started_at

    def supervise(self) -> Evidence:
        """Wait for the end, kill the remaining processes and return the evidence.

        Raises:
            RunCancelledError: `cancel` was set.
        """
        try:
            self._wait()
            self._drain_log()
        finally:
            self._kill()
        if not self.evidence.model_started:
            log.error("the sandbox did not start: %s", self._startup.decode("utf-8", "replace"))
        return self.evidence

    def _wait(self) -> None:
        pipes = {self._handle.channel: self._read_frames, self._handle.log: self._read_log}
        with selectors.DefaultSelector() as selector:
            for descriptor in pipes:
                os.set_blocking(descriptor, False)
            for descriptor in (*pipes, self._handle.ended):
                selector.register(descriptor, selectors.EVENT_READ)
            while not self._is_over():
                ready = {key.fd for key, _ in selector.select(self._select_seconds())}
                # Frames first: output of the model must not be taken for output of the start.
                for descriptor in [fd for fd in pipes if fd in ready]:
                    if not pipes[descriptor]():
                        selector.unregister(descriptor)
                        ready.discard(descriptor)
                if ready == {self._handle.ended}:
                    self._record_exit()
                    return

    def _record_exit(self) -> None:
        try:
            self.evidence.exit_code = self._handle.exit_code()
        except RunLostError as error:
            self.evidence.lost = error.message
        # A killed process may stop within a frame.
        if self._is_incomplete and self.evidence.lost is None and self.evidence.exit_code != _KILLED:
            self.evidence.bad_output = _INCOMPLETE

    def _is_over(self) -> bool:
        """Check results, cancellation, memory and time; return whether to end the run."""
        evidence = self.evidence
        if (
            evidence.predictions
            or evidence.reported
            or evidence.platform_failure
            or evidence.bad_output
            or evidence.too_large
        ):
            return True
        if self._cancel is not None and self._cancel.is_set():
            raise RunCancelledError
        now = time.monotonic()
        if now >= self._next_check:
            self._next_check = now + _TICK_SECONDS
            if self._group.ran_out_of_memory():
                return True
        if now < self._deadline:
            return False
        if self._is_incomplete:
            self.evidence.bad_output = _INCOMPLETE
            return True
        evidence.timed_out = evidence.model_started
        evidence.start_timed_out = not evidence.model_started
        return True

    def _select_seconds(self) -> float:
        return max(0.0, min(_TICK_SECONDS, self._deadline - time.monotonic()))

    def _read_frames(self) -> bool:
        data = _read(self._handle.channel, _FRAMES_CHUNK)
        if data == b"" and not self._reader.is_between_frames:
            # If the process died, its exit code follows shortly and is more specific.
            self._is_incomplete = True
            self._deadline = min(self._deadline, time.monotonic() + _DEATH_SECONDS)
        try:
            for frame in self._reader.feed(data or b""):
                self._record(frame)
        except FrameError as error:
            self.evidence.bad_output = str(error)
        except ResultTooLargeError as error:
            self.evidence.too_large = str(error)
        return data != b""

    def _record(self, frame: Frame) -> None:
        match frame:
            case Stage(name=name):
                self._start_stage(name)
            case PickleVersions():
                self.evidence.versions = frame
            case ReportedFailure():
                self.evidence.reported = frame
            case ReportedPlatformFailure():
                self.evidence.platform_failure = frame
            case Modules(names=names):
                self.evidence.imports = names
            case Tables(file=file):
                self.evidence.tables = file
            case Result(predictions=predictions):
                self.evidence.predictions = predictions

    def _start_stage(self, stage: str) -> None:
        self._end_stage()
        self.evidence.stage = stage
        if stage == "import":
            self._handle.on_runner_started()
            if self._on_started is not None:
                self._on_started()
        if stage == "unpickle":
            self._deadline = time.monotonic() + self._limits.seconds

    def _end_stage(self) -> None:
        now = time.monotonic()
        if self.evidence.stage is not None:
            self.evidence.stages[self.evidence.stage] = now - self._stage_started_at
        self._stage_started_at = now

    def _read_log(self) -> bool:
        data = _read(self._handle.log)
        if data and not self.evidence.model_started:
            self._startup = (self._startup + data)[-_MAX_STARTUP_OUTPUT:]
        elif data:
            self._printed += len(data)
            self._on_log(data)
            if self._printed > self._limits.log_stop_bytes:
                self.evidence.too_large = f"{self._limits.log_stop_bytes / MIB:.0f} MiB of log"
        return data != b""

    def _drain_log(self) -> None:
        """Read the remaining output, up to the limit even if the model still prints."""
        while self._printed <= self._limits.log_stop_bytes and (data := _read(self._handle.log)):
            self._printed += len(data)
            if self.evidence.model_started:
                self._on_log(data)
            else:
                self._startup += data

    def _kill(self) -> None:
        """Kill all processes of the run; on return none is left."""
        self._end_stage()
        self._handle.kill()
        self.evidence.out_of_memory = self._group.ran_out_of_memory()
        self.evidence.peak_bytes = self._group.peak_bytes()
        # Before waiting for the process, so that its pid is not reused.
        self._group.close()
        self._handle.release()


def _read(descriptor: int, size: int = _LOG_CHUNK) -> bytes | None:
    """Read some bytes; b'' at the end, None if there are none yet."""
    try:
        return os.read(descriptor, size)
    except BlockingIOError:
        return None
