"""The process that parsers are forked from: it imports their modules and never reads an untrusted byte.

`main` gets a SOCK_SEQPACKET socket as an inherited descriptor. Each packet is one request:
JSON with the keys `parser` ('module:function'), `arguments`, `memory_bytes` and `seconds`, and the descriptors
[control, result, *files]. A supervisor is forked for each request. It forks the parser, waits for its end or that of
`control`, and writes its outcome to `control` as one line of JSON:

    {"exit": code}    as os.waitstatus_to_exitcode has it
    {"timeout": true}

The parser calls the function with the files and arguments, and writes to `result` one byte and its content: RESULT,
INVALID with the message of an InvalidInputError, or ERROR with the name of the type of any other exception.
"""

import gc
import importlib
import json
import math
import os
import select
import signal
import socket
from contextlib import ExitStack
from typing import Any

from predictd.domain.errors import InvalidInputError
from predictd.parsing.confinement import compile_filter, confine

MAX_REQUEST_BYTES = 64 * 1024
MAX_FILES = 60
RESULT, INVALID, ERROR = b"R", b"I", b"E"
OUT_OF_MEMORY_EXIT = 10
PLATFORM_EXIT = 11


def main(descriptor: int) -> None:
    """Serve the requests on the socket until its other end closes."""
    requests = socket.socket(fileno=descriptor)
    # No process waits for the supervisors.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    syscall_filter = compile_filter()
    while True:
        content, descriptors, _, _ = socket.recv_fds(requests, MAX_REQUEST_BYTES, MAX_FILES + 2)
        if not content:
            return
        try:
            _serve(requests, json.loads(content), descriptors, syscall_filter)
        finally:
            for received in descriptors:
                os.close(received)


def _serve(requests: socket.socket, request: dict[str, Any], descriptors: list[int], syscall_filter: Any) -> None:
    module, _, name = request["parser"].partition(":")
    function = getattr(importlib.import_module(module), name)
    # Keeps garbage collections in the children from writing to imported modules, so their memory stays shared.
    gc.freeze()
    if os.fork():
        return
    # The supervisor; it must never return to the loop.
    status = 1
    try:
        requests.close()
        _supervise(function, request, descriptors, syscall_filter)
        status = 0
    finally:
        os._exit(status)


def _supervise(function: Any, request: dict[str, Any], descriptors: list[int], syscall_filter: Any) -> None:
    control, result, *files = descriptors
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        _parse(function, request, result, files, syscall_filter)
    for descriptor in (result, *files):
        os.close(descriptor)
    child = os.pidfd_open(pid)
    # `control` becomes readable when the server closes it.
    ready, _, _ = select.select([child, control], [], [], request["seconds"])
    if child not in ready:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    outcome = {"timeout": True} if not ready else {"exit": os.waitstatus_to_exitcode(status)}
    os.write(control, json.dumps(outcome).encode() + b"\n")


def _parse(function: Any, request: dict[str, Any], result: int, descriptors: list[int], syscall_filter: Any) -> None:
    """Confine this process and run the parser; never return."""
    status = PLATFORM_EXIT
    try:
        result, *descriptors = confine(
            [result, *descriptors],
            memory_bytes=request["memory_bytes"],
            cpu_seconds=max(1, math.ceil(request["seconds"])),
            syscall_filter=syscall_filter,
        )
        _call_parser(function, request["arguments"], result, descriptors)
        status = 0
    except MemoryError:
        status = OUT_OF_MEMORY_EXIT
    except Exception as error:  # noqa: BLE001 (for the server's log)
        os.write(result, ERROR + repr(error).encode("utf-8", "replace")[:1000])
    finally:
        os._exit(status)


def _call_parser(function: Any, arguments: dict[str, Any], result: int, descriptors: list[int]) -> None:
    with ExitStack() as stack:
        files = [stack.enter_context(os.fdopen(descriptor, "rb")) for descriptor in descriptors]
        try:
            parts = [RESULT, *function(files, **arguments)]
        except MemoryError:
            raise
        except InvalidInputError as error:
            parts = [INVALID, error.message.encode("utf-8", "replace")]
        except Exception as error:
            # A call that the confinement refuses, or a missing module, is not the fault of the file.
            if isinstance(error, ImportError) or getattr(error, "errno", None) is not None:
                raise
            parts = [ERROR, type(error).__name__.encode()]
        for part in parts:
            view = memoryview(part).cast("B")
            while view:
                view = view[os.write(result, view) :]
