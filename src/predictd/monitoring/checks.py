"""Health checks: their states, running them in parallel, and the check of a disk.

Imports nothing of the server, so that `predictd doctor` runs without its dependencies.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from predictd.domain.errors import PredictdError

MIN_FREE_BYTES = 2 * 10**9
MIN_FREE_SHARE = 0.05
_TIMEOUT_SECONDS = 15.0
_GB = 10**9


class State(StrEnum):
    """The result of a check."""

    OK = "ok"
    WARN = "warn"
    """It works, but needs attention."""
    FAIL = "fail"
    """It does not work."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """A checked property; `remedy` is what to do about a problem, empty if there is nothing to do."""

    name: str
    state: State
    message: str
    remedy: str = ""

    @property
    def is_healthy(self) -> bool:
        """Return whether there is no problem."""
        return self.state is State.OK


RunCheck = Callable[[], Iterable[Check]]


def ok(name: str, message: str) -> Check:
    """Return a check without problems."""
    return Check(name=name, state=State.OK, message=message)


def warn(name: str, message: str, remedy: str) -> Check:
    """Return a check that needs attention."""
    return Check(name=name, state=State.WARN, message=message, remedy=remedy)


def fail(name: str, message: str, remedy: str = "") -> Check:
    """Return a failed check."""
    return Check(name=name, state=State.FAIL, message=message, remedy=remedy)


def run_checks(functions: Mapping[str, RunCheck], seconds: float = _TIMEOUT_SECONDS) -> list[Check]:
    """Run all functions in parallel and return their checks in order; an error or a timeout is a failed check."""
    results: dict[str, list[Check]] = {}

    def run(name: str, function: RunCheck) -> None:
        try:
            results[name] = list(function())
        except PredictdError as error:
            results[name] = [fail(name, error.message)]
        except Exception as error:  # noqa: BLE001 (any error is the result of the check)
            first_line = next(iter(str(error).splitlines()), "")[:300]
            results[name] = [fail(name, f"{type(error).__name__}: {first_line}")]

    threads = [
        threading.Thread(target=run, args=item, daemon=True, name=f"check-{item[0]}") for item in functions.items()
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    timeouts = {name: [fail(name, f"no response within {seconds:g} s", "See its log.")] for name in functions}
    return [check for name in functions for check in results.get(name, timeouts[name])]


def check_disk(name: str, folder: Path) -> Check:
    """Check that the file system of a folder is writable and has enough free space."""
    if not os.access(folder, os.W_OK):
        remedy = "Make its owner the user of the server, or choose another --data-dir."
        return fail(name, f"{folder} is not writable", remedy)
    status = os.statvfs(folder)
    free, total = status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize
    message = f"{free / _GB:.1f} of {total / _GB:.1f} GB are free at {folder}"
    remedy = "Free disk space, or limit the mapped data with PREDICTD_MAPPED_CACHE_GB."
    if free < MIN_FREE_BYTES:
        return fail(name, message, remedy)
    if free < MIN_FREE_SHARE * total:
        return warn(name, message, remedy)
    if status.f_files and status.f_favail < MIN_FREE_SHARE * status.f_files:
        return warn(name, f"{status.f_favail} of {status.f_files} inodes are free at {folder}", remedy)
    return ok(name, message)
