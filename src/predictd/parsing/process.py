"""Parsing untrusted files from the server's side: start, deadline, bounded result, and what its end means."""

import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from predictd.domain.errors import InvalidInputError, OutageError
from predictd.domain.limits import MIB
from predictd.domain.text import replace_unprintable
from predictd.parsing.fork_server import ERROR, INVALID, MOST_FILES, OUT_OF_MEMORY_EXIT, PLATFORM_EXIT, RESULT

log = logging.getLogger(__name__)

Parser = Callable[..., Iterable[bytes | memoryview]]
"""A function of a module. It is called with a list of open files and JSON arguments, and returns parts of a result."""

_PROGRAM = "from predictd.parsing.fork_server import main; main({})"
_MOST_MESSAGE = 4096
_CHUNK = 256 * 1024
_MOST_STATUS = 256
# Beyond the parser's own deadline: the supervisor's fork and report.
_GRACE_SECONDS = 30.0
# Parsers that this process has at once; further ones wait.
_PLACES = threading.BoundedSemaphore(4)


@dataclass(frozen=True, kw_only=True)
class ParserLimits:
    """What one parser may use.

    Attributes:
        memory_bytes: growth of its address space beyond that of its modules.
        result_bytes: size of its result.
        seconds: wall clock, and processor time.
    """

    memory_bytes: int
    result_bytes: int
    seconds: float = 60.0


def parse_confined(
    parser: Parser, files: Sequence[Path], limits: ParserLimits, arguments: Mapping[str, object] | None = None
) -> bytes:
    """Return what `parser(files, **arguments)` returns, called in a confined process; at most `limits.result_bytes`.

    The result is the word of untrusted bytes: check its counts and values. The first call in a process takes about half
    a second, a further call some 20 ms more than the parsing.

    Raises:
        InvalidInputError: the parser raised it, or the files need more memory or time than the limits allow.
        OutageError: the process could not start, or was killed from outside.
        OSError: a file can't be opened.
    """
    request = {
        "parser": f"{parser.__module__}:{parser.__qualname__}",
        "arguments": dict(arguments or {}),
        "memory_bytes": limits.memory_bytes,
        "seconds": limits.seconds,
    }
    if len(files) > MOST_FILES:
        raise InvalidInputError(f"There are {len(files)} files; at most {MOST_FILES} can be read at once.")
    names = ", ".join(path.name for path in files[:3])
    with _PLACES, ExitStack() as stack:
        opened = [stack.enter_context(path.open("rb")) for path in files]
        control, control_there = socket.socketpair()
        stack.enter_context(control)
        reading, writing = os.pipe()
        result = stack.enter_context(os.fdopen(reading, "rb", buffering=0))
        with control_there, os.fdopen(writing, "wb", buffering=0) as there:
            descriptors = [control_there.fileno(), there.fileno(), *(file.fileno() for file in opened)]
            _FORK_SERVER.send(json.dumps(request).encode(), descriptors)
        content, outcome = _Reply(control, result, limits, names).read()
    return _judged(content, outcome, limits, names)


class _Reply:
    def __init__(self, control: socket.socket, result: BinaryIO, limits: ParserLimits, names: str) -> None:
        self._control = control
        self._result = result
        self._limits = limits
        self._names = names
        self._deadline = time.monotonic() + limits.seconds + _GRACE_SECONDS

    def read(self) -> tuple[bytearray, dict[str, object]]:
        """Read the result to its end, then how the process ended."""
        content = bytearray()
        most = max(self._limits.result_bytes, _MOST_MESSAGE) + 1
        while chunk := self._next(self._result.fileno(), _CHUNK):
            content += chunk
            if len(content) > most:
                raise InvalidInputError(
                    f"{self._names} can't be read: it unpacks to more than {self._limits.result_bytes} bytes; "
                    "send a smaller file."
                )
        status = b""
        while len(status) < _MOST_STATUS and (chunk := self._next(self._control.fileno(), _MOST_STATUS)):
            status += chunk
        try:
            outcome: dict[str, object] = json.loads(status)
        except ValueError as error:
            raise OutageError("The process that reads uploaded files did not start; try again.") from error
        return content, outcome

    def _next(self, descriptor: int, size: int) -> bytes:
        # Not select(), which takes no descriptor from 1024 on.
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(1000 * max(0.0, self._deadline - time.monotonic())):
            raise OutageError("The process that reads uploaded files does not respond; try again.")
        return os.read(descriptor, size)


def _judged(content: bytearray, outcome: dict[str, object], limits: ParserLimits, names: str) -> bytes:
    """The result, or the error that the end of the process means."""
    kind, code = bytes(content[:1]), outcome.get("exit")
    if outcome.get("timeout") or code == -signal.SIGXCPU:
        raise InvalidInputError(
            f"{names} can't be read within {limits.seconds:g} seconds; write the file again, with the needed rows only."
        )
    if code == OUT_OF_MEMORY_EXIT:
        raise InvalidInputError(
            f"{names} needs more than {limits.memory_bytes // MIB} MiB of memory to be read; write the file again, "
            "with the needed rows and columns only."
        )
    if code == 0 and kind == RESULT:
        del content[:1]
        return bytes(content)
    # A message may quote the file: a NUL, for one, is stored by no database.
    text = content[1:].decode("utf-8", "replace")[:_MOST_MESSAGE]
    text = replace_unprintable(text, " ")
    if code == 0 and kind == INVALID:
        raise InvalidInputError(text)
    if code == 0 and kind == ERROR:
        raise InvalidInputError(f"{names} can't be read: its content is damaged ({text}); write the file again.")
    if code in {PLATFORM_EXIT, -signal.SIGKILL}:
        log.error("the parser of %s failed with exit code %s: %r", names, code, text)
        raise OutageError(f"The process that reads uploaded files could not do its work (exit code {code}); try again.")
    raise InvalidInputError(
        f"{names} can't be read: its content is damaged (the parser ended with {code}); write the file again."
    )


class _ForkServer:
    """One fork server of this process, started when it is first needed and again when it has died."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def send(self, request: bytes, descriptors: list[int]) -> None:
        with self._lock:
            if self._socket is not None:
                with suppress(OSError):
                    socket.send_fds(self._socket, [request], descriptors)
                    return
            self._start()
            assert self._socket is not None
            try:
                socket.send_fds(self._socket, [request], descriptors)
            except OSError as error:
                raise OutageError(f"The process that reads uploaded files did not start: {error.strerror}.") from error

    def _start(self) -> None:
        if self._socket is not None:
            self._socket.close()
        if self._process is not None:
            self._process.wait()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Nothing of the server's environment, which may hold passwords. One arena and Arrow's plain allocator, so that
        # the limit of the address space is one of memory.
        environment = {
            "PATH": os.defpath,
            "LANG": "C.UTF-8",
            "ARROW_DEFAULT_MEMORY_POOL": "system",
            "MALLOC_ARENA_MAX": "1",
            **dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
        }
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-c", _PROGRAM.format(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    env=environment,
                )
            except OSError as error:
                ours.close()
                self._socket = None
                raise OutageError(f"The process that reads uploaded files can't start: {error.strerror}.") from error
        self._socket = ours


_FORK_SERVER = _ForkServer()
