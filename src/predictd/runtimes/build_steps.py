"""Run one step of a runtime's build, and explain its failure."""

import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from predictd.domain.errors import SetupError
from predictd.runtimes.uv import uv_environment

STEP_SECONDS = 7200
_MAX_ERROR_LENGTH = 900

_DEFAULT_REMEDY = (
    "Check that the package index is reachable (UV_DEFAULT_INDEX, HTTPS_PROXY, SSL_CERT_FILE) and try again; "
    "finished downloads are cached."
)
_NO_WHEEL = "Choose a version with a wheel for this Python, because source distributions are not built."
_REMEDIES = (
    (("libgomp",), "Install OpenMP's library (apt-get install libgomp1) and try again."),
    (("no space left",), "Free disk space (a runtime takes 1.5 GB, a full one 8 GB) and try again."),
    (
        ("hash", "mismatch"),
        "The package index serves files that differ from the lock. Use another index (UV_DEFAULT_INDEX).",
    ),
    (("couldn't parse",), "Correct that requirement."),
    (("no usable wheels",), _NO_WHEEL),
    (("no wheels with",), _NO_WHEEL),
    (("network was disabled",), "UV_OFFLINE is set. Unset it, or require packages that are in uv's cache."),
    (("no solution found",), "Change the requirements so that compatible versions exist."),
)
"""(words in the output of a failed step, all required, remedy); the first match counts."""


def run_step(
    runtime: str,
    step: str,
    command: Sequence[str],
    *,
    folder: Path,
    inherit: Sequence[int] = (),
    check: bool = True,
    on_line: Callable[[str], None] = lambda line: None,
) -> None:
    """Run a command in `folder` whose files every user can read.

    Args:
        runtime: display name of the runtime, for the error.
        step: the step, for the error: 'installing the packages'.
        command: a program and its arguments.
        folder: its working directory.
        inherit: descriptors that the command inherits.
        check: whether an exit code other than 0 is an error.
        on_line: called with each line that the command prints.

    Raises:
        SetupError: the command failed.
    """
    lines: list[str] = []
    timed_out = threading.Event()
    with subprocess.Popen(
        command,
        env=uv_environment(),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        umask=0o022,
        pass_fds=tuple(inherit),
    ) as process:

        def kill() -> None:
            timed_out.set()
            process.kill()

        timer = threading.Timer(STEP_SECONDS, kill)
        timer.daemon = True
        timer.start()
        try:
            for line in process.stdout or ():
                lines.append(line)
                on_line(line.rstrip())
            code = process.wait()
        except BaseException:
            process.kill()
            raise
        finally:
            timer.cancel()
    if timed_out.is_set():
        raise SetupError(
            f"The runtime {runtime} failed at {step}: timeout after {STEP_SECONDS // 3600} hours. "
            "Check the connection to the package index and try again."
        )
    if check and code != 0:
        output = "".join(lines)
        raise SetupError(
            f"The runtime {runtime} failed at {step}: {_error_in(output) or f'exit code {code}'}. {_remedy(output)}"
        )


def _error_in(output: str) -> str:
    """Return the error that a command ended with, on one line."""
    message = " ".join(output[max(output.find("error:"), 0) :].removeprefix("error:").split()).rstrip(".")
    return message if len(message) <= _MAX_ERROR_LENGTH else "…" + message[-_MAX_ERROR_LENGTH:]


def _remedy(output: str) -> str:
    """Return the remedy for the output of a failed step."""
    text = " ".join(output.split()).lower()
    return next((remedy for words, remedy in _REMEDIES if all(word in text for word in words)), _DEFAULT_REMEDY)
