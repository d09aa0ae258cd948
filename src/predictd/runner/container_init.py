"""The first process of a container: waits until it is told to go on, then runs the model as its child.

A container's first process ignores the signals that a model may send to itself, and takes in orphans; so it is not the
model's own. Standard input brings one byte once the parent has set the limits. Standard output is the pipe of the
answer; what the model prints goes to standard error.
"""

import json
import os
import select
import signal
import sys
from typing import NoReturn

from . import syscalls

_ANSWER = syscalls.FIRST_DESCRIPTOR
# How often orphans are taken in.
_ORPHANS_MILLISECONDS = 500


def main() -> NoReturn:
    """Run the runner's main in a child and end as it ends: with its exit code, or 128 and the number of its signal."""
    go = os.read(0, 1)
    if not go:
        sys.exit("the server is gone")
    # The model could open its standard input for writing, and keep it from seeing the server's end.
    syscalls.be_opaque(True)
    child = os.fork()
    if child == 0:
        _become_the_runner()
    for signalled in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signalled, signal.SIG_IGN)
    _wait(child)


def _wait(child: int) -> NoReturn:
    """End with the child, or at once when standard input does: then the server is gone."""
    waiting = select.poll()
    waiting.register(0, select.POLLIN)
    waiting.register(os.pidfd_open(child), select.POLLIN)
    while True:
        ready = dict(waiting.poll(_ORPHANS_MILLISECONDS))
        if 0 in ready and not os.read(0, 1):
            # The kernel kills all that is left in the pid namespace, here and below.
            os._exit(1)
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else 128 - code)


def _become_the_runner() -> NoReturn:
    syscalls.be_opaque(False)
    os.dup2(1, _ANSWER)
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    syscalls.close_descriptors(_ANSWER + 1)
    os.setsid()
    program = json.loads(sys.argv[1])["program"]
    if program:
        os.execv(sys.executable, [sys.executable, *program])  # noqa: S606
    from .main import main as run  # noqa: PLC0415 (the first process stays small)

    run()
