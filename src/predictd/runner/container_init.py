"""The first process of a container: wait for the go-ahead of the server, then run the model as a child.

A container's first process ignores signals that a model may send to itself, and adopts orphans, so the model gets a
process of its own. Standard input receives one byte when the server has set the limits. Standard output is the channel;
the model prints to standard error.
"""

import json
import os
import select
import signal
import sys
from typing import NoReturn

from . import syscalls

_CHANNEL = syscalls.FIRST_DESCRIPTOR
# How often dead orphans are waited for.
_ORPHANS_MILLISECONDS = 500


def main() -> NoReturn:
    """Run the runner in a child and exit with its exit code, or 128 plus the number of its signal."""
    go_ahead = os.read(0, 1)
    if not go_ahead:
        sys.exit("the server has ended")
    # The model could open standard input of this process for writing, which would hide the end of the server.
    syscalls.set_dumpable(False)
    child = os.fork()
    if child == 0:
        _become_the_runner()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _wait(child)


def _wait(child: int) -> NoReturn:
    """Exit with the child, or immediately when standard input closes: then the server has ended."""
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.register(os.pidfd_open(child), select.POLLIN)
    while True:
        ready = dict(poll.poll(_ORPHANS_MILLISECONDS))
        if 0 in ready and not os.read(0, 1):
            # The kernel kills all other processes of the pid namespace.
            os._exit(1)
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else 128 - code)


def _become_the_runner() -> NoReturn:
    syscalls.set_dumpable(True)
    os.dup2(1, _CHANNEL)
    os.dup2(2, 1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    syscalls.close_descriptors(_CHANNEL + 1)
    os.setsid()
    program = json.loads(sys.argv[1])["program"]
    if program:
        os.execv(sys.executable, [sys.executable, *program])  # noqa: S606
    from .main import main as run  # noqa: PLC0415 (keeps the first process small)

    run()
