"""Start parsers of untrusted files from the server: deadline, size limit of the result, and outcome."""

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
from predictd.parsing.parser_server import ERROR, INVALID, MAX_FILES, OUT_OF_MEMORY_EXIT, PLATFORM_EXIT, RESULT

log = logging.getLogger(__name__)

Parser = Callable[..., Iterable[bytes | memoryview]]
"""A module-level function that takes a list of open files and JSON arguments, and returns parts of a result."""

_PROGRAM = "from predictd.parsing.parser_server import main; main({})"
_MAX_MESSAGE = 4096
_CHUNK = 256 * 1024
_MAX_STATUS = 256
# Added to the parser's deadline, for the supervisor.
_GRACE_SECONDS = 30.0
# Limits the concurrent parsers of this process; others wait.
_SLOTS = threading.BoundedSemaphore(4)


@dataclass(frozen=True, kw_only=True)
class ParserLimits:
    """Limits of one parser.

    Attributes:
        memory_bytes: growth of its address space after importing its modules.
        result_bytes: size of its result.
        seconds: elapsed time, and processor time.
    """

    memory_bytes: int
    result_bytes: int
    seconds: float = 60.0


def parse_confined(
    parser: Parser, files: Sequence[Path], limits: ParserLimits, arguments: Mapping[str, object] | None = None
) -> bytes:
    """Return what `parser(files, **arguments)` returns, called in a confined process; at most `limits.result_bytes`.

    The result is untrusted: check its counts and values. The first call in a process takes about half
    a second, further calls some 20 ms more than the parsing.

    Raises:
        InvalidInputError: The parser raised it, or the files exceed the limits on memory or time.
        OutageError: The process could not start, or was killed from outside.
        OSError: A file can't be opened.
    """
    request = {
        "parser": f"{parser.__module__}:{parser.__qualname__}",
        "arguments": dict(arguments or {}),
        "memory_bytes": limits.memory_bytes,
        "seconds": limits.seconds,
    }
    if len(files) > MAX_FILES:
        raise InvalidInputError(f"There are {len(files)} files; at most {MAX_FILES} can be read at once.")
    names = ", ".join(path.name for path in files[:3])
    with _SLOTS, ExitStack() as stack:
        open_files = [stack.enter_context(path.open("rb")) for path in files]
        control, parser_control = socket.socketpair()
        stack.enter_context(control)
        result_read, result_write = os.pipe()
        result = stack.enter_context(os.fdopen(result_read, "rb", buffering=0))
        with parser_control, os.fdopen(result_write, "wb", buffering=0) as parser_result:
            descriptors = [parser_control.fileno(), parser_result.fileno(), *(file.fileno() for file in open_files)]
            _FORK_SERVER.send(json.dumps(request).encode(), descriptors)
        content, outcome = _Reply(control, result, limits, names).read()
    return _interpret(content, outcome, limits, names)


class _Reply:
    def __init__(self, control: socket.socket, result: BinaryIO, limits: ParserLimits, names: str) -> None:
        self._control = control
        self._result = result
        self._limits = limits
        self._names = names
        self._deadline = time.monotonic() + limits.seconds + _GRACE_SECONDS

    def read(self) -> tuple[bytearray, dict[str, object]]:
        """Read the result to its end, then the outcome of the process."""
        content = bytearray()
        max_bytes = max(self._limits.result_bytes, _MAX_MESSAGE) + 1
        while chunk := self._next(self._result.fileno(), _CHUNK):
            content += chunk
            if len(content) > max_bytes:
                raise InvalidInputError(
                    f"{self._names} can't be read: it unpacks to more than {self._limits.result_bytes} bytes; "
                    "send a smaller file."
                )
        status = b""
        while len(status) < _MAX_STATUS and (chunk := self._next(self._control.fileno(), _MAX_STATUS)):
            status += chunk
        try:
            outcome: dict[str, object] = json.loads(status)
        except ValueError as error:
            raise OutageError("The process that reads uploaded files did not start; try again.") from error
        return content, outcome

    def _next(self, descriptor: int, size: int) -> bytes:
        # Not select(), which fails for descriptors from 1024.
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(1000 * max(0.0, self._deadline - time.monotonic())):
            raise OutageError("The process that reads uploaded files does not respond; try again.")
        return os.read(descriptor, size)


def _interpret(content: bytearray, outcome: dict[str, object], limits: ParserLimits, names: str) -> bytes:
    """Return the result, or raise the error for the outcome of the process."""
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
    # A message may quote the file, with characters that databases can't store, such as NUL.
    text = content[1:].decode("utf-8", "replace")[:_MAX_MESSAGE]
    text = replace_unprintable(text, " ")
    if code == 0 and kind == INVALID:
        raise InvalidInputError(text)
    if code == 0 and kind == ERROR:
        raise InvalidInputError(f"{names} can't be read: its content is damaged ({text}); write the file again.")
    if code in {PLATFORM_EXIT, -signal.SIGKILL}:
        log.error("the parser of %s failed with exit code %s: %r", names, code, text)
        raise OutageError(f"The process that reads uploaded files failed (exit code {code}); try again.")
    raise InvalidInputError(
        f"{names} can't be read: its content is damaged (the parser ended with {code}); write the file again."
    )


class _ForkServer:
    """The fork server of this process, started on first use and restarted after it has died."""

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
        client_socket, server_socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Without the server's environment, which may hold passwords. One arena and Arrow's plain allocator, so that
        # the limit on the address space limits memory.
        environment = {
            "PATH": os.defpath,
            "LANG": "C.UTF-8",
            "ARROW_DEFAULT_MEMORY_POOL": "system",
            "MALLOC_ARENA_MAX": "1",
            **dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
        }
        with server_socket:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-c", _PROGRAM.format(server_socket.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[server_socket.fileno()],
                    env=environment,
                )
            except OSError as error:
                client_socket.close()
                self._socket = None
                raise OutageError(f"The process that reads uploaded files can't start: {error.strerror}.") from error
        self._socket = client_socket


_FORK_SERVER = _ForkServer()
