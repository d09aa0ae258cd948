"""Running one step of making a runtime, and telling why it failed."""

import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from predictd.domain.errors import SetupError
from predictd.runtimes.uv import uv_environment

STEP_SECONDS = 7200
_LONGEST_COMPLAINT = 900

_OTHERWISE = (
    "Check that the package index is reachable (UV_DEFAULT_INDEX, HTTPS_PROXY, SSL_CERT_FILE) and try it again; "
    "what was downloaded is kept."
)
_NO_WHEEL = "Choose a version that has a wheel for this Python, because nothing is built from source."
_REMEDIES = (
    (("libgomp",), "Install OpenMP's library (apt-get install libgomp1) and try it again."),
    (("no space left",), "Free disk space (a runtime takes 1.5 GB, a full one 8 GB) and try it again."),
    (
        ("hash", "mismatch"),
        "The package index serves other files than the lock names: use another index (UV_DEFAULT_INDEX).",
    ),
    (("couldn't parse",), "Correct that requirement."),
    (("no usable wheels",), _NO_WHEEL),
    (("no wheels with",), _NO_WHEEL),
    (("network was disabled",), "The environment says UV_OFFLINE: go online, or require what uv has in its cache."),
    (("no solution found",), "Change the requirements so that there are versions that fit together."),
)
"""Words of a failed step, all of which are needed, and what to do then; the first that fits counts."""


def run_step(
    runtime: str,
    step: str,
    command: Sequence[str],
    *,
    folder: Path,
    keep: Sequence[int] = (),
    check: bool = True,
    on_line: Callable[[str], None] = lambda line: None,
) -> None:
    """Run a command in `folder` whose files every user can read.

    Args:
        runtime: display name of the runtime, for the error.
        step: what the command does, for the error: 'installing the packages'.
        command: a program and its arguments.
        folder: where it runs.
        keep: descriptors that the command inherits.
        check: whether an exit code other than 0 is an error.
        on_line: gets each line that the command prints, as it comes.

    Raises:
        SetupError: it failed; quotes its last words and says what to do.
    """
    lines: list[str] = []
    late = threading.Event()
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
        pass_fds=tuple(keep),
    ) as process:

        def give_up() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(STEP_SECONDS, give_up)
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
    if late.is_set():
        raise SetupError(
            f"The runtime {runtime} failed at {step}: not done after {STEP_SECONDS // 3600} hours. "
            "Check the connection to the package index and try it again."
        )
    if check and code != 0:
        said = "".join(lines)
        raise SetupError(
            f"The runtime {runtime} failed at {step}: {_complaint(said) or f'exit code {code}'}. {_remedy(said)}"
        )


def _complaint(output: str) -> str:
    """The error that a command ended with, on one line."""
    said = " ".join(output[max(output.find("error:"), 0) :].removeprefix("error:").split()).rstrip(".")
    return said if len(said) <= _LONGEST_COMPLAINT else "…" + said[-_LONGEST_COMPLAINT:]


def _remedy(output: str) -> str:
    """What to do about the last words of a failed step."""
    said = " ".join(output.split()).lower()
    return next((remedy for words, remedy in _REMEDIES if all(word in said for word in words)), _OTHERWISE)
